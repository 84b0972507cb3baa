"""The simulated API keeps the contract of the real one, over a real socket."""

import asyncio
import base64
import logging
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from twitor_fsm.errors import ConfigurationError
from twitor_fsm.simulator import Fault, FaultPlan, Simulator

SRC = Path(__file__).parents[2] / "src"

OLD = {
    "tweet.fields": "article,attachments,author_id,card_uri,context_annotations,conversation_id,"
    "created_at,display_text_range,edit_controls,entities,geo,in_reply_to_user_id,lang,note_tweet,"
    "possibly_sensitive,public_metrics,referenced_tweets,reply_settings,source,withheld",
    "expansions": "author_id,attachments.media_keys,referenced_tweets.id,"
    "referenced_tweets.id.author_id,in_reply_to_user_id",
    "user.fields": "created_at,description,location,profile_image_url,protected,public_metrics,"
    "url,verified,verified_type",
    "media.fields": "alt_text,duration_ms,height,preview_image_url,public_metrics,url,variants,"
    "width",
}
NEW = {
    "post.fields": OLD["tweet.fields"]
    .replace("note_tweet", "note_post")
    .replace("referenced_tweets", "referenced_posts"),
    "expansions": "author_id,attachments.media_keys,referenced_posts,edit_history_post_ids",
    "user.fields": OLD["user.fields"],
    "media.fields": OLD["media.fields"],
}


class Browser:
    """A client of one user, with a clock that the test moves."""

    def __init__(self, sim: Simulator, http: httpx.AsyncClient) -> None:
        self.sim = sim
        self.http = http

    async def get(self, path: str, token: str | None = None, **params: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.sim.token}"}
        return await self.http.get(path, params=params, headers=headers)

    async def page(self, **params: Any) -> httpx.Response:
        return await self.get(f"/2/users/{self.sim.user_id}/bookmarks", **params)

    async def walk(self, **params: Any) -> list[dict[str, Any]]:
        bodies: list[dict[str, Any]] = []
        following: dict[str, str] = {}
        while True:
            answer = await self.page(**params, **following)
            assert answer.status_code == 200, answer.text
            bodies.append(answer.json())
            if "next_token" not in bodies[-1]["meta"]:
                return bodies
            following = {"pagination_token": bodies[-1]["meta"]["next_token"]}


