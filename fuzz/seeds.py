"""What fuzzing begins with: files as tools write them, cut down to the names that our readers look for.

Small ones: an input of 300 bytes is read ten times as fast as one of 4,000, and each changed byte of it matters.
"""

import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

import tool_files as tools  # noqa: E402 - found by the path above

PRESETS = HERE.parent / "src/twitor_fsm/simulator/presets"

PAGE = {
    "data": [
        {
            "id": "1",
            "text": "t",
            "author_id": "7",
            "created_at": "2024-05-01T04:34:56.000Z",
            "attachments": {"media_keys": ["3_1"]},
            "referenced_tweets": [{"id": "2"}],
            "note_tweet": {"text": "long"},
        },
        {"id": "3", "text": "t"},
    ],
    "includes": {
        "users": [{"id": "7", "username": "a", "name": "A"}],
        "media": [{"media_key": "3_1"}],
        "tweets": [{"id": "2", "text": "q"}],
    },
    "errors": [{"resource_type": "tweet", "resource_id": "9", "parameter": "ids"}],
    "meta": {"result_count": 2, "next_token": "x"},
}
ROW = {
    "seq": 1,
    "at": 1.5,
    "trigger": "item_skipped",
    "from": "running",
    "to": "running",
    "spec": "x",
}
PROBLEM = {
    "title": "Too Many Requests",
    "type": "https://api.x.com/2/problems/usage-capped",
    "detail": "credits",
    "reason": "client-not-enrolled",
    "registration_url": "https://x.com",
    "reset_date": "2024-05-01",
    "errors": [{"code": 88, "message": "m", "parameters": {"pagination_token": ["x"]}}],
}
HEADERS = "x-rate-limit-remaining: 0\nx-rate-limit-reset: 1700000900\nretry-after: 30\ndate: Tue, 14 Nov 2023 22:13:20 GMT"
SETTINGS = (
    b"VALKEY_URL=redis://user:word@host:6379/0\nMAX_RETRIES=5\nINITIAL_BACKOFF=1.5e0\n"
    b"DATABASE_URL=sqlite:///x.db\nTWITOR_API_URL=https://api.x.com\nTWITOR_TOKEN_DIR=~/x\n"
    b"TWITOR_METRICS_HOST=127.0.0.1\nTWITOR_METRICS_PORT=0\nTWITOR_PAGE_SIZE=90"
)


@cache
def _known() -> frozenset[str]:
    return frozenset(re.findall(r'"\\"(\w+)\\""', (HERE / "names.dict").read_text()))


def cut(value: Any) -> Any:
    """A value with its known names alone, and short texts."""
    if isinstance(value, dict):
        return {name: cut(inner) for name, inner in value.items() if name in _known()}
    if isinstance(value, list):
        return [cut(inner) for inner in value[:2]]
    return value[:30] if isinstance(value, str) else value


