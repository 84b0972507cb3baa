"""Clients that we did not write page through the simulated API: tweepy, and X's own xdk."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import requests

from twitor_fsm.simulator import Fault, FaultPlan, Simulator

tweepy = pytest.importorskip("tweepy")
xdk = pytest.importorskip("xdk")


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(bookmarks=333) as sim:
        yield sim


class Redirected(requests.Session):
    """Sends to the simulator what tweepy, whose host is fixed, sends to X."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        redirected = url.replace("https://api.twitter.com", self.base_url)
        assert redirected.startswith(self.base_url)
        return super().request(method, redirected, *args, **options)


def tweepy_client(sim: Simulator) -> Any:
    client = tweepy.Client(bearer_token=sim.token)
    client.session = Redirected(sim.base_url)
    return client


async def test_tweepy_pages_through_every_bookmark(sim: Simulator) -> None:
    client = tweepy_client(sim)

    def crawl() -> list[Any]:
        pages = tweepy.Paginator(
            client.get_bookmarks,
            max_results=90,
            tweet_fields=["created_at", "author_id", "public_metrics", "referenced_tweets"],
            expansions=["author_id", "attachments.media_keys", "referenced_tweets.id"],
            user_fields=["public_metrics", "verified"],
            media_fields=["url", "variants"],
        )
        return list(pages)

    with client.session:
        pages = await asyncio.to_thread(crawl)
    tweets = [tweet for page in pages for tweet in page.data]

    assert [str(tweet.id) for tweet in tweets] == sim.truth()
    assert len(pages) == 4
    assert tweets[0].author_id is not None
    assert all(tweet.edit_history_tweet_ids == [tweet.id] for tweet in tweets)
    assert all(page.includes["users"][0].username for page in pages)


async def test_tweepy_reads_a_rate_limit_as_one() -> None:
    plan = FaultPlan(faults=[Fault(kind="rate_limited", at=[1])])
    async with Simulator(bookmarks=5, faults=plan) as limited:
        client = tweepy_client(limited)
        with client.session, pytest.raises(tweepy.TooManyRequests):
            await asyncio.to_thread(client.get_bookmarks)


async def test_tweepy_reads_a_mistake_as_one(sim: Simulator) -> None:
    client = tweepy_client(sim)
    with client.session, pytest.raises(tweepy.BadRequest, match="max_results"):
        await asyncio.to_thread(client.get_bookmarks, max_results=1000)


async def test_xdk_pages_through_every_bookmark(sim: Simulator) -> None:
    client = xdk.Client(base_url=sim.base_url, access_token=sim.token)

    def crawl() -> list[Any]:
        pages = client.users.get_bookmarks(
            id=sim.user_id,
            max_results=90,
            post_fields=["created_at", "public_metrics", "note_post", "entities"],
            expansions=["author_id", "attachments.media_keys", "referenced_posts"],
            user_fields=["public_metrics", "verified"],
            media_fields=["url", "variants"],
        )
        return list(pages)

    with client.session:
        pages = await asyncio.to_thread(crawl)
    posts = [post for page in pages for post in page.data]

    assert [post.id for post in posts] == sim.truth()
    assert len(pages) == 4
    assert all(post.public_metrics.repost_count >= 0 for post in posts)
    assert all(post.edit_history_post_ids == [post.id] for post in posts)
    assert all(
        user.public_metrics.post_count >= 0 for page in pages for user in page.includes.users
    )
    assert any(post.note_post for post in posts)
    assert any(page.includes.posts for page in pages)


async def test_xdk_pages_through_every_bookmark_without_asking_for_fields(sim: Simulator) -> None:
    client = xdk.Client(base_url=sim.base_url, access_token=sim.token)
    with client.session:
        pages = await asyncio.to_thread(
            lambda: list(client.users.get_bookmarks(id=sim.user_id, max_results=100))
        )

    assert [post.id for page in pages for post in page.data] == sim.truth()
