"""Each planned fault reaches the client, and a correct client gets over the recoverable ones."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import pytest

from twitor_fsm.simulator import EarlyEnd, Fault, FaultPlan, ItemFault, Simulator

FIELDS = {"tweet.fields": "created_at,author_id", "expansions": "author_id"}


@attrs.define
class Client:
    """One user's HTTP client; its clock is the server's and moves when told."""

    sim: Simulator
    http: httpx.AsyncClient
    clock: list[float]

    async def page(self, token: str | None = None, size: int = 10) -> httpx.Response:
        params: dict[str, Any] = {"max_results": size, **FIELDS}
        if token is not None:
            params["pagination_token"] = token
        path = f"/2/users/{self.sim.user_id}/bookmarks"
        headers = {"Authorization": f"Bearer {self.sim.token}"}
        return await self.http.get(path, params=params, headers=headers)


@asynccontextmanager
async def client(*faults: Fault, bookmarks: int = 100, **plan: Any) -> AsyncIterator[Client]:
    async with serve(FaultPlan(faults=faults, **plan), bookmarks=bookmarks) as ready:
        yield ready


@asynccontextmanager
async def serve(plan: FaultPlan | str, **options: Any) -> AsyncIterator[Client]:
    clock = [1_700_000_000.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    options = {"now": lambda: clock[0], "sleep": sleep, **options}
    async with (
        Simulator(faults=plan, **options) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        yield Client(sim, http, clock)


def ids(answer: httpx.Response) -> list[str]:
    return [post["id"] for post in answer.json().get("data", [])]


def next_token(answer: httpx.Response) -> str | None:
    token: str | None = answer.json()["meta"].get("next_token")
    return token


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(
    ("body", "start"), [("html", b"<!DOCTYPE"), ("empty", b""), ("json", b"{")]
)
async def test_server_error(status: int, body: str, start: bytes) -> None:
    async with client(Fault(kind="server_error", at=[1], status=status, body=body)) as x:
        broken, healthy = await x.page(), await x.page()

    assert broken.status_code == status
    assert broken.content.startswith(start)
    assert bool(broken.content) is bool(start)
    assert broken.headers["x-rate-limit-remaining"] == "179"
    assert ids(healthy) == x.sim.truth()[:10]
    assert [entry.fault for entry in x.sim.ledger] == ["server_error", None]


async def test_connection_reset_in_mid_body() -> None:
    async with client(Fault(kind="connection_reset", at=[1], part=0.5)) as x:
        request = x.http.build_request(
            "GET",
            f"/2/users/{x.sim.user_id}/bookmarks",
            headers={"Authorization": f"Bearer {x.sim.token}"},
        )
        with pytest.raises(httpx.ReadError):
            await x.http.send(request)
        assert (await x.page()).status_code == 200


async def test_connection_reset_before_the_first_byte() -> None:
    async with client(Fault(kind="connection_reset", at=[1], part=0)) as x:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await x.page()
        assert (await x.page()).status_code == 200


async def test_a_truncated_body_is_shorter_than_its_length_says() -> None:
    async with client(Fault(kind="truncated", at=[1], part=0.5)) as x:
        with pytest.raises(
            httpx.RemoteProtocolError, match="without sending complete message body"
        ):
            await x.page()
        assert (await x.page()).status_code == 200


async def test_a_truncated_gzip_stream_arrives_as_if_it_were_whole() -> None:
    async with client(Fault(kind="gzip_truncated", at=[1], part=0.5)) as x:
        broken, healthy = await x.page(), await x.page()

    assert broken.status_code == 200
    assert broken.headers["content-encoding"] == "gzip"
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    assert healthy.json()["meta"]["result_count"] == 10


async def test_without_gzip_the_body_is_cut_instead() -> None:
    async with client(Fault(kind="gzip_truncated", at=[1])) as x:
        x.http.headers["Accept-Encoding"] = "identity"
        with pytest.raises(httpx.RemoteProtocolError):
            await x.page()


async def test_html_instead_of_json() -> None:
    async with client(Fault(kind="not_json", at=[1])) as x:
        answer = await x.page()

    assert answer.status_code == 200
    assert "html" in answer.text


async def test_a_slow_body_takes_its_time_and_is_whole() -> None:
    async with client(Fault(kind="slow", at=[1], seconds=40)) as x:
        before = x.clock[0]
        answer = await x.page()

    assert x.clock[0] - before == pytest.approx(40)
    assert ids(answer) == x.sim.truth()[:10]


async def test_a_forced_rate_limit_closes_the_window_until_its_reset() -> None:
    async with client(Fault(kind="rate_limited", at=[2])) as x:
        answers = [await x.page() for _ in range(3)]
        x.clock[0] = float(answers[1].headers["x-rate-limit-reset"])
        answers.append(await x.page())

    assert [a.status_code for a in answers] == [200, 429, 429, 200]
    assert answers[1].headers["x-rate-limit-remaining"] == "0"
    assert answers[1].headers["x-rate-limit-reset"] == answers[0].headers["x-rate-limit-reset"]


@pytest.mark.parametrize(
    ("reset", "is_so"),
    [
        ("past", lambda told, now: int(told) < now),
        ("missing", lambda told, _: told is None),
        ("milliseconds", lambda told, now: int(told) == (now + 900) * 1000),
    ],
)
async def test_a_rate_limit_may_lie_about_its_reset(
    reset: str, is_so: Callable[[str | None, float], bool]
) -> None:
    plan = FaultPlan(faults=[Fault(kind="rate_limited", at=[1], reset=reset)])
    async with serve(plan, limit=2) as x:
        refused = [await x.page(), await x.page()]
        now = x.clock[0]
        x.clock[0] += 900
        later = [await x.page() for _ in range(3)]

    assert [a.status_code for a in refused] == [429, 429]
    assert all(is_so(a.headers.get("x-rate-limit-reset"), now) for a in refused)
    assert [a.status_code for a in later] == [200, 200, 429]
    assert {int(a.headers["x-rate-limit-reset"]) for a in later} == {now + 1800}


async def test_a_usage_cap_is_a_429_with_healthy_headers() -> None:
    async with client(Fault(kind="usage_capped", at=[1])) as x:
        capped, healthy = await x.page(), await x.page()

    assert capped.status_code == 429
    assert capped.json()["title"] == "UsageCapExceeded"
    assert int(capped.headers["x-rate-limit-remaining"]) > 0
    assert healthy.status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        ("credits_depleted", 402, "CreditsDepleted"),
        ("spend_cap", 403, "SpendCapReached"),
        ("unauthorized", 401, "Unauthorized"),
    ],
)
async def test_refusals_that_heal(kind: str, status: int, title: str) -> None:
    async with client(Fault(kind=kind, at=[1, 2])) as x:
        answers = [await x.page() for _ in range(3)]

    assert [a.status_code for a in answers] == [status, status, 200]
    assert answers[0].json()["title"] == title


async def test_errors_only_is_a_200_without_data() -> None:
    async with client(Fault(kind="errors_only", at=[1])) as x:
        answer = await x.page()

    assert answer.status_code == 200
    assert answer.json().keys() == {"errors"}


async def test_a_refused_cursor_stays_refused_with_those_before_it() -> None:
    async with client(Fault(kind="cursor_refused", at=[3])) as x:
        first = next_token(await x.page())
        second = next_token(await x.page(first))
        refused = [await x.page(token) for token in (second, second, first)]
        top = await x.page()
        onward = await x.page(next_token(top))

    assert [a.status_code for a in refused] == [400, 400, 400]
    assert refused[0].json()["errors"][0]["parameters"] == {"pagination_token": [second]}
    assert ids(onward) == x.sim.truth()[10:20]


async def test_a_cursor_is_refused_after_a_long_pause_only() -> None:
    async with client(refuse_cursors_after_s=600) as x:
        token = next_token(await x.page())
        x.clock[0] += 599
        in_time = await x.page(token)
        x.clock[0] += 601
        late = await x.page(next_token(in_time))

    assert in_time.status_code == 200
    assert late.status_code == 400


async def test_large_pages_end_early_and_a_smaller_walk_goes_on_from_the_last_token() -> None:
    async with client(early_end=EarlyEnd(above=20, after_pages=2), bookmarks=200) as x:
        tokens: list[str | None] = [None]
        for _ in range(3):
            answer = await x.page(tokens[-1], size=50)
            tokens.append(next_token(answer))
        smaller = await x.page(tokens[2], size=20)
        onward = await x.page(next_token(smaller), size=20)
        large_again = await x.page(next_token(smaller), size=50)

    assert tokens[3] is None
    assert len(ids(answer)) == 50
    assert ids(smaller) == x.sim.truth()[100:120]
    assert ids(onward) == x.sim.truth()[120:140]
    assert next_token(onward) is not None
    assert next_token(large_again) is None


async def test_an_early_end_of_one_answer_is_healed_by_asking_again() -> None:
    async with client(Fault(kind="early_end", at=[1])) as x:
        ended, again = await x.page(), await x.page()

    assert next_token(ended) is None
    assert ids(again) == ids(ended)
    assert next_token(again) is not None


@pytest.mark.parametrize("items", [None, 0, 3])
async def test_a_short_page_skips_nothing(items: int | None) -> None:
    async with client(Fault(kind="short_page", at=[1], items=items)) as x:
        short = await x.page()
        onward = await x.page(next_token(short))

    size = len(ids(short))
    assert size < 10
    assert items is None or size == items
    assert ("data" in short.json()) is (size > 0)
    assert ids(short) + ids(onward) == x.sim.truth()[: size + 10]


async def test_a_page_repeats_items_of_the_one_before() -> None:
    async with client(Fault(kind="duplicate", at=[2], items=3)) as x:
        first = await x.page()
        second = await x.page(next_token(first))
        third = await x.page(next_token(second))

    assert ids(second)[:3] == ids(first)[-3:]
    assert len(ids(second)) == 10
    assert ids(first) + ids(second)[3:] + ids(third) == x.sim.truth()[:27]


async def test_the_first_page_repeats_items_of_its_own() -> None:
    async with client(Fault(kind="duplicate", at=[1], items=2)) as x:
        first = await x.page()
        second = await x.page(next_token(first))

    assert ids(first)[-2:] == ids(first)[-4:-2]
    assert ids(first)[:8] + ids(second) == x.sim.truth()[:18]


async def test_a_repeated_cursor_brings_the_same_page_for_ever() -> None:
    async with client(Fault(kind="repeated_cursor", at=[2, 3])) as x:
        token = next_token(await x.page())
        pages = [await x.page(token) for _ in range(3)]

    assert [next_token(page) == token for page in pages] == [True, True, False]


async def test_an_insert_comes_on_top_and_shifts_no_page() -> None:
    async with client(Fault(kind="insert", at=[2], items=2)) as x:
        before = x.sim.truth()
        first = await x.page()
        second = await x.page(next_token(first))
        top = await x.page()

    assert x.sim.truth()[2:] == before
    assert ids(first) + ids(second) == before[:20]
    assert ids(top) == x.sim.truth()[:10]


async def test_a_removal_near_the_page_shifts_nothing_else() -> None:
    async with client(Fault(kind="remove", at=[2], items=5)) as x:
        before = x.sim.truth()
        first = await x.page()
        second = await x.page(next_token(first))

    gone = set(before) - set(x.sim.truth())
    assert len(gone) == 5
    assert x.sim.truth() == [post_id for post_id in before if post_id not in gone]
    assert ids(second) == [post_id for post_id in before[10:] if post_id not in gone][:10]


async def test_a_rebookmark_moves_to_the_top() -> None:
    async with client(Fault(kind="rebookmark", at=[2])) as x:
        before = x.sim.truth()
        await x.page(next_token(await x.page()))

    moved = x.sim.truth()[0]
    assert moved != before[0]
    assert sorted(x.sim.truth()) == sorted(before)


async def test_items_that_are_gone_are_errors_beside_the_data() -> None:
    items = [ItemFault(kind="tombstone", at=[2]), ItemFault(kind="protected", at=[4])]
    async with client(items=items) as x:
        answer = await x.page(size=5)
    truth = x.sim.truth()
    problems = {error["resource_id"]: error for error in answer.json()["errors"]}

    assert ids(answer) == [truth[0], truth[2], truth[4]]
    assert answer.json()["meta"]["result_count"] == 3
    assert problems[truth[1]]["type"].endswith("/resource-not-found")
    assert problems[truth[3]]["type"].endswith("/not-authorized-for-resource")
    assert problems[truth[1]]["parameter"] == "id"
    assert x.sim.invalid() == {truth[1]: "tombstone", truth[3]: "protected"}
    assert x.sim.obtainable()[:3] == ids(answer)


async def test_items_that_are_broken_are_beside_those_that_are_not() -> None:
    kinds = ("missing_id", "wrong_types", "not_an_object")
    items = [ItemFault(kind=kind, at=[place]) for place, kind in enumerate(kinds, start=1)]
    async with client(items=items) as x:
        data = (await x.page(size=4)).json()["data"]
        listed = (await x.http.get("/_sim/bookmarks")).json()
    truth = x.sim.truth()

    assert "id" not in data[0]
    assert isinstance(data[0]["text"], str)
    assert data[1]["id"] == int(truth[1])
    assert isinstance(data[1]["text"], list)
    assert data[2] is None
    assert data[3]["id"] == truth[3]
    assert listed["ids"] == truth
    assert listed["obtainable"] == truth[3:]
    assert listed["invalid"] == dict(zip(truth, kinds, strict=False))


async def test_one_fault_may_meet_another_endpoint() -> None:
    async with client(Fault(kind="unauthorized", at=[1], endpoint="me")) as x:
        headers = {"Authorization": f"Bearer {x.sim.token}"}
        assert (await x.page()).status_code == 200
        assert (await x.http.get("/2/users/me", headers=headers)).status_code == 401
        assert (await x.http.get("/2/users/me", headers=headers)).status_code == 200


class Patient:
    """A small correct client: retries, waits, verifies ends, starts again without its cursor."""

    SIZES = (90, 20, 10, 5)

    def __init__(self, x: Client) -> None:
        self.x = x
        self.found: dict[str, None] = {}
        self.network_faults = self.pauses = self.restarts = 0

    async def crawl(self, requests: int = 2000) -> list[str]:
        """Everything obtainable, in the order in which it was first seen."""
        size, token, last_good, unverified = 0, None, None, False
        while len(self.x.sim.ledger) < requests:
            body = await self.fetch(token, self.SIZES[size])
            if body is None:
                self.restarts += 1
                token, last_good, unverified = None, None, False
                continue
            is_news = self.take(body)
            following = body["meta"].get("next_token")
            if following is not None:
                token = last_good = following
                unverified = False
            elif unverified and not is_news and size == len(self.SIZES) - 1:
                return list(self.found)
            else:  # walk the tail again, with smaller pages if there are any
                size, token, unverified = min(size + 1, len(self.SIZES) - 1), last_good, True
        raise AssertionError("the crawl does not end")

    def take(self, body: dict[str, Any]) -> bool:
        before = len(self.found)
        for item in body.get("data", []):
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                self.found[item["id"]] = None
        return len(self.found) > before

    async def fetch(self, token: str | None, size: int) -> dict[str, Any] | None:
        """The page, or None when its cursor is refused."""
        tries = 0
        while True:
            assert tries < 5, "five network faults in a row"
            try:
                answer = await self.x.page(token, size)
                if answer.status_code == 429:
                    self.pauses += 1
                    self.x.clock[0] += 900
                    continue
                if answer.status_code == 400:
                    return None
                answer.raise_for_status()
                body: dict[str, Any] = answer.json()
            except (httpx.HTTPError, ValueError):
                self.network_faults += 1
                tries += 1
            else:
                return body


async def test_typical_is_met_in_a_crawl_of_a_thousand_and_gets_over() -> None:
    async with serve("typical", bookmarks=1000) as x:
        patient = Patient(x)
        found = await patient.crawl()

    assert found == x.sim.obtainable()
    assert len(found) == 996
    assert patient.network_faults == 2
    assert patient.pauses == 1
    assert patient.restarts == 0


async def test_typical_loses_bookmarks_for_a_client_that_believes_the_first_end() -> None:
    async with serve("typical", bookmarks=1000) as x:
        seen: list[str] = []
        token: str | None = None
        for _ in range(12):
            answer = await x.page(token, 100)
            if answer.status_code == 503:
                continue
            seen += [post["id"] for post in answer.json()["data"] if "id" in post]
            token = next_token(answer)
            if token is None:
                break

    assert token is None
    assert len(seen) < 300


@pytest.mark.parametrize("seed", range(1, 13))
async def test_hostile_is_got_over_by_a_correct_client(seed: int) -> None:
    async with serve("hostile", bookmarks=700, seed=seed) as x:
        patient = Patient(x)
        found = await patient.crawl()

    assert sorted(found) == sorted(x.sim.obtainable())
    assert 600 < len(found) < 700
    assert patient.network_faults > 3


async def test_hostile_meets_everything_it_plans() -> None:
    met: set[str | None] = set()
    for seed in range(1, 6):
        async with serve("hostile", bookmarks=700, seed=seed, limit=10_000) as x:
            await Patient(x).crawl()
            met |= {entry.fault for entry in x.sim.ledger}

    assert met >= {fault.kind for fault in FaultPlan.preset("hostile").faults}