def compact(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def _lines(records: Sequence[Any]) -> bytes:
    return b"\n".join(map(compact, records)) + b"\n"


def _entries() -> list[Any]:
    results = [
        tools.tweet(0, long="long", pictures=1),
        tools.tweet(1, since_2025=False),
        tools.limited(2),
        tools.TOMBSTONE,
        tools.UNAVAILABLE,
    ]
    entries = [tools.entry(place, {"result": result}) for place, result in enumerate(results)]
    promoted = {**tools.entry(6, {}), "entryId": "promoted-tweet-1"}
    group = {"entryId": "tweet-9", "content": {"items": [{"item": entries[0]["content"]}]}}
    return [
        cut(entry) for entry in [*entries, tools.entry(5, {}), promoted, group, tools.cursor("Top")]
    ]


def _captured(body: bytes | None, *, in_base64: bool = False) -> dict[str, Any]:
    """An entry of a HAR with nothing but what is looked at; its address and body are looked at whole, so they are not cut."""
    url = "https://x.com/i/api/graphql/a/Bookmarks"
    entry = tools.har_entry(body, url=url, in_base64=in_base64)
    request = {name: entry["request"][name] for name in ("method", "url")}
    response = {name: entry["response"][name] for name in ("status", "content")}
    return {"request": request, "response": response}


def _archive() -> bytes:
    records = [tools.like(0)], [tools.bookmark(1)]
    members = {"data/like.js": tools.script("like", records[0])}
    return tools.archive({**members, "data/bookmarks.js": tools.script("bookmarks", records[1])})


def _small_zip(packing: int) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", packing) as file:
        many = [tools.bookmark(number) for number in range(5)]  # more than a page
        file.writestr("data/bookmarks.js", tools.script("bookmarks", many))
    return found.getvalue()


def _plans() -> list[bytes]:
    """The tables of the presets, one by one, without their comments."""
    text = "".join((PRESETS / f"{preset}.toml").read_text() for preset in ("typical", "hostile"))
    bare = "\n".join(
        line.partition(" #")[0] for line in text.splitlines() if not line.startswith("#")
    )
    return [table.strip().encode() for table in re.split(r"\n(?=\[)", bare) if table.strip()]


def seeds(name: str) -> Iterator[bytes]:
    """Inputs to begin with, for the reader of this name."""
    exporter = [cut(tools.exporter_record(n, metadata=bool(n))) for n in range(2)]
    csv = tools.exporter_csv(exporter)
    twillot, cache_ = cut(tools.twillot_record(0)), cut(tools.fieldtheory_record(0))
    liked = {**cache_, "likedAt": "2026-04-08T10:00:00.000Z"}
    told: dict[str, Any] = {
        "id": "1",
        "text": "t",
        "author_id": "7",
        "kind": "post",
        "source": "x",
        "stored_at": "",
    }
    told["raw"] = {"tweet_id": "1", "full_text": "t", "user_id": "7"}
    entries = _entries()
    answers = [compact(cut(tools.answer([entry]))) for entry in entries]
    har = [_captured(answers[0]), _captured(answers[1], in_base64=True), _captured(None)]
    scripts = [
        tools.script("like", [tools.like(0)]),
        tools.script("bookmarks", [tools.bookmark(0)]),
    ]
    bare = {"tweetId": "1", "bookmarkId": "2", "addedAt": "x"}
    own = {
        "exporter": [compact(record) + b"]" for record in exporter],
        "csv": [
            b'1,2024-05-01 12:34:56 +08:00,"a ""b"",\nc",[{}],ada,5,true,https://x.com/a/status/1,{}\n'
        ],
        "twillot": [compact(twillot) + b"]"],
        "fieldtheory": [_lines([cache_])],
        "fieldtheory_likes": [_lines([liked])],
        "own_export": [tools.exported(0).encode() + b"\n", _lines([told, {**told, "raw": told}])],
        "pages": [_lines([PAGE])],
        "answers": [answer + b"]" for answer in answers],
        "listing": [*map(compact, entries), compact(entries[:2])[1:-1]],
        "har": [compact(entry) + b"]}}" for entry in har],
        "script": [*(script[11:] for script in scripts), b"bookmark.part0 = " + compact([bare])],
        "zip": [zip_[4:] for zip_ in (_archive(), _small_zip(0), _small_zip(8))],
        "packed": [*scripts, tools.script("bookmarks", [bare])],
        "kept": [
            compact(record)
            for record in (*exporter, twillot, cache_, liked, PAGE, bare, *entries[:3])
        ],
        "cursor": [b"sequence.api_pages.0.1", b"1.0123456789abcdef.array.har.5.0"],
        "page": [compact(PAGE), compact({**PAGE, "data": []}), compact({"errors": PAGE["errors"]})],
        "refusal": [
            f"{code}\n{HEADERS}\n\n".encode() + compact(PROBLEM) for code in (400, 403, 429, 503)
        ],
        "journal": [
            _lines([ROW, {**ROW, "category": "network", "facts": {"items": 3}, "session_id": "a"}])
        ],
        "plan": _plans(),
        "queue": [b'1 5 3 1714538096000 ["crawl",{"user_id":"7"}]', b"failed 3 0 NetworkError -"],
        "token": [b"Bearer abc-123\n", b"\xef\xbb\xbfabc"],
        "settings": [SETTINGS],
    }
    if name == "file":
        yield from (
            tools.json_array(exporter),
            csv,
            *scripts,
            _archive(),
            tools.har(har[:1]),
            *answers[:3],
        )
        yield from (_lines([one]) for one in (twillot, cache_, liked, PAGE))
        yield from (
            b"\x1f\x8b",
            b"<html><head><meta><title>Exported Data",
            b'{"formatName":"dexie"',
            b"a;b\n1;2\n",
        )
    else:
        yield from own[name]
