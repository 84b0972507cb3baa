"""What `twitor doctor` finds: a check's outcome as a value, and the checks of settings and token.

Each line of the design document's "Troubleshooting" about database, checkpoints, network and token is a check or its
remedy. Must not know: terminals.
"""

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
    """Whether the folder of tokens is there, holds a file, and shows none to others; none is read."""
    try:
        modes = {entry.name: entry.stat().st_mode for entry in folder.iterdir() if entry.is_file()}
    except OSError as exc:
        return fail(
            "token",
            f"TWITOR_TOKEN_DIR: {folder} cannot be read ({exc.strerror})",
            "create it, with one file for each user, named by the user's id, mode 0600",
        )
    if not modes:
        return warn(
            "token",
            f"TWITOR_TOKEN_DIR: {folder} holds no file",
            "put a user's token there, in a file named by the user's id, mode 0600",
        )
    readable = [name for name, mode in modes.items() if mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if readable:
        return warn(
            "token",
            f"TWITOR_TOKEN_DIR: others can read {len(readable)} of {len(modes)} file(s) in {folder}",
            f"chmod 600 {folder}/*",
        )
    return ok("token", f"TWITOR_TOKEN_DIR: {folder} holds {len(modes)} file(s)")


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
    if token.startswith(_APP_ONLY):
        return warn(
            "token",
            "X_BEARER_TOKEN looks like an app-only token, to which X refuses bookmarks (403)",
            HOW_TO_GET_A_TOKEN,
        )
    return ok(
        "token", f"X_BEARER_TOKEN is set ({len(token)} characters; whether X takes it is not asked)"
    )
