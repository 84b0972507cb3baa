"""What `twitor doctor` finds: a check's outcome as a value, and the checks of settings and token.

Each line of the design document's "Troubleshooting" about database, checkpoints, network and token is a check or its
remedy. Must not know: terminals.
"""

import re
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Settings

__all__ = ["Check", "Verdict", "check_token", "fail", "ok", "warn"]

_APP_ONLY: Final = "AAAAAAAAAAAAAAAAAAAA"
"""How app-only bearer tokens of X begin."""

_KEY_PAIR: Final = re.compile(r"[A-Za-z0-9]{20,30}:[A-Za-z0-9]{40,60}")
"""An app's API key and secret, as `curl -u` takes them: 25 and 50 characters in 2026."""

_ONE_EACH: Final = "put each user's token into a file named by the user's id (digits), mode 0600"


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@attrs.frozen
class Check:
    """One thing looked at.

    Attributes:
        name: What, a stable word for programs.
        verdict: Whether it is fine.
        detail: What was found; no secret.
        remedy: What to do; empty if nothing.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def ok(name: str, detail: str) -> Check:
    """It is fine."""
    return Check(name, Verdict.OK, detail)


def warn(name: str, detail: str, remedy: str) -> Check:
    """It works, but."""
    return Check(name, Verdict.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Check:
    """It does not work."""
    return Check(name, Verdict.FAIL, detail, remedy)


def read_settings() -> "tuple[Check, Settings | None]":
    """The settings, if they can be used."""
    from ..config import get_settings
    from ..errors import ConfigurationError

    try:
        settings = get_settings()
    except ConfigurationError as exc:
        return fail("settings", str(exc), "correct the variable, or unset it"), None
    return ok(
        "settings",
        f"{settings.max_retries} retries, first after {settings.initial_backoff:g} s; "
        f"{settings.page_size} items a page",
    ), settings


def _check_token_dir(folder: "Path") -> Check:
    """Whether the folder of tokens is there, and each file is a user's, could be a token, and shows none to others."""
    where = f"TWITOR_TOKEN_DIR: {folder}"
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())
        modes = [file.stat().st_mode for file in files]
    except OSError as exc:
        return fail("token", f"{where} cannot be read ({exc.strerror})", f"create it; {_ONE_EACH}")
    if not files:
        return warn("token", f"{where} holds no file", _ONE_EACH)
    wrong = [found for file in files if (found := _wrong_in(file)) is not None]
    if wrong:
        said, remedy = wrong[0]
        more = f" (and {len(wrong) - 1} other file(s) are wrong)" if len(wrong) > 1 else ""
        return warn("token", f"{where}: {said}{more}", remedy)
    readable = sum(1 for mode in modes if mode & (stat.S_IRWXG | stat.S_IRWXO))
    if readable:
        said = f"{where}: others can read {readable} of {len(files)} file(s)"
        return warn("token", said, f"chmod 600 {folder}/*")
    return ok("token", f"{where} holds {len(files)} file(s), each of a token's shape")


def _wrong_in(file: "Path") -> tuple[str, str] | None:
    """What is wrong with a file of the folder, and what to do; never what it holds."""
    from ..errors import CredentialsMissing
    from ..sources.credentials import HOW_TO_GET_A_TOKEN, checked, read_token

    if not file.name.isdecimal():
        return f"{file.name} is no user's id, so nobody's token is looked for there", _ONE_EACH
    try:
        token = checked(read_token(file)[0], file.name).reveal()
    except CredentialsMissing as exc:
        return str(exc).partition("; no request")[0], f"nothing but the token into it; {_ONE_EACH}"
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8 text: UTF-16, say"
        return f"{file.name} cannot be read ({why})", "write it anew, as UTF-8"
    kind = _no_users_token(token)
    return (f"{file.name} looks like {kind}", HOW_TO_GET_A_TOKEN) if kind is not None else None


def _no_users_token(token: str) -> str | None:
    """What else of X's it looks like, with which no bookmarks can be read."""
    if token.startswith(_APP_ONLY):
        return "an app-only token, to which X refuses bookmarks (403)"
    if _KEY_PAIR.fullmatch(token):
        return "an app's key and secret, which are no token"
    return None


def check_token(settings: "Settings | None" = None) -> Check:
    """Whether there is a token and it could be one; it is never shown."""
    from ..config import bearer_token_from_environment
    from ..errors import CredentialsMissing
    from ..sources.credentials import HOW_TO_GET_A_TOKEN, checked

    found = bearer_token_from_environment()
    if not found and settings is not None and settings.token_dir is not None:
        return _check_token_dir(settings.token_dir)
    if not found:
        return warn(
            "token", "X_BEARER_TOKEN is not set: only files can be crawled", HOW_TO_GET_A_TOKEN
        )
    try:
        token = checked(found, "X_BEARER_TOKEN").reveal()
    except CredentialsMissing as exc:
        return fail("token", str(exc), "copy the token anew, without line breaks or quotes")
    kind = _no_users_token(token)
    if kind is not None:
        return warn("token", f"X_BEARER_TOKEN looks like {kind}", HOW_TO_GET_A_TOKEN)
    return ok(
        "token", f"X_BEARER_TOKEN is set ({len(token)} characters; whether X takes it is not asked)"
    )
