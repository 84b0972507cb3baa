"""Pure decisions: values in, values out.

Must not know: how anything is done. No await, clock, randomness, environment, logging or I/O; a test enforces it.
"""
