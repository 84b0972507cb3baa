"""`python -m twitor_fsm.cli` is `twitor`."""

from . import main

main()
