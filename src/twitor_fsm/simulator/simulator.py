"""What tests and the CLI hold: a simulated X, its users, and control over their bookmarks.

Must not know: how a page is written, how a fault is carried out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from twitor_fsm.errors import ConfigurationError

from .account import Account
from .answers import LedgerEntry
from .draws import digest, number
from .faults import FaultPlan, ItemKind
from .listing import Listing
from .posts import MAX_BOOKMARKS
from .service import Service
from .windows import LIMIT_BOOKMARKS, LIMIT_ME, WINDOW_S, Window

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .wire import LoopbackServer

__all__ = ["SCOPES", "Simulator"]

SCOPES: Final = frozenset({"bookmark.read", "tweet.read", "users.read", "offline.access"})
"""What a user's token may do unless told otherwise."""

MAX_WINDOW_S: Final = 86_400.0
"""Longest rate-limit window, seconds: X has none of more than a day."""

DEFAULT_USER_ID: Final = "2244994945"


class Simulator:
    """The X API v2 on loopback, with users whose bookmarks are known.

    Used as `async with Simulator(bookmarks=250) as sim:` it serves at `sim.base_url` until the
    block ends.

    Args:
        bookmarks: How many each user has at first, 0 or more; `users` times this at most 2**29.
        seed: Posts, ids, tokens and drawn faults follow from it. The same seed and the same
            requests give the same bytes.
        faults: A plan, a preset's name or the path of a TOML file.
        window_s: Length of a rate-limit window, seconds; above 0, at most a day.
        limit: Bookmark requests in a window, for each user.
        limit_me: `/2/users/me` requests in a window, for each user.
        users: How many users there are, from 1.
        user_id: The first user's id; those of the others follow from the seed.
        token: The first user's bearer token.
        now: Epoch seconds.
        sleep: Waits for seconds; used by slow answers alone.
        port: Port on 127.0.0.1; 0 takes a free one.

    Raises:
        ConfigurationError: An argument is out of range, the fault plan is wrong, or starlette or
            uvicorn is missing (the last when the server starts).
    """

    def __init__(
        self,
        bookmarks: int = 1000,
        *,
        seed: int = 1,
        faults: FaultPlan | str | Path = "none",
        window_s: float = WINDOW_S,
        limit: int = LIMIT_BOOKMARKS,
        limit_me: int = LIMIT_ME,
        users: int = 1,
        user_id: str = DEFAULT_USER_ID,
        token: str = "simulated-user-token",  # noqa: S107 - opens nothing else
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        port: int = 0,
    ) -> None:
        if not (users >= 1 and bookmarks >= 0 and bookmarks * users <= MAX_BOOKMARKS):
            raise ConfigurationError(
                f"{users} users with {bookmarks} bookmarks each cannot be simulated; "
                f"one user or more, and together at most {MAX_BOOKMARKS} bookmarks"
            )
        if not (limit >= 1 and limit_me >= 1):
            raise ConfigurationError(
                f"limit={limit}, limit_me={limit_me}: each must be 1 or more; nothing was started"
            )
        if not 0 < window_s <= MAX_WINDOW_S:  # nan is not either
            raise ConfigurationError(
                f"a window of {window_s} s cannot be simulated: it must be above 0 and at most "
                f"{MAX_WINDOW_S:.0f} s; nothing was started"
            )
        self.plan = faults if isinstance(faults, FaultPlan) else FaultPlan.load(faults)
        self.seed = seed
        self.sleep = sleep
        self.port = port
        self.user_ids: list[str] = [user_id, *(_user_id(seed, place) for place in range(1, users))]
        """Everyone, the first user first."""
        self.tokens: dict[str, str] = {
            known: token if place == 0 else f"simulated-{digest(seed, 'token', place)[:9].hex()}"
            for place, known in enumerate(self.user_ids)
        }
        """User id to bearer token."""
        self.app_only_token = "simulated-app-only-token"  # noqa: S105 - opens nothing
        """Belongs to the app and to no user: answered with 403."""
        self._bookmarks = bookmarks
        self._limits = {"bookmarks": limit, "me": limit_me}
        self._window_s = window_s
        self._places = {known: place for place, known in enumerate(self.user_ids)}
        self._accounts: dict[str, Account] = {}
        self._scopes = {secret: (known, SCOPES) for known, secret in self.tokens.items()}
        self._server: LoopbackServer | None = None
        self._app: Starlette | None = None
        self.service = Service(
            seed=seed,
            plan=self.plan,
            account_of=self._account,
            tokens=self._scopes,
            app_only_token=self.app_only_token,
            users=users,
            now=now,
        )
        """Answers requests without a socket: what the HTTP server calls."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve on 127.0.0.1 in the running loop until `stop`.

        Raises:
            ConfigurationError: An extra is missing, or the port is taken.
        """
        if self._server is not None:
            raise ConfigurationError(
                "this simulator serves already; stop it before it is started again"
            )
        with _needs_cli_extra():
            from .wire import LoopbackServer

            app = self.app
        server = LoopbackServer(app, self.port)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break all connections and close the port; nothing is left running. Safe to call again."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    @property
    def app(self) -> "Starlette":
        """The ASGI app; faults that break a connection need the simulator's own server."""
        if self._app is None:
            with _needs_cli_extra():
                from .app import build_app
            self._app = build_app(self)
        return self._app

    @property
    def base_url(self) -> str:
        """Where it serves, such as "http://127.0.0.1:40123", without a slash at the end."""
        if self._server is None:
            raise ConfigurationError(
                "the simulator is not serving; use it as `async with Simulator(...) as sim:`"
            )
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def user_id(self) -> str:
        """The first user's id."""
        return self.user_ids[0]

    @property
    def token(self) -> str:
        """The first user's bearer token."""
        return self.tokens[self.user_id]

    @property
    def ledger(self) -> list[LedgerEntry]:
        """Every request answered so far, in order; `/_sim/*` is not among them."""
        return self.service.ledger

    def truth(self, user_id: str | None = None) -> list[str]:
        """Post ids in listing order, newest bookmark first (default: of the first user)."""
        account = self._known(user_id)
        id_of, serial = self.service.posts.ids.id_of, self.service.serial
        return [id_of(serial(account, index)) for index in account.listing]

    def invalid(self, user_id: str | None = None) -> dict[str, ItemKind]:
        """The bookmarks that no client can obtain, and why: in listing order, by id."""
        account = self._known(user_id)
        id_of, serial = self.service.posts.ids.id_of, self.service.serial
        if not self.plan.items:
            return {}
        return {
            id_of(serial(account, index)): kind
            for index in account.listing
            if (kind := self.service.item_kind(account, index)) is not None
        }

    def obtainable(self, user_id: str | None = None) -> list[str]:
        """What a correct client ends with: the truth without the invalid, in listing order."""
        invalid = self.invalid(user_id)
        return [post_id for post_id in self.truth(user_id) if post_id not in invalid]

    def add(self, count: int = 1, user_id: str | None = None) -> list[str]:
        """Bookmark new posts; they come on top. Their ids, the newest bookmark first."""
        account = self._known(user_id)
        indexes = [account.listing.add() for _ in range(count)]
        id_of, serial = self.service.posts.ids.id_of, self.service.serial
        return [id_of(serial(account, index)) for index in reversed(indexes)]

    def remove(self, *post_ids: str, user_id: str | None = None) -> None:
        """Take bookmarks away.

        Raises:
            ConfigurationError: One of them is no bookmark of this user; those before it are gone.
        """
        account = self._known(user_id)
        for post_id in post_ids:
            index = self.service.index(account, post_id)
            if index is None or not account.listing.remove(index):
                raise ConfigurationError(
                    f"post {post_id} is not among the bookmarks of user {account.user_id}"
                )

    def rebookmark(self, *post_ids: str, user_id: str | None = None) -> None:
        """Bookmark again what is, or once was, a bookmark: each moves to the top, the last highest.

        Raises:
            ConfigurationError: One of them never was a bookmark of this user; those before it have
                moved.
        """
        account = self._known(user_id)
        for post_id in post_ids:
            index = self.service.index(account, post_id)
            if index is None or not account.listing.rebookmark(index):
                raise ConfigurationError(
                    f"post {post_id} never was a bookmark of user {account.user_id}"
                )

    def issue_token(
        self, token: str, user_id: str | None = None, scopes: Sequence[str] = tuple(SCOPES)
    ) -> str:
        """Accept one more token for a user, perhaps with fewer scopes; answers with the token."""
        self._scopes[token] = (self._known(user_id).user_id, frozenset(scopes))
        return token

    def revoke_token(self, token: str) -> None:
        """Answer this token with 401 from now on."""
        self._scopes.pop(token, None)

    def refuse_cursors(self, user_id: str | None = None) -> None:
        """Refuse every page token issued to a user so far, with 400."""
        self._known(user_id).epoch += 1

    def _known(self, user_id: str | None) -> Account:
        account = self._account(self.user_id if user_id is None else user_id)
        if account is None:
            raise ConfigurationError(f"the simulator has no user {user_id!r}")
        return account

    def _account(self, user_id: str) -> Account | None:
        place = self._places.get(user_id)
        if place is None:
            return None
        if user_id not in self._accounts:
            self._accounts[user_id] = Account(
                user_id=user_id,
                place=place,
                listing=Listing(self._bookmarks),
                windows={
                    name: Window(limit, self._window_s) for name, limit in self._limits.items()
                },
                secret=f"{self.seed}/{user_id}",
            )
        return self._accounts[user_id]


def _user_id(seed: int, place: int) -> str:
    """The id of a user after the first: 4 to 19 digits, unlike any other user's."""
    if place % 2:
        return str(1000 + place)
    return str(14 * 10**17 + (place << 40 | number(seed, "user", place) & 0xFFFFFFFFFF))


@contextmanager
def _needs_cli_extra() -> Iterator[None]:
    """Turn a missing third-party module into the line to run."""
    try:
        yield
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f"the simulator needs {exc.name}; nothing was started. "
            'Run: pip install "twitor-fsm[cli]"'
        ) from exc
