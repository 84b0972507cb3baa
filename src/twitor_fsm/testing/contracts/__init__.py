"""Contract suites: what a source, a handler and a store promise, as tests to subclass."""
