"""Which source a crawl reads and whose bookmarks they are, from what the user said and what the database knows.

Must not know: how a session runs.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from .failures import Failure, failure_of
from .terminal import say
from .words import duration, is_x_user, local_times, program, what_happened

if TYPE_CHECKING:
    from ..clock import Clock
    from ..config import Settings
    from ..core.records import CrawlKey
    from ..core.recovery import RecoveryStrategy
    from ..sources.base import Source
    from ..sources.credentials import CredentialProvider
    from ..sources.x_api import XBookmarks

__all__ = ["Wanted", "address_of", "require_token", "source_of", "tokens_of", "user_of"]

X: Final = "x"
LOCAL_USER: Final = "local"


@attrs.frozen(kw_only=True)
class Wanted:
    """What the user asked for.

    Attributes:
        source: "x", or the path of a file.
        api_url: Where the API is; None is X's own.
        user_id: Whose bookmarks; None leaves it to the database, then to X.
        expand: What is asked for beside the posts; None is the source's default.
        wait: Whether pauses are waited out.
        likes: Whether a file's likes are wanted instead of bookmarks.
        user_option: The option that names the user; where it is `--user-id`, X can be asked instead.
        many: Whether it is for crawls of any users, each with a token of their own.
    """

    source: str = X
    api_url: str | None = None
    user_id: str | None = None
    expand: str | None = None
    wait: bool = True
    likes: bool = False
    user_option: str = "--user-id"
    many: bool = False

    @property
    def is_x(self) -> bool:
        """Whether it is the API."""
        return self.source == X


class HasMe(Protocol):
    """A source that can tell whose token it has."""

    async def me(self) -> str:
        """The user's id: one request."""
        ...


def source_of(wanted: Wanted, settings: "Settings", *, quiet: bool = True) -> "Source":
    """The source; no request is made, and nothing is made at all.

    Args:
        wanted: What the user asked for.
        settings: How.
        quiet: Do not say what a file was taken for.

    Raises:
        Failure, ConfigurationError, CredentialsMissing: It cannot be used.
    """
    _check(wanted)
    return (
        _x_source(wanted, settings) if wanted.is_x else _file_source(wanted, settings, quiet=quiet)
    )


def _check(wanted: Wanted) -> None:
    """Refuse a user id that is none before anything is made for it, and an option that is not for X."""
    from ..plugins import MAX_WORD, is_word

    if wanted.likes and wanted.is_x:
        raise Failure(
            "--likes is for a file that holds likes, not for crawling X; nothing was started", 2
        )
    user = wanted.user_id
    if user is None:
        return
    if wanted.is_x and not is_x_user(user):
        is_crawl = wanted.user_option == "--user-id"
        instead = "Leave it out to ask X whom the token belongs to"
        raise Failure(
            f"{wanted.user_option} {user!r:.60} is no X user id (1 to 20 digits, not the handle); nothing was started. "
            + (instead if is_crawl else "twitor status lists the users that were crawled"),
            2,
        )
    if not is_word(user):
        raise Failure(
            f"--user-id {user!r:.60} is none: 1 to {MAX_WORD} characters, no control characters; "
            "nothing was started",
            2,
        )


def _file_source(wanted: Wanted, settings: "Settings", *, quiet: bool) -> "Source":
    from ..errors import UnreadableFile
    from ..sources.files import FileBookmarks

    path = Path(wanted.source)
    reads = "`twitor crawl` reads from X, `twitor crawl FILE` from a saved file"
    if wanted.api_url is not None or wanted.expand is not None:
        raise Failure(
            "--api-url and --expand are for crawling X, not a file; nothing was started", 2
        )
    if not wanted.source:
        raise Failure(f"the name of the file is empty; nothing was started. {reads}", 2)
    if path.is_dir():
        raise Failure(f"{wanted.source!r} is a folder, no file; nothing was started. {reads}", 2)
    if not path.exists():
        raise Failure(f"there is no file {wanted.source!r}; nothing was started. {reads}", 2)
    source = FileBookmarks(path, likes=wanted.likes, max_item_bytes=settings.max_item_bytes)
    try:
        what = source.check()
    except UnreadableFile as exc:
        raise Failure(f"nothing was started: {exc}", 2) from exc
    if not quiet:
        say(f"reading {path.name} as {what}")
    return source


def _x_source(wanted: Wanted, settings: "Settings") -> "XBookmarks":
    from ..sources.x_api import XBookmarks

    return XBookmarks(
        tokens_of(settings, many=wanted.many),
        base_url=address_of(wanted, settings),
        expand="all" if wanted.expand is None else wanted.expand,
        request_timeout_s=settings.request_timeout_s,
        deadline_s=settings.request_deadline_s,
        max_page_bytes=settings.max_page_bytes,
        max_item_bytes=settings.max_item_bytes,
        page_size=settings.page_size,
    )


def address_of(wanted: Wanted, settings: "Settings") -> str:
    """Where the API is: `--api-url`, else the setting."""
    return settings.api_url if wanted.api_url is None else wanted.api_url


def tokens_of(settings: "Settings", *, many: bool = False) -> "CredentialProvider":
    """Where tokens come from: `X_BEARER_TOKEN`, else the folder of the settings with a file for each user.

    With `many`, for crawls of any users, the folder comes first.

    Raises:
        Failure: With `many`, there is neither, or no such folder.
    """
    from ..config import bearer_token_from_environment
    from ..sources.credentials import EnvironmentToken, TokenFiles

    has_one = bearer_token_from_environment() is not None
    if settings.token_dir is not None and (many or not has_one):
        if many:
            _refuse_missing(settings.token_dir)
        return TokenFiles(settings.token_dir)
    if many and not has_one:
        raise Failure(
            "no token: neither TWITOR_TOKEN_DIR (a folder with a file for each user's id, mode 0600) nor X_BEARER_TOKEN "
            "(one user's) is set; nothing was taken from the queue",
            10,
        )
    return EnvironmentToken()


