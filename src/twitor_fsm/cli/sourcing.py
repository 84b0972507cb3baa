"""Which source a crawl reads and whose bookmarks they are, from what the user said and what the database knows.

Must not know: how a session runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from .failures import Failure, failure_of
from .terminal import say
from .words import duration

if TYPE_CHECKING:
    from ..clock import Clock
    from ..config import Settings
    from ..core.recovery import RecoveryStrategy
    from ..engine import CrawlEngine
    from ..sources.base import Source
    from ..sources.x_api import XBookmarks

__all__ = ["Wanted", "address_of", "require_token", "source_of", "user_of"]

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
    """

    source: str = X
    api_url: str | None = None
    user_id: str | None = None
    expand: str | None = None
    wait: bool = True

    @property
    def is_x(self) -> bool:
        """Whether it is the API."""
        return self.source == X


class HasMe(Protocol):
    """A source that can tell whose token it has."""

    async def me(self) -> str:
        """The user's id: one request."""
        ...


def source_of(wanted: Wanted, settings: "Settings") -> "Source":
    """The source; no request is made.

    Raises:
        Failure, ConfigurationError, CredentialsMissing: It cannot be used.
    """
    if wanted.is_x:
        return _x_source(wanted, settings)
    from ..sources.files import FileBookmarks

    path = Path(wanted.source)
    if not path.exists():
        raise Failure(
            f"there is no file {wanted.source!r}; nothing was started. "
            "`twitor crawl` reads from X, `twitor crawl FILE` from a saved file",
            2,
        )
    if wanted.api_url is not None or wanted.expand is not None:
        raise Failure("--api-url and --expand are for crawling X, not a file", 2)
    return FileBookmarks(path)


def _x_source(wanted: Wanted, settings: "Settings") -> "XBookmarks":
    from ..sources.credentials import EnvironmentToken
    from ..sources.x_api import XBookmarks

    return XBookmarks(
        EnvironmentToken(),
        base_url=address_of(wanted, settings),
        expand="all" if wanted.expand is None else wanted.expand,
        request_timeout_s=settings.request_timeout_s,
        deadline_s=settings.request_deadline_s,
        max_page_bytes=settings.max_page_bytes,
        page_size=settings.page_size,
    )


def address_of(wanted: Wanted, settings: "Settings") -> str:
    """Where the API is: `--api-url`, else the setting."""
    return settings.api_url if wanted.api_url is None else wanted.api_url


async def require_token(user_id: str) -> None:
    """Find out that there is no token before a session is made for nothing. Raises `CredentialsMissing`."""
    from ..sources.credentials import EnvironmentToken

    await EnvironmentToken().token(user_id)


async def user_of(
    wanted: Wanted, source: "Source", engine: "CrawlEngine", *, quiet: bool
) -> tuple[str, str]:
    """Whose bookmarks to crawl, and how that is known: "option", "database", "api" or "default".

    The database is asked before the service: a process that comes after one killed in a rate-limit pause must make no
    request.
    """
    if wanted.user_id is not None:
        return wanted.user_id, "option"
    crawls = await engine.store.crawls()
    if wanted.is_x:
        users = {crawl.user_id for crawl in crawls if crawl.source == source.name}
        if len(users) == 1:
            return users.pop(), "database"
        asked: Any = source
        return await _ask(asked, engine, wait=wanted.wait, quiet=quiet), "api"
    users = {crawl.user_id for crawl in crawls}
    return (users.pop(), "database") if len(users) == 1 else (LOCAL_USER, "default")


async def _ask(source: HasMe, engine: "CrawlEngine", *, wait: bool, quiet: bool) -> str:
    """Ask the service whose token it is; failures are recovered from as a session does."""
    tries = 0
    while True:
        try:
            user_id = await source.me()
        except Exception as exc:
            strategy = _strategy(exc, engine, tries=tries)
            if not await _waited(strategy, engine.clock, wait=wait, quiet=quiet):
                raise failure_of(exc) from exc
            tries += strategy.action.value == "RETRY"
        else:
            if not quiet:
                say(f"asked the service whose token this is: user id {user_id} (one request)")
            return user_id


def _strategy(error: Exception, engine: "CrawlEngine", *, tries: int) -> "RecoveryStrategy":
    from ..classify import classify
    from ..core.recovery import ErrorFacts, Policy, decide

    found = classify(error, operation="me")
    facts = ErrorFacts(found.category, found.reason, tries, found.reset_at, found.message)
    settings = engine.settings
    policy = Policy(settings.max_retries, settings.initial_backoff)
    return decide(facts, policy, now=engine.clock.now())


async def _waited(strategy: "RecoveryStrategy", clock: "Clock", *, wait: bool, quiet: bool) -> bool:
    """Wait as the strategy says; False if there is nothing to wait for."""
    if strategy.action.value == "PAUSE" and not wait:
        return False
    if strategy.action.value not in {"RETRY", "PAUSE"}:
        return False
    if not quiet:
        from .words import what_happened

        say(
            f"asking whose token this is: {what_happened(strategy.message)}; "
            f"trying again in {duration(strategy.delay)}"
        )
    await clock.sleep(strategy.delay)
    return True
