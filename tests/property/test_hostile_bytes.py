"""Any bytes into every reader: an answer or an error of our own, nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twitor_fsm.testing.hostile import READERS

EXAMPLES = 40

WORDS = st.sampled_from(
    [
        "id", "full_text", "tweetId", "tweet_id", "text", "like", "bookmark", "data", "meta", "errors",
        "entryId", "content", "itemContent", "tweet_results", "result", "legacy", "core", "rest_id",
        "request", "response", "url", "includes", "syncedAt", "likedAt", "tweet-1", "1", "created_at",
        "seq", "trigger", "from", "to", "at", "spec", "kind", "fault", "bookmark_timeline_v2",
    ]
)  # fmt: skip
"""Names that our readers look for: of made-up ones none would ever be met."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=20,
)


@st.composite
def nearly_json(draw: st.DrawFn) -> bytes:
    """JSON with our names, of which a piece may be missing, doubled or replaced."""
    texts = draw(st.lists(VALUES.map(json.dumps), min_size=1, max_size=3))
    whole = draw(st.sampled_from([",", "\n", " "])).join(texts).encode()
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    new = draw(st.just(whole[begin:end]) | st.binary(max_size=4))
    return whole[:begin] + new + whole[end:]


HOSTILE = st.binary(max_size=200) | nearly_json()

PINNED = [
    b"",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"data":' * 2_000,
    b"9" * 5_000,
    b'{"id":' + b"9" * 5_000 + b"}",
    b"[NaN]",
    b'{"id":"1","full_text":"\\ud83d"}',
    b'{"tweetId":"1","text":"\xff","syncedAt":1}',
    b'{"like":{"tweetId":"\\u0000"}}',
    b'{"entryId":"tweet-1","content":{"itemContent":{"tweet_results":{"result":7}}}}',
    b"1 " + b"9" * 5_000 + b' 0 0 ["t",{}]',
    b"1 1_0 +1 -1 " + b'["t",{}]',
    b"1 0 0 " + b"9" * 400 + b' ["t",{}]',
    b"1 0 0 12345678901234567890 " + b'["t",{}]',
    b"x " + b"9" * 5_000 + b" 0 - -",
    b'{"tweetId":"!"}',
    b'{"id":"1","full_text":"t","\xff":1}',
    b'{"entryId":"tweet-1","content":{"itemContent":{"tweet_results":{"result":{"__typename":[]}}}}}',
    b"sequence.api_pages.0.999999999",
    b'{"id":"1","text":"t","entities":5,"a\\ude00":1}',
    b'{"id":"1","text":"t","a\\ude00":1}',
    b'{"data":[{"id":"1","text":"t","a\\ude00":1}],"meta":{}}',
    b'{"id":"1","full_text":"t","a\\ude00":1}',
    b'{"errors":0}',
    b'{"errors":\x00}',
    b"pages = " + b"[" * 100_000,
    b"a = " + b"9" * 5_000,
    b"a" + b".a" * 5_000 + b" = 1",
    b'[[fault]]\nkind = ["x"]',
    b"[[fault]]\nkind = {}",
    b"[[fault]]\nkind = 'status'\nat = nan\ntimes = inf\nprobability = 1979-05-27",
    b"[early_end]\nabove = 'x'",
    b"[[item]]\nat = [[]]",
    b"seed = 1e999\npage_delay_s = -inf",
    b'{"seq":1,"at":1e400,"trigger":"x","from":"a","to":"b","spec":"s"}',
    b'{"seq":1' + b"0" * 400 + b',"at":1,"trigger":"x","from":"a","to":"b","spec":"s"}',
    b'{"seq":1,"at":1,"trigger":"x","from":"a","to":"b","spec":"s","facts":{"a":' + b"[" * 5_000,
]


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(content=HOSTILE)
def test_any_bytes_are_read_or_refused(reader: str, content: bytes) -> None:
    READERS[reader](content)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", PINNED, ids=lambda content: repr(content[:30]))
def test_what_once_broke_a_reader_is_refused(reader: str, content: bytes) -> None:
    READERS[reader](content)
