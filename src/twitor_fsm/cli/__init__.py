"""The command line, `twitor`: a thin edge over the engine, for people and for scripts.

One file per verb in `verbs/`; a new verb is one new file there. Importing this package loads nothing else, so that a
missing extra is told of in words.
Must not know: how a crawl works. It calls the engine, and says what came of it.
"""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code (`docs/exit-codes.md`)."""
    try:
        from .app import twitor
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "twitor_fsm":
            raise
        sys.stderr.write(
            f"twitor: the command line needs {exc.name}, which is not installed; nothing was done. "
            'Run: pip install "twitor-fsm[cli]"\n'
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    twitor.main(args, prog_name="twitor")
