"""The test kit: what the project's own suite is made of, for embedders' suites too."""
