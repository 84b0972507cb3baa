"""Rows that somebody spoiled by hand: each is named with its remedy, and hides no other."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from twitor_fsm.cli.app import twitor
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.errors import RowUnreadable
from twitor_fsm.storage.store import SqlStore

Run = Callable[..., Result]

POSTS = [{"id": str(10**18 + number), "text": "text", "author_id": "7"} for number in range(5)]
JOURNALS = (
    "facts = 'garbage'",
    "facts = '[1]'",
    "category = 'NONSENSE'",
    "at = 'soon'",
    "delay_s = 'long'",
    "target = x'ff'",
)
CHECKPOINTS = (
    "mark = 'garbage'",
    """mark = '{"unknown": 1}'""",
    "mark = '[1]'",
    "last_crawled_at = 'soon'",
    "last_crawled_at = 1e300",
    "bookmarks_count = 'many'",
)
BOOKMARKS = ("raw = x'ff00'", "created_at = x'ff'", "stored_at = 'soon'")
SKIPS = ("category = 'NONSENSE'", "at = 'soon'", "message = x'ff'")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two users have crawled the same file: five posts and one without an id."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    Path("posts.json").write_text(json.dumps({"data": [*POSTS, {"text": "no id"}]}))

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(twitor, list(args), prog_name="twitor")

    for user in ("42", "43"):
        assert invoke("crawl", "posts.json", "--user-id", user).exit_code == 0
    return invoke


def spoil(table: str, change: str, where: str) -> None:
    with closing(sqlite3.connect("bookmarks.db")) as db:
        assert db.execute(f"UPDATE {table} SET {change} WHERE {where}").rowcount == 1
        db.commit()


@pytest.mark.parametrize("table", ["twitor_bookmark", "twitor_skipped"])
def test_a_text_that_is_no_text_any_more_is_damage(run: Run, table: str) -> None:
    """SQLite checks no text; its driver decodes it, and raises without any of SQLite's codes."""
    spoil(table, "raw = CAST(x'73656372ff' AS TEXT)", "rowid = 1")

    verb = ("export",) if table == "twitor_bookmark" else ("skipped", "list")
    refused = run(*verb)
    assert refused.exit_code == 14
    assert "the database's file is damaged" in refused.stderr
    assert "sqlite3 FILE .recover" in refused.stderr
    assert "bug" not in refused.stderr
    assert "secr" not in refused.stderr


@pytest.mark.parametrize("change", JOURNALS)
def test_a_step_that_cannot_be_read_is_named(run: Run, change: str) -> None:
    newest = json.loads(run("sessions", "list", "--json").stdout)["sessions"][0]["session_id"]
    spoil("twitor_journal", change, f"seq = 1 AND session_id = '{newest}'")

    for verb in (["sessions", "show", newest], ["sessions", "show", newest, "--json"], ["replay"]):
        refused = run(*verb)
        assert refused.exit_code == 14
        assert f"step 1 of the journal of session {newest} cannot be read" in refused.stderr
        assert "Repair that row" in refused.stderr
    assert "5 stored" in run("sessions", "show", newest).stdout, "its counts are shown all the same"
    assert run("sessions", "list").exit_code == 0


@pytest.mark.parametrize("change", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_read_hides_no_other_and_can_be_cleared(
    run: Run, change: str
) -> None:
    spoil("twitor_crawl", change, "user_id = '43'")

    for verb in (["status"], ["checkpoint", "show"]):
        shown = run(*verb)
        assert shown.exit_code == 0
        assert "the checkpoint of user 43 from file:posts.json@" in shown.stdout
        assert "user 42, from" in shown.stdout
        crawls = json.loads(run(*verb, "--json").stdout)
        (good, bad) = crawls["crawls" if verb == ["status"] else "checkpoints"]
        assert (good["checkpoint_error"], bad["checkpoint"]) == (None, None)
        assert "cannot be read" in bad["checkpoint_error"]
    assert "user 43 from" in run("doctor", "--offline").stdout
    refused = run("crawl", "posts.json", "--user-id", "43")
    assert refused.exit_code == 14
    assert "twitor checkpoint clear" in refused.stderr

    assert run("checkpoint", "clear", "--user-id", "43", "--yes").exit_code == 0
    again = json.loads(run("crawl", "posts.json", "--user-id", "43", "--json").stdout)
    assert (again["state"], again["stored"], again["already_known"]) == ("completed", 0, 5)
    assert run("status", "--json").exit_code == 0


@pytest.mark.parametrize("shape", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("change", BOOKMARKS)
def test_a_bookmark_that_cannot_be_read_is_named_after_all_others_are_exported(
    run: Run, change: str, shape: str
) -> None:
    spoil("twitor_bookmark", change, f"user_id = '42' AND item_id = '{POSTS[1]['id']}'")

    exported = run("export", "--format", shape)
    filed = run("export", "--format", shape, "-o", "out", "--json")

    for result in (exported, filed):
        assert result.exit_code == 14
        assert f"bookmark {POSTS[1]['id']} of user 42" in result.stderr
        assert "9 other bookmarks exported" in result.stderr
    assert str(POSTS[1]["id"]) in exported.stdout, "the other user's"
    assert Path("out").read_bytes() == exported.stdout_bytes
    if shape == "json":
        assert len(json.loads(exported.stdout)) == 9


@pytest.mark.parametrize("change", SKIPS)
def test_a_skipped_item_that_cannot_be_read_hides_no_other(
    run: Run, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil("twitor_skipped", change, "crawl_id = 1")

    listed = run("skipped", "list", "--json")

    assert listed.exit_code == 0
    assert [each["user_id"] for each in json.loads(listed.stdout)["skipped"]] == ["43"]
    assert "of crawl 1 cannot be read" in caplog.text


def test_the_store_raises_one_type_for_all_of_them(run: Run) -> None:
    spoil(
        "twitor_journal",
        JOURNALS[0],
        "seq = 1 AND session_id = (SELECT max(session_id) FROM twitor_session)",
    )
    spoil("twitor_crawl", CHECKPOINTS[0], "user_id = '43'")
    spoil("twitor_bookmark", BOOKMARKS[0], "id = 1")

    async def read() -> None:
        store = SqlStore("bookmarks.db")
        await store.open()
        crawl = (await store.crawls())[1]
        assert isinstance(crawl, CrawlKey)
        with pytest.raises(RowUnreadable) as step:
            await store.journal((await store.sessions())[0].session_id)
        with pytest.raises(RowUnreadable) as checkpoint:
            await store.checkpoint(crawl)
        given = []
        with pytest.raises(RowUnreadable) as bookmark:
            given.extend([each async for each in store.bookmarks()])
        tables = [raised.value.table for raised in (step, checkpoint, bookmark)]
        assert tables == ["twitor_journal", "twitor_crawl", "twitor_bookmark"]
        saved = await store.save_checkpoint(crawl, tweet_id="1", bookmarks_count=None, now=1.0)
        assert saved == await store.checkpoint(crawl)
        await store.close()

    asyncio.run(read())
