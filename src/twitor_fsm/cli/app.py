"""The command `twitor`: finds the verbs, and turns whatever they raise into a line and an exit code.

Must not know: what any verb does. Verbs are imported when they are asked for; none imports anything heavy at its top.
"""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final, NoReturn

import click

from . import verbs
from .failures import Failure, close, failure_of
from .groups import NamingGroup
from .terminal import drop_stdout, say

__all__ = ["twitor"]

_SECTIONS: Final = ("Crawl", "Look", "Manage", "Try out", "More")
"""Headings of the help, in order; a verb names its own in `SECTION`."""

_BROKEN_PIPE: Final = 141
"""As of a program that SIGPIPE ends: whoever read our output went away."""


class _ReaderGone(Exception):
    """Nobody reads our stdout any more."""


class VerbGroup(NamingGroup):
    """A group whose commands are the modules of `verbs`, each with its click command in `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs."""
        return sorted(module.name for module in iter_modules(verbs.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if not cmd_name.isidentifier() or cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"{verbs.__name__}.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by section."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in _SECTIONS}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None:
                continue
            module = import_module(f"{verbs.__name__}.{name}")
            section = getattr(module, "SECTION", _SECTIONS[-1])
            rows = sections.setdefault(section, [])
            rows.append((name, command.get_short_help_str(limit=formatter.width)))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """As ever, but a reader that went away is ours to answer for: click would end with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise _ReaderGone from exc

    def main(  # type: ignore[override]  # the process ends here: there is no other mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, say what went wrong if something did, and exit with the documented code."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        words = given[: given.index("--")] if "--" in given else given
        as_json = "--json" in words  # also when the command line cannot be parsed
        try:
            code = super().main(given, prog_name, **extra)
            _flush()
        except (BrokenPipeError, _ReaderGone):
            drop_stdout()
            sys.exit(_BROKEN_PIPE)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            sys.exit(close(Failure("no verb was given", 2), as_json=as_json, said=True))
        except click.UsageError as exc:
            sys.exit(close(Failure(_one_line(exc), 2), as_json=as_json))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(close(failure_of(KeyboardInterrupt()), as_json=as_json))
        except click.ClickException as exc:
            sys.exit(close(Failure(exc.format_message(), 2), as_json=as_json))
        except Exception as exc:  # noqa: BLE001 - the edge: it ends as a line and a code
            failure = failure_of(exc)
            if failure.is_unexpected and "--debug" in words:
                say(*"".join(traceback.format_exception(exc)).splitlines())
            sys.exit(close(failure, as_json=as_json, db=_db_in(words)))
        sys.exit(code if isinstance(code, int) else 0)


def _db_in(words: Sequence[str]) -> str | None:
    """What `--db` is on a command line."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == "--db":
            found = following
        elif word.startswith("--db="):
            found = word.removeprefix("--db=")
    return found


_BETTER: Final = {
    "is not a valid integer range": "is no whole number",
    "is not a valid float range": "is no number",
}
"""Instead of click's names of its types."""


def _one_line(error: click.UsageError) -> str:
    """What was wrong with the command line, and where it is explained."""
    said = " ".join(error.format_message().split())
    for wording, better in _BETTER.items():
        said = said.replace(wording, better)
    if error.ctx is None:
        return said
    return (
        f"{said if said.endswith(('.', '?')) else said + '.'} See: {error.ctx.command_path} --help"
    )


def _flush() -> None:
    """Here, where a reader that went away can still be answered for."""
    if sys.stdout is not None:
        sys.stdout.flush()


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twitor-fsm", message="%(prog)s %(version)s")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show where an unexpected error happened."
)
def twitor() -> None:
    """Bring the bookmarks of an X (Twitter) account into a database, resumably.

    Start with `twitor demo`, which needs no account. Then: `X_BEARER_TOKEN=... twitor crawl`. The
    same command again resumes what was interrupted, or brings what is new.

    Results go to stdout, everything else to stderr; every verb knows --json.
    """
