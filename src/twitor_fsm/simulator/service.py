"""The simulated API itself: a request comes in, an answer goes out.

Synchronous and without I/O; the clock comes in as a function. One request is answered completely
before the next.
Must not know: sockets, Starlette, how answers are sent.
"""

from collections.abc import Callable, Mapping

import attrs

from . import problems
from .account import Account
from .answers import Answer, Asked, LedgerEntry, json_answer
from .faults import LISTING_KINDS, Fault, FaultPlan, ItemKind
from .pages import build_page
from .people import person, render_person
from .posts import Posts
from .query import Query, read_me_query, read_page_query
from .refusing import refuse_by, send_by
from .walking import Walk, change_listing
from .windows import LIMIT_ME, WINDOW_S, Window

__all__ = ["Service"]


class Service:
    """Users, their bookmarks, and the answers to requests about them.

    Args:
        seed: Everything follows from it.
        plan: What goes wrong.
        account_of: User id to account, None for nobody; may make them up as they are asked for.
        tokens: Bearer token to (user id, scopes); read at every request.
        app_only_token: A token that belongs to no user.
        users: How many users there are.
        now: Epoch seconds.
    """

    def __init__(
        self,
        *,
        seed: int,
        plan: FaultPlan,
        account_of: Callable[[str], Account | None],
        tokens: Mapping[str, tuple[str, frozenset[str]]],
        app_only_token: str,
        users: int,
        now: Callable[[], float],
    ) -> None:
        self.posts = Posts(seed)
        self.plan = plan
        self.ledger: list[LedgerEntry] = []
        self._seed = seed
        self._draws = seed if plan.seed is None else plan.seed
        self._account_of = account_of
        self._tokens = tokens
        self._app_only_token = app_only_token
        self._users = users
        self._clock = now

    def now(self) -> float:
        """The server's epoch seconds: the clock and the plan's skew."""
        return self._clock() + self.plan.clock_skew_s

    def serial(self, account: Account, index: int) -> int:
        """The serial number of a user's bookmark; no two users share a post."""
        return index * self._users + account.place

    def index(self, account: Account, post_id: str) -> int | None:
        """Which bookmark of the user a post is, or None when it never was one."""
        serial = self.posts.ids.serial_of(post_id)
        if serial is None or serial % self._users != account.place:
            return None
        return serial // self._users

    def item_kind(self, account: Account, index: int) -> ItemKind | None:
        """What is wrong with a bookmark, None for nothing."""
        serial = self.serial(account, index)
        for rule, item in enumerate(self.plan.items):
            if item.hits(self._draws, serial, index + 1, rule):
                return item.kind
        return None

    def answer(self, asked: Asked) -> Answer:
        """Answer a request and write it into the ledger."""
        account, scopes = self._authenticate(asked.authorization)
        endpoint, path_user = _route(asked.path)
        ordinal = account.count(endpoint) if account and endpoint else 0
        answer = self._answer(asked, account, scopes, endpoint, path_user, ordinal=ordinal)
        self.ledger.append(
            LedgerEntry(
                at=self._clock(),
                user_id=account.user_id if account else None,
                ordinal=ordinal,
                method=asked.method,
                path=asked.path,
                query=asked.query,
                status=answer.status,
                fault=answer.fault,
                items=answer.items,
            )
        )
        return answer

    def _answer(
        self,
        asked: Asked,
        account: Account | None,
        scopes: frozenset[str],
        endpoint: str | None,
        path_user: str,
        *,
        ordinal: int,
    ) -> Answer:
        if endpoint is None or asked.method != "GET":
            return json_answer(404, problems.NOT_FOUND, {})
        if account is None:
            fresh = Window(LIMIT_ME, WINDOW_S).headers(now=self.now())
            if asked.authorization == f"Bearer {self._app_only_token}":
                return json_answer(403, problems.APP_ONLY, fresh)
            return json_answer(401, problems.UNAUTHORIZED, fresh)
        window = account.windows[endpoint]
        if not window.take(now=self.now()):
            return json_answer(
                429, problems.TOO_MANY_REQUESTS, window.headers(now=self.now(), refused=True)
            )
        account.notice_pause(self.now(), self.plan.refuse_cursors_after_s)
        refusal = self._refuse(account, scopes, endpoint, path_user)
        if refusal is not None:
            return json_answer(403, refusal, window.headers(now=self.now()))
        return self._with_faults(asked, account, endpoint, ordinal)

    def _refuse(
        self, account: Account, scopes: frozenset[str], endpoint: str, path_user: str
    ) -> problems.Problem | None:
        needed = {"bookmarks": "bookmark.read", "me": "users.read"}[endpoint]
        if needed not in scopes:
            return problems.forbidden(f"Your token lacks a required scope: {needed}.")
        if endpoint == "bookmarks" and path_user != account.user_id:
            return problems.forbidden(
                f"The `id` query parameter value [{path_user}] must be the same as "
                f"the authenticating user [{account.user_id}]"
            )
        return None

    def _with_faults(self, asked: Asked, account: Account, endpoint: str, ordinal: int) -> Answer:
        token = dict(asked.pairs).get("pagination_token", "")
        chosen: Fault | None = None
        met: list[str] = []
        for fault in account.faults(self.plan, self._draws, endpoint, ordinal, token):
            met.append(fault.kind)
            if fault.kind in LISTING_KINDS:
                change_listing(account, fault, token, seed=self._draws, ordinal=ordinal)
            else:
                chosen = fault
        answer = refuse_by(chosen, account, endpoint, token, self.now()) if chosen else None
        if answer is None:
            answer = (
                self._me(asked, account)
                if endpoint == "me"
                else self._bookmarks(asked, account, chosen)
            )
        if chosen is not None:
            answer = send_by(chosen, answer, accepts_gzip=asked.accepts_gzip)
        return attrs.evolve(answer, fault="+".join(met) or None)

    def _me(self, asked: Asked, account: Account) -> Answer:
        query = read_me_query(asked.pairs, vocabularies=self.plan.vocabulary)
        headers = account.windows["me"].headers(now=self.now())
        if not isinstance(query, Query):
            return json_answer(400, query, headers)
        known = person(self._seed, account.user_id)
        shown = render_person(known, query.user_fields, query.vocabulary)
        return json_answer(200, {"data": shown}, headers)

    def _bookmarks(self, asked: Asked, account: Account, fault: Fault | None) -> Answer:
        query = read_page_query(asked.pairs, vocabularies=self.plan.vocabulary)
        headers = account.windows["bookmarks"].headers(now=self.now())
        if not isinstance(query, Query):
            return json_answer(400, query, headers)
        cursor = account.cursor(query.token)
        if cursor is None:
            return json_answer(400, problems.refused_cursor(query.token or ""), headers)
        walk = Walk(account, query, cursor, fault, self.plan.early_end, self._draws)
        ranks = walk.ranks()
        indexes = [account.listing.index_at(rank) for rank in ranks]
        serials = [self.serial(account, index) for index in indexes]
        kinds = {
            serial: kind
            for serial, index in zip(serials, indexes, strict=True)
            if (kind := self.item_kind(account, index)) is not None
        }
        body = build_page(self.posts, serials, query, kinds=kinds, tokens=walk.tokens(ranks))
        return json_answer(200, body, headers)

    def _authenticate(self, authorization: str) -> tuple[Account | None, frozenset[str]]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or token not in self._tokens:
            return None, frozenset()
        user_id, scopes = self._tokens[token]
        return self._account_of(user_id), scopes


def _route(path: str) -> tuple[str | None, str]:
    match path.split("/"):
        case ["", "2", "users", "me"]:
            return "me", ""
        case ["", "2", "users", user_id, "bookmarks"]:
            return "bookmarks", user_id
        case _:
            return None, ""
