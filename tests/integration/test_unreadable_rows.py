"""Rows that somebody spoiled by hand: each is named with its remedy, and hides no other."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.ext.asyncio import create_async_engine

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


NO_TEXT = "CAST(x'73656372ff' AS TEXT)"
"""SQLite checks no text; its driver decodes it, and would give no row of an answer that holds it."""


@pytest.mark.parametrize("column", ["raw", "text", "item_id"])
def test_a_text_that_is_no_text_any_more_hides_no_other_bookmark(run: Run, column: str) -> None:
    spoil("twitor_bookmark", f"{column} = {NO_TEXT}", "rowid = 2")

    for shape in ("jsonl", "json", "csv"):
        exported = run("export", "--format", shape)
        assert exported.exit_code == 14
        assert "of user 42 (row 2) cannot be read" in exported.stderr
        assert "9 other bookmarks exported" in exported.stderr
        assert "secr" not in exported.stdout
        if shape == "jsonl":
            assert len(exported.stdout.splitlines()) == 9
            assert str(POSTS[4]["id"]) in exported.stdout, "what stands behind it"


def test_a_text_that_is_no_text_any_more_hides_no_other_session_or_skipped_item(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    spoil("twitor_skipped", f"raw = {NO_TEXT}", "crawl_id = 1")
    spoil("twitor_session", f"message = {NO_TEXT}", "crawl_id = 1")

    listed = json.loads(run("skipped", "list", "--json").stdout)["skipped"]
    assert [each["user_id"] for each in listed] == ["43"]
    shown = json.loads(run("sessions", "list", "--json").stdout)["sessions"]
    assert [each["user_id"] for each in shown] == ["43"]
    assert "of crawl 1 cannot be read" in caplog.text
    assert "session" in caplog.text
    assert "secr" not in caplog.text


def test_it_hides_no_other_from_an_apps_own_engine_either(run: Run) -> None:
    spoil("twitor_bookmark", f"raw = {NO_TEXT}", "rowid = 2")

    async def read() -> list[str]:
        engine = create_async_engine("sqlite+aiosqlite:///bookmarks.db")
        store = SqlStore(engine)
        await store.open()
        given: list[str] = []

        async def take() -> None:
            async for each in store.bookmarks("42"):
                given.append(each.id)  # noqa: PERF401  what came before the error counts

        with pytest.raises(RowUnreadable, match=r"\(row 2\)"):
            await take()
        await store.close()
        await engine.dispose()
        return given

    assert asyncio.run(read()) == [POSTS[n]["id"] for n in (0, 2, 3, 4)]


def test_a_crawl_that_meets_a_text_that_is_none_calls_it_damage(run: Run) -> None:
    spoil("twitor_crawl", f"mark = {NO_TEXT}", "id = 1")

    refused = run("crawl", "posts.json", "--user-id", "42")
    assert refused.exit_code == 14
    assert "the database's file is damaged" in refused.stderr
    assert "bug" not in refused.stderr
    assert "secr" not in refused.stderr


@pytest.mark.parametrize("change", [*JOURNALS, f"facts = {NO_TEXT}"])
def test_a_step_that_cannot_be_read_is_named_and_hides_no_other(run: Run, change: str) -> None:
    newest = json.loads(run("sessions", "list", "--json").stdout)["sessions"][0]["session_id"]
    spoil("twitor_journal", change, f"seq = 1 AND session_id = '{newest}'")

    show = ["sessions", "show", newest]
    lines, whole, steps, replayed = (
        run(*show), run(*show, "--json"), run(*show, "--journal"), run("replay"),
    )  # fmt: skip
    for refused in (lines, whole, steps, replayed):
        assert refused.exit_code == 14
        assert f"step 1 of the journal of session {newest} cannot be read" in refused.stderr
        assert "Repair that row" in refused.stderr
    assert "5 stored" in lines.stdout, "its counts are shown all the same"
    assert [line.split()[0] for line in lines.stdout.splitlines()[-2:]] == ["1", "2"]
    assert "1  cannot be read" in lines.stdout
    told = json.loads(whole.stdout)
    assert [row["seq"] for row in told["journal"]] == [2]
    assert "step 1" in told["journal_error"]
    assert [json.loads(line)["seq"] for line in steps.stdout.splitlines()] == [2]
    assert run("sessions", "list").exit_code == 0


def test_a_step_that_somebody_deleted_is_missing(run: Run) -> None:
    newest = json.loads(run("sessions", "list", "--json").stdout)["sessions"][0]["session_id"]
    with closing(sqlite3.connect("bookmarks.db")) as db:
        db.execute(f"DELETE FROM twitor_journal WHERE seq = 1 AND session_id = '{newest}'")
        db.commit()

    assert "1  is missing" in run("sessions", "show", newest).stdout


@pytest.mark.parametrize("seq", [-1, 10**12])
def test_a_step_with_a_number_of_somebody_elses_is_shown(run: Run, seq: int) -> None:
    newest = json.loads(run("sessions", "list", "--json").stdout)["sessions"][0]["session_id"]
    spoil("twitor_journal", f"seq = {seq}", f"seq = 2 AND session_id = '{newest}'")

    lines = run("sessions", "show", newest).stdout.splitlines()
    steps = lines[lines.index("journal") + 1 :]
    assert len(steps) == 3
    assert sum("is missing" in step for step in steps) == 1
    assert [step.split()[0] for step in steps if "is missing" not in step] == sorted(
        ["1", str(seq)], key=int
    )


def test_a_session_is_drawn_up_to_a_step_that_cannot_be_read(run: Run) -> None:
    newest = json.loads(run("sessions", "list", "--json").stdout)["sessions"][0]["session_id"]
    draw = ["diagram", "--session", newest]
    whole = run(*draw).stdout
    spoil("twitor_journal", JOURNALS[0], f"seq = 2 AND session_id = '{newest}'")

    drawn, as_json, timed = (
        run(*draw),
        run(*draw, "--json"),
        run(*draw, "--timeline", "-o", "t.svg"),
    )
    for result in (drawn, as_json, timed):
        assert result.exit_code == 14
        assert "step 2 of the journal" in result.stderr
        assert "drawn up to step 1, the last one before it" in result.stderr
    assert "item_skipped" in drawn.stdout
    assert drawn.stdout != whole
    assert json.loads(as_json.stdout)["drawn"] == drawn.stdout
    assert "</svg>" in Path("t.svg").read_text()
    replayed = run("replay")
    assert replayed.exit_code == 14
    assert "item_skipped" in replayed.stdout
    assert run("replay", "--until", "1").exit_code == 0


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