@pytest.fixture
async def x() -> AsyncIterator[Browser]:
    async with (
        Simulator(bookmarks=250, seed=3) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        yield Browser(sim, http)


def ids_of(bodies: list[dict[str, Any]]) -> list[str]:
    return [post["id"] for body in bodies for post in body.get("data", [])]


@pytest.mark.parametrize("size", [1, 7, 90, 100])
async def test_a_walk_brings_every_bookmark_once_in_listing_order(size: int) -> None:
    async with (
        Simulator(bookmarks=101, limit=1000) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        bodies = await Browser(sim, http).walk(max_results=size)

    assert ids_of(bodies) == sim.truth()
    assert len(set(sim.truth())) == 101
    assert [body["meta"]["result_count"] for body in bodies[:-1]] == [size] * (len(bodies) - 1)


async def test_a_page_is_a_hundred_when_nothing_is_asked(x: Browser) -> None:
    assert (await x.page()).json()["meta"]["result_count"] == 100


async def test_only_the_default_fields_come_unasked(x: Browser) -> None:
    body = (await x.page(max_results=5)).json()

    assert {key for post in body["data"] for key in post} == {
        "id",
        "text",
        "edit_history_tweet_ids",
    }
    assert body.keys() == {"data", "meta"}


async def test_only_the_fields_asked_for_are_added(x: Browser) -> None:
    body = (await x.page(**{"tweet.fields": "lang,author_id", "expansions": "author_id"})).json()

    assert {key for post in body["data"] for key in post} == {
        "id",
        "text",
        "edit_history_tweet_ids",
        "lang",
        "author_id",
    }
    assert {key for user in body["includes"]["users"] for key in user} == {"id", "name", "username"}


async def test_the_old_vocabulary_is_answered_in_the_old_vocabulary(x: Browser) -> None:
    bodies = await x.walk(**OLD)
    posts = [post for body in bodies for post in body["data"]]
    included = {name for body in bodies for name in body["includes"]}

    assert included == {"users", "tweets", "media"}
    assert all(post["edit_history_tweet_ids"] == [post["id"]] for post in posts)
    assert any("referenced_tweets" in post for post in posts)
    assert any("note_tweet" in post for post in posts)
    assert all("retweet_count" in post["public_metrics"] for post in posts)
    users = [user for body in bodies for user in body["includes"]["users"]]
    assert all("tweet_count" in user["public_metrics"] for user in users)


async def test_the_new_vocabulary_is_answered_in_the_new_vocabulary(x: Browser) -> None:
    bodies = await x.walk(**NEW)
    posts = [post for body in bodies for post in body["data"]]
    included = {name for body in bodies for name in body["includes"]}

    assert included == {"users", "posts", "media"}
    assert all(post["edit_history_post_ids"] == [post["id"]] for post in posts)
    assert any("referenced_posts" in post for post in posts)
    assert any("note_post" in post for post in posts)
    assert all("repost_count" in post["public_metrics"] for post in posts)
    users = [user for body in bodies for user in body["includes"]["users"]]
    assert all("post_count" in user["public_metrics"] for user in users)


async def test_everything_expanded_is_there_or_named_in_the_errors(x: Browser) -> None:
    missing = {"author": 0, "reference": 0}
    for body in await x.walk(**OLD):
        users = {user["id"] for user in body["includes"]["users"]}
        tweets = {tweet["id"] for tweet in body["includes"]["tweets"]}
        media = {one["media_key"] for one in body["includes"]["media"]}
        gone = {(error["resource_id"], error["parameter"]) for error in body.get("errors", [])}
        for post in body["data"]:
            if post["author_id"] not in users:
                assert (post["author_id"], "author_id") in gone
                missing["author"] += 1
            assert media >= set(post.get("attachments", {}).get("media_keys", []))
            for reference in post.get("referenced_tweets", []):
                if reference["id"] not in tweets:
                    assert (reference["id"], "referenced_tweets.id") in gone
                    missing["reference"] += 1

    assert missing["author"] > 0
    assert missing["reference"] > 0


async def test_posts_are_as_awkward_as_real_ones() -> None:
    async with (
        Simulator(bookmarks=2000) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        bodies = await Browser(sim, http).walk(**OLD)
    posts = [post for body in bodies for post in body["data"]]
    texts = "".join(post["text"] for post in posts)
    ids = [int(post["id"]) for post in posts]

    for awkward in ("\u2028", "\n", '"', "'", "%s", "<script>", "&amp;", "🧵", "日本語", "\\n"):
        assert awkward in texts
    assert len({len(post["id"]) for post in posts}) >= 5
    assert min(ids) < 10**6
    assert max(ids) > 2**60
    assert any(2**53 < n < 2**54 for n in ids)
    assert ids != sorted(ids)
    assert ids != sorted(ids, reverse=True)
    longs = [post for post in posts if "note_tweet" in post]
    assert longs
    assert all(len(post["note_tweet"]["text"]) > len(post["text"]) for post in longs)
    assert 0 < sum("created_at" not in post for post in posts) < 200
    kinds = {ref["type"] for post in posts for ref in post.get("referenced_tweets", [])}
    assert kinds == {"quoted", "replied_to"}


async def test_entities_point_into_the_text(x: Browser) -> None:
    found = 0
    for body in await x.walk(**OLD):
        for post in body["data"]:
            for link in post.get("entities", {}).get("urls", []):
                assert post["text"][link["start"] : link["end"]] == link["url"]
                found += 1

    assert found > 20


async def test_an_item_with_everything_weighs_what_a_real_one_does(x: Browser) -> None:
    answer = await x.page(**OLD)

    assert 1200 < len(answer.content) / 100 < 2000


async def test_an_empty_account_has_no_data_at_all() -> None:
    async with (
        Simulator(bookmarks=0) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        answer = await Browser(sim, http).page(**OLD)

    assert answer.json() == {"meta": {"result_count": 0}}


async def test_the_previous_token_leads_back(x: Browser) -> None:
    first = (await x.page(max_results=40)).json()
    second = (await x.page(max_results=40, pagination_token=first["meta"]["next_token"])).json()
    back = (await x.page(max_results=40, pagination_token=second["meta"]["previous_token"])).json()

    assert "previous_token" not in first["meta"]
    assert ids_of([back]) == ids_of([first])
    assert back["meta"]["next_token"] == first["meta"]["next_token"]


async def test_page_tokens_look_like_base32hex(x: Browser) -> None:
    token = (await x.page(max_results=40)).json()["meta"]["next_token"]

    assert re.fullmatch(r"[0-9a-v]+", token)
    base64.b32hexdecode(token.upper() + "=" * (-len(token) % 8))


async def test_a_page_token_with_one_character_changed_is_refused(x: Browser) -> None:
    token = (await x.page(max_results=40)).json()["meta"]["next_token"]
    forged = [
        token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
        for place in range(len(token))
    ]
    answers = [await x.page(pagination_token=one) for one in [*forged, token.upper(), token[:-1]]]

    assert {answer.status_code for answer in answers} == {400}
    assert (await x.page(pagination_token=token)).status_code == 200


@pytest.mark.parametrize(
    "params",
    [
        {"max_results": 0},
        {"max_results": 101},
        {"max_results": "ten"},
        {"pagination_token": ""},
        {"pagination_token": "7140dibdnow9c7btw3w29n4v1"},
        {"tweet.fields": "id,colour"},
        {"post.fields": "note_tweet"},
        {"tweet.fields": "note_post"},
        {"expansions": "friends"},
        {"user.fields": "shoe_size"},
        {"media.fields": "smell"},
        {"poll.fields": "winner"},
        {"place.fields": "weather"},
        {"since_id": "20"},
    ],
)
async def test_a_mistake_is_answered_with_400_naming_it(
    x: Browser, params: dict[str, object]
) -> None:
    answer = await x.page(**params)

    assert answer.status_code == 400
    problem = answer.json()
    assert problem["type"].rpartition("/")[2] == "invalid-request"
    ((name, value),) = params.items()
    (mistake,) = problem["errors"]
    assert mistake["parameters"].keys() == {name}
    assert mistake["parameters"][name][0] in str(value)


async def test_the_token_of_another_users_page_is_refused() -> None:
    async with (
        Simulator(bookmarks=50, users=2) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        x = Browser(sim, http)
        token = (await x.page(max_results=10)).json()["meta"]["next_token"]
        other = sim.user_ids[1]
        answer = await x.get(
            f"/2/users/{other}/bookmarks", sim.tokens[other], pagination_token=token
        )

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("plan", "fields", "status"),
    [
        ("old", "tweet.fields", 200),
        ("old", "post.fields", 400),
        ("new", "tweet.fields", 400),
        ("new", "post.fields", 200),
    ],
)
async def test_a_server_may_understand_one_vocabulary_only(
    plan: str, fields: str, status: int
) -> None:
    async with (
        Simulator(bookmarks=5, faults=FaultPlan(vocabulary=plan)) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        answer = await Browser(sim, http).page(**{fields: "lang"})

    assert answer.status_code == status


async def test_me_says_who_the_token_belongs_to() -> None:
    async with (
        Simulator(users=3) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        x = Browser(sim, http)
        for user_id in sim.user_ids:
            answer = await x.get("/2/users/me", sim.tokens[user_id])
            assert answer.json()["data"]["id"] == user_id
            assert answer.json()["data"].keys() == {"id", "name", "username"}
        full = await x.get("/2/users/me", **{"user.fields": "public_metrics,created_at"})

    assert {"public_metrics", "created_at"} <= full.json()["data"].keys()


async def test_tokens_that_may_not_are_told_why(x: Browser) -> None:
    path = f"/2/users/{x.sim.user_id}/bookmarks"
    narrow = x.sim.issue_token("narrow", scopes=["users.read", "tweet.read"])

    app_only = await x.get(path, x.sim.app_only_token)
    unknown = await x.get(path, "nonsense")
    absent = await x.http.get(path)
    without_scope = await x.get(path, narrow)
    elsewhere = await x.get("/2/users/12/bookmarks")
    x.sim.revoke_token(narrow)
    revoked = await x.get("/2/users/me", narrow)

    assert app_only.status_code == 403
    assert app_only.json()["type"].endswith("/unsupported-authentication")
    for answer in (unknown, absent, revoked):
        assert answer.status_code == 401
        problem = {key: answer.json()[key] for key in ("title", "type", "status")}
        assert problem == {"title": "Unauthorized", "type": "about:blank", "status": 401}
    assert without_scope.status_code == 403
    assert "bookmark.read" in without_scope.json()["detail"]
    assert elsewhere.status_code == 403
    for answer in (app_only, unknown, absent, without_scope, elsewhere):
        assert "x-rate-limit-reset" in answer.headers


async def test_an_unknown_path_is_answered_with_404(x: Browser) -> None:
    assert (await x.get("/2/users/12/likes")).status_code == 404
    assert (await x.http.delete(f"/2/users/{x.sim.user_id}/bookmarks")).status_code == 404


async def test_the_window_opens_with_its_first_request_and_opens_again_at_its_reset() -> None:
    now = 1_000_000.4
    async with (
        Simulator(bookmarks=5, limit=3, now=lambda: now) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        x = Browser(sim, http)
        now += 100
        first = await x.page()
        now += 50
        rest = [await x.page() for _ in range(3)]
        now = float(first.headers["x-rate-limit-reset"]) - 1
        early = await x.page()
        now += 1
        again = await x.page()

    assert first.headers["x-rate-limit-limit"] == "3"
    assert first.headers["x-rate-limit-reset"] == "1001001"  # 1,000,100.4 + 900, rounded up
    assert [a.headers["x-rate-limit-remaining"] for a in (first, *rest)] == ["2", "1", "0", "0"]
    assert [a.status_code for a in rest] == [200, 200, 429]
    assert {a.headers["x-rate-limit-reset"] for a in rest} == {"1001001"}
    assert rest[-1].json()["title"] == "Too Many Requests"
    assert early.status_code == 429
    assert again.status_code == 200
    assert again.headers["x-rate-limit-reset"] == "1001901"


async def test_windows_of_users_and_endpoints_are_apart() -> None:
    async with (
        Simulator(bookmarks=5, limit=1, limit_me=1, users=2) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        x = Browser(sim, http)
        other = sim.user_ids[1]
        assert (await x.page()).status_code == 200
        assert (await x.page()).status_code == 429
        assert (await x.get("/2/users/me")).status_code == 200
        assert (await x.get("/2/users/me")).status_code == 429
        path = f"/2/users/{other}/bookmarks"
        assert (await x.get(path, sim.tokens[other])).status_code == 200


async def test_the_date_is_the_servers() -> None:
    async with (
        Simulator(now=lambda: 1_700_000_000.0, faults=FaultPlan(clock_skew_s=-120)) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        answer = await Browser(sim, http).page()

    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == 1_700_000_000 - 120
    assert answer.headers["x-rate-limit-reset"] == str(1_700_000_000 - 120 + 900)


@pytest.mark.parametrize("faults", ["none", "hostile"])
async def test_the_same_seed_and_requests_give_the_same_bytes(faults: str) -> None:
    async def run(seed: int) -> list[tuple[int, bytes]]:
        now = 1_700_000_000.0
        async with (
            Simulator(300, seed=seed, faults=faults, now=lambda: now) as sim,
            httpx.AsyncClient(base_url=sim.base_url) as http,
        ):
            x, token = Browser(sim, http), dict[str, str]()
            seen: list[tuple[int, bytes]] = []
            for _ in range(60):
                try:
                    answer = await x.page(max_results=20, **OLD, **token)
                except httpx.HTTPError as error:
                    seen.append((0, type(error).__name__.encode()))
                    continue
                seen.append((answer.status_code, answer.content))
                if answer.status_code == 200 and answer.content.startswith(b"{"):
                    try:
                        token = {"pagination_token": answer.json()["meta"]["next_token"]}
                    except (ValueError, KeyError):
                        token = {}
                now += 1000
        return seen

    assert await run(5) == await run(5)
    assert await run(5) != await run(6)


def test_another_process_gives_the_same_bytes() -> None:
    program = textwrap.dedent(
        """
        import hashlib, sys
        from twitor_fsm.simulator import Simulator
        from twitor_fsm.simulator.answers import Asked
        sim = Simulator(50, faults="hostile", now=lambda: 1e9)
        seen = hashlib.sha256()
        for _ in range(20):
            seen.update(sim.service.answer(Asked(
                method="GET", path=f"/2/users/{sim.user_id}/bookmarks", query="",
                pairs=tuple(pair.split("=") for pair in sys.argv[1:]),
                authorization=f"Bearer {sim.token}", accepts_gzip=True)).body)
        print(seen.hexdigest())
        """
    )

    def run(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *(f"{key}={value}" for key, value in OLD.items())],
            env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert len({run("1"), run("2"), run("3")}) == 1


async def test_the_ledger_holds_every_request_and_no_token(x: Browser) -> None:
    await x.get("/2/users/me")
    await x.page(max_results=10, **{"tweet.fields": "lang"})
    await x.get("/2/users/me", "a-secret-that-is-wrong")
    ledger = (await x.http.get("/_sim/requests")).json()["requests"]

    assert [(e["path"], e["status"], e["items"], e["ordinal"]) for e in ledger] == [
        ("/2/users/me", 200, 0, 1),
        (f"/2/users/{x.sim.user_id}/bookmarks", 200, 10, 1),
        ("/2/users/me", 401, 0, 0),
    ]
    assert ledger[1]["query"] == "max_results=10&tweet.fields=lang"
    assert ledger[1]["method"] == "GET"
    assert ledger[1]["fault"] is None
    assert ledger[2]["user_id"] is None
    assert "secret" not in str(ledger)
    assert [entry.path for entry in x.sim.ledger] == [entry["path"] for entry in ledger]


async def test_users_have_bookmarks_of_their_own() -> None:
    async with Simulator(bookmarks=40, users=25) as sim:
        everything = [post_id for user_id in sim.user_ids for post_id in sim.truth(user_id)]

    assert len(set(everything)) == 25 * 40
    assert len(set(sim.user_ids)) == 25
    assert len(set(sim.tokens.values())) == 25
    assert Simulator(bookmarks=40, users=25).tokens == sim.tokens


async def test_a_hundred_thousand_bookmarks_cost_nothing_until_they_are_read() -> None:
    started = time.perf_counter()
    async with (
        Simulator(bookmarks=100_000, users=1000) as sim,
        httpx.AsyncClient(base_url=sim.base_url) as http,
    ):
        answer = await Browser(sim, http).page()

    assert answer.json()["meta"]["result_count"] == 100
    assert time.perf_counter() - started < 2


async def test_serving_leaves_no_task_no_port_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = asyncio.all_tasks()
    uvicorn_log = logging.getLogger("uvicorn.access")
    handlers, propagates = list(uvicorn_log.handlers), uvicorn_log.propagate
    sim = Simulator(bookmarks=5)
    with caplog.at_level(logging.DEBUG):
        async with sim:
            base_url = sim.base_url
            async with httpx.AsyncClient(base_url=base_url) as http:
                await Browser(sim, http).page()
                during = [r for r in caplog.records if r.name.startswith("uvicorn")]

    assert asyncio.all_tasks() == before
    assert during == []
    assert [r for r in caplog.records if r.name.startswith(("uvicorn", "asyncio"))] == []
    assert (uvicorn_log.handlers, uvicorn_log.propagate) == (handlers, propagates)
    with pytest.raises(ConfigurationError, match="not serving"):
        _ = sim.base_url
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(base_url)


async def test_stopping_does_not_wait_for_a_slow_answer() -> None:
    plan = FaultPlan(faults=[Fault(kind="slow", at=[1], seconds=3600)])
    before = asyncio.all_tasks()
    async with Simulator(bookmarks=5, faults=plan) as sim, httpx.AsyncClient() as http:
        http.base_url = httpx.URL(sim.base_url)
        waiting = asyncio.create_task(Browser(sim, http).page())
        while not sim.ledger:  # noqa: ASYNC110 - a condition, not a duration
            await asyncio.sleep(0.001)
        await sim.stop()
        with pytest.raises(httpx.TransportError):
            await waiting

    assert asyncio.all_tasks() == before


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with Simulator() as sim:
        port = int(sim.base_url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            await Simulator(port=port).start()


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": 0},
        {"bookmarks": -1},
        {"bookmarks": 2**29, "users": 2},
        {"limit": 0},
        {"window_s": 0},
    ],
)
def test_a_simulator_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Simulator(**wrong)
