"""An exhaustive explorer of every error sequence, over the code that decides in production.

Pure, as all of the core: the step function of the machine is handed in.
"""