def _refuse_missing(folder: Path) -> None:
    """Refuse a folder of tokens that is none, once, instead of each user's token. Raises `Failure`."""
    if not folder.is_dir():
        raise Failure(
            f"TWITOR_TOKEN_DIR names the folder {folder}, which does not exist; nothing was started. "
            "Correct it, or create the folder with a file for each user's id (mode 0600)",
            2,
        )


async def require_token(user_id: str | None, settings: "Settings") -> None:
    """Find out that there is no token before a session is made for nothing.

    Args:
        user_id: Whose; None if only the token can tell.
        settings: Where tokens are.

    Raises:
        CredentialsMissing, Failure: There is none.
    """
    from ..errors import CredentialsMissing
    from ..sources.credentials import TokenFiles

    tokens = tokens_of(settings)
    if isinstance(tokens, TokenFiles) and settings.token_dir is not None:
        _refuse_missing(settings.token_dir)
    try:
        await tokens.token("me" if user_id is None else user_id)
    except CredentialsMissing as exc:
        if user_id is None and isinstance(tokens, TokenFiles):
            raise Failure(
                f"no token: whose of {settings.token_dir}? nothing was started. Name the user with --user-id, "
                "or set X_BEARER_TOKEN",
                10,
            ) from exc
        raise Failure(f"{exc}; nothing was started", 10) from exc


async def user_of(
    wanted: Wanted,
    source: "Source",
    crawls: "list[CrawlKey]",
    *,
    settings: "Settings",
    clock: "Clock",
    quiet: bool,
) -> tuple[str, str]:
    """Whose bookmarks to crawl, and how that is known: "option", "database", "api" or "default".

    The database (its `crawls`) is asked before the service: a process that comes after one killed in a rate-limit pause
    must make no request. For X, that there is a token is found out on the way.

    Raises:
        Failure: There is no token, or the service does not answer.
    """
    if not wanted.is_x:
        return _local_user(wanted, crawls)
    users = {crawl.user_id for crawl in crawls if crawl.source == source.name}
    known = wanted.user_id if wanted.user_id is not None else None
    if known is None and len(users) == 1:
        known = users.pop()
    await require_token(known, settings)
    if known is not None:
        return known, "database" if wanted.user_id is None else "option"
    asked: Any = source
    return await _ask(asked, wanted, settings, clock, quiet=quiet), "api"


def _local_user(wanted: Wanted, crawls: "list[CrawlKey]") -> tuple[str, str]:
    if wanted.user_id is not None:
        return wanted.user_id, "option"
    users = {crawl.user_id for crawl in crawls}
    return (users.pop(), "database") if len(users) == 1 else (LOCAL_USER, "default")


async def _ask(
    source: HasMe, wanted: Wanted, settings: "Settings", clock: "Clock", *, quiet: bool
) -> str:
    """Ask the service whose token it is; failures are recovered from as a session does."""
    tries = 0
    while True:
        try:
            user_id = await source.me()
        except Exception as exc:
            strategy = _strategy(exc, settings, clock, tries=tries)
            if not await _waited(strategy, clock, wait=wanted.wait, quiet=quiet):
                raise _unknown_user(exc, wanted, settings) from exc
            tries += strategy.action.value == "RETRY"
        else:
            if not quiet:
                say(f"asked the service whose token this is: user id {user_id} (one request)")
            return user_id


def _unknown_user(error: Exception, wanted: Wanted, settings: "Settings") -> Failure:
    """What is said when nobody told whose token it is: no session was begun."""
    from ..config import without_password

    failure = failure_of(error)
    if failure.is_unexpected:
        return failure
    address = without_password(address_of(wanted, settings))
    same = "" if wanted.api_url is None else f" --api-url {shlex.quote(address)}"
    remedy = {
        12: f"Look with: {program()} doctor{same}; or name the user with --user-id; then run the same command again",
        11: "Run the same command again later",
        10: "",
    }.get(failure.exit_code, "Name the user with --user-id, or resolve this and run again")
    said = (
        f"nothing was started: asked whose token this is, {address} gave no id: {failure.message}"
    )
    return Failure(f"{said}. {remedy}".rstrip(" ."), failure.exit_code)


def _strategy(
    error: Exception, settings: "Settings", clock: "Clock", *, tries: int
) -> "RecoveryStrategy":
    from ..classify import classify
    from ..core.recovery import ErrorFacts, Policy, decide

    found = classify(error, operation="me")
    facts = ErrorFacts(found.category, found.reason, tries, found.reset_at, found.message)
    policy = Policy(settings.max_retries, settings.initial_backoff)
    return decide(facts, policy, now=clock.now())


async def _waited(strategy: "RecoveryStrategy", clock: "Clock", *, wait: bool, quiet: bool) -> bool:
    """Wait as the strategy says; False if there is nothing to wait for."""
    if strategy.action.value == "PAUSE" and not wait:
        return False
    if strategy.action.value not in {"RETRY", "PAUSE"}:
        return False
    if not quiet:
        say(
            f"asking whose token this is: "
            f"{local_times(what_happened(strategy.message), now=clock.now())}; "
            f"trying again in {duration(strategy.delay)}"
        )
    await clock.sleep(strategy.delay)
    return True
