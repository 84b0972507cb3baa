"""The simulated posts: varied, awkward and the same every time.

Pure: a post is worked out from the seed and its serial number when it is asked for, and forgotten.
Among them: line and paragraph separators, emoji, quotes, percent signs and HTML in texts, long
texts, media, quotes and replies, suspended authors, referenced posts that are gone, posts without
`created_at`.
Must not know: listings, faults, HTTP.
"""

# ruff: noqa: SIM905 - lists of words read better as words

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from .draws import digest
from .ids import MAX_SERIAL, PostIds, created_at
from .people import AUTHORS, author_id, is_suspended
from .vocabulary import NEW, OLD, Vocabulary

__all__ = ["MAX_BOOKMARKS", "Post", "Posts", "render_media", "render_post"]

_REFERENCED: Final = (MAX_SERIAL + 1) // 2
MAX_BOOKMARKS: Final = _REFERENCED
"""Serial numbers below this are bookmarks, those above the posts that they refer to."""

_WORDS: Final = """the a of state machine page token that never ends and why it matters for
crawling data at scale we measured twice before cutting once async python sqlite writes beat my
laptop on monday but not in production here is how to read thread about compilers naïve façade
über größer λ → ∑ 日本語 テスト новости мир مرحبا שלום 안녕하세요 emoji retry backoff
cursor""".split()
_TRIMMINGS: Final = (
    "",
    " 🧵👇",
    "\n\nRead on:",
    " \"quoted\" and 'single'",
    "\u2028second line",
    " 100%s sure, %d of {them} \\n",
    " &lt;b&gt;bold&lt;/b&gt; &amp; more",
    " <script>alert('x')</script>",
    "\n1. one\n2. two\n\u2029",
    " 👩🏽\u200d💻🏳️\u200d🌈",
    " '; DROP TABLE bookmarks; --",
    "\ttabs\u00a0and\u200bspaces",
)
_LANGUAGES: Final = ("en", "en", "en", "ja", "de", "es", "ar", "qme")
_TOPICS: Final = (
    ("46", "Business Taxonomy", "1557697333571112960", "Technology Business"),
    ("131", "Unified Twitter Taxonomy", "913142676819648512", "Cryptocurrencies"),
    ("66", "Interests and Hobbies Category", "898661583827615744", "Computer programming"),
    ("30", "Entities [Entity Service]", "1412579054855671809", "Open source"),
)
_PHOTO: Final = "https://pbs.twimg.com/media/"


class Post:
    """One post; every attribute follows from the seed and the serial number."""

    def __init__(self, seed: int, serial: int, ids: PostIds) -> None:
        self.seed = seed
        self.serial = serial
        self.id = ids.id_of(serial)
        bits = self._bits = digest(seed, "post", serial)
        share = int.from_bytes(bits[6:8]) / 65536
        self.author = int(share * share * AUTHORS)  # few write much
        self.author_id = author_id(seed, self.author)
        self.references: tuple[str, int] | None = None
        """("quoted" or "replied_to", serial number of that post), or None."""
        if serial < _REFERENCED and bits[0] < 60:
            self.references = ("quoted" if bits[0] < 32 else "replied_to", serial + _REFERENCED)

    @property
    def is_gone(self) -> bool:
        """Whether it was deleted since it was referred to; bookmarks themselves are never gone."""
        return self.serial >= _REFERENCED and self._bits[1] < 12

    @property
    def author_is_suspended(self) -> bool:
        """Whether its author is missing from `includes`."""
        return is_suspended(self.author)

    @cached_property
    def full_text(self) -> str:
        """The whole text, 20 to 1,500 characters."""
        bits = self._bits
        runs = 12 if self.is_long else 1 + bits[9] % 3
        words = [word for run in range(runs) for word in _run(bits[10 + run], bits[22 - run])]
        text = " ".join(words).capitalize() + "." + _TRIMMINGS[bits[4] % len(_TRIMMINGS)]
        if bits[8] < 80:
            text += f" https://t.co/{bits[11:16].hex()}"
        return text + (f" #{_WORDS[bits[16] % 40]}" if bits[16] < 100 else "")

    @property
    def is_long(self) -> bool:
        """Whether the text is cut, and whole in `note_tweet` or `note_post` (about 1 in 12)."""
        return self._bits[2] < 22

    @cached_property
    def text(self) -> str:
        """The text as a page shows it, cut when it is long."""
        return self.full_text[:274] + "…" if self.is_long else self.full_text

    @property
    def media_keys(self) -> list[str]:
        """Keys of photos, videos and animated pictures: none, one or four."""
        kind = self._bits[1] if self.serial < _REFERENCED else 255
        prefix, count = (
            ("3", 1)
            if kind < 70
            else ("7", 1)
            if kind < 85
            else ("16", 1)
            if kind < 90
            else ("3", 4)
        )
        return [
            f"{prefix}_{10**18 + self.serial * 8 + place}"
            for place in range(count if kind < 100 else 0)
        ]

    def reference(self, ids: PostIds) -> "Post | None":
        """The post that this one quotes or answers, or None."""
        return Post(self.seed, self.references[1], ids) if self.references else None

    def part(self, place: int, below: int) -> int:
        """A number that belongs to this post, 0 to `below` - 1."""
        return int.from_bytes(self._bits[place : place + 3]) % below


class Posts:
    """All posts of one seed, none of them kept."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.ids = PostIds(seed)

    def __getitem__(self, serial: int) -> Post:
        return Post(self.seed, serial, self.ids)


def render_post(
    post: Post, fields: frozenset[str], vocabulary: Vocabulary, ids: PostIds
) -> dict[str, Any]:
    """A post as shown: id, text, edit history, and of the rest only the fields asked for."""
    shown: dict[str, Any] = {"id": post.id, "text": post.text, vocabulary.edit_history: [post.id]}
    for field in sorted(fields & _RENDERERS.keys()):
        value = _RENDERERS[field](post, ids)
        if value is not None:
            shown[field] = value
    if "public_metrics" in fields:
        shown["public_metrics"] = _metrics(post, vocabulary=vocabulary)
    return shown


def render_media(key: str, fields: frozenset[str]) -> dict[str, Any]:
    """A photo or video as shown: key and type, and of the rest only the fields asked for."""
    prefix, _, number = key.partition("_")
    kind = {"3": "photo", "7": "video", "16": "animated_gif"}[prefix]
    name = f"G{int(number):x}"
    known: dict[str, Any] = {
        "media_key": key,
        "type": kind,
        "width": 1200,
        "height": 675 + int(number) % 525,
    }
    if kind == "photo":
        known["url"] = f"{_PHOTO}{name}.jpg"
        if int(number) % 3 == 0:
            known["alt_text"] = 'A chart: "errors" over time, 50% down'
    else:
        video = f"https://video.twimg.com/amplify_video/{number}/vid"
        known["preview_image_url"] = f"{_PHOTO}{name}.jpg"
        known["duration_ms"] = 1000 + int(number) % 120_000
        known["public_metrics"] = {"view_count": int(number) % 1_000_000}
        known["variants"] = [
            {"content_type": "application/x-mpegURL", "url": f"{video}/pl.m3u8"},
            {
                "bit_rate": 632_000,
                "content_type": "video/mp4",
                "url": f"{video}/480x270/{name}.mp4",
            },
            {
                "bit_rate": 2_176_000,
                "content_type": "video/mp4",
                "url": f"{video}/1280x720/{name}.mp4",
            },
        ]
    return {
        name: value
        for name, value in known.items()
        if name in fields or name in ("media_key", "type")
    }


def _run(start: int, length: int) -> list[str]:
    """Four to eleven words that follow each other somewhere in the vocabulary."""
    at = start % (len(_WORDS) - 12)
    return _WORDS[at : at + 4 + length % 8]


def _entities(text: str, *, post: Post) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    at = text.find("https://t.co/")
    if at >= 0:
        link = text[at : at + 23]
        page = f"https://example.com/articles/{post.part(20, 9999)}?a=1&b=%20"
        found["urls"] = [
            {
                "start": at,
                "end": at + len(link),
                "url": link,
                "expanded_url": page,
                "display_url": page[8:34] + "…",
                "status": 200,
                "title": "How we stopped losing bookmarks",
                "description": "A page that never ends, & other stories",
                "unwound_url": page,
            }
        ]
    at = text.rfind(" #")
    if at >= 0:
        found["hashtags"] = [{"start": at + 1, "end": len(text), "tag": text[at + 2 :]}]
    return found or None


def _annotations(post: Post, _: PostIds) -> list[dict[str, Any]] | None:
    topics = [_TOPICS[(post.part(17, 4) + place) % 4] for place in range(post.part(18, 3))]
    return [
        {
            "domain": {"id": domain, "name": area, "description": f"{area} and more"},
            "entity": {"id": id_, "name": name},
        }
        for domain, area, id_, name in topics
    ] or None


def _metrics(post: Post, *, vocabulary: Vocabulary) -> dict[str, int]:
    likes = post.part(19, 50_000)
    return {
        vocabulary.repost_count: likes // 6,
        "reply_count": likes // 20,
        "like_count": likes,
        "quote_count": likes // 50,
        "bookmark_count": likes // 3 + 1,
        "impression_count": likes * 80,
    }


def _references(post: Post, ids: PostIds) -> list[dict[str, str]] | None:
    return (
        [{"type": post.references[0], "id": ids.id_of(post.references[1])}]
        if post.references
        else None
    )


def _note(post: Post, _: PostIds) -> dict[str, Any] | None:
    if not post.is_long:
        return None
    entities = _entities(post.full_text, post=post)
    return {"text": post.full_text} | ({"entities": entities} if entities else {})


def _created_at(post: Post, _: PostIds) -> str | None:
    return None if post.part(5, 50) == 0 else created_at(post.id)


def _edit_controls(post: Post, _: PostIds) -> dict[str, Any]:
    return {
        "edits_remaining": 5,
        "is_edit_eligible": post.references is None,
        "editable_until": created_at(post.id),
    }


def _conversation(post: Post, ids: PostIds) -> str:
    is_reply = post.references is not None and post.references[0] == "replied_to"
    return ids.id_of(post.references[1]) if post.references and is_reply else post.id


def _replied_to_user(post: Post, ids: PostIds) -> str | None:
    answered = (
        post.reference(ids) if post.references and post.references[0] == "replied_to" else None
    )
    return answered.author_id if answered else None


_RENDERERS: Final[dict[str, Callable[[Post, PostIds], Any]]] = {
    "attachments": lambda post, _: {"media_keys": post.media_keys} if post.media_keys else None,
    "author_id": lambda post, _: post.author_id,
    "context_annotations": _annotations,
    "conversation_id": _conversation,
    "created_at": _created_at,
    "display_text_range": lambda post, _: [0, len(post.text)],
    "edit_controls": _edit_controls,
    "entities": lambda post, _: _entities(post.text, post=post),
    "in_reply_to_user_id": _replied_to_user,
    "lang": lambda post, _: _LANGUAGES[post.part(3, len(_LANGUAGES))],
    "possibly_sensitive": lambda post, _: post.part(21, 30) == 0,
    "reply_settings": lambda post, _: "everyone" if post.part(22, 9) else "following",
    "source": lambda post, _: None if post.part(23, 3) else "Twitter Web App",
    OLD.references: _references,
    NEW.references: _references,
    OLD.note: _note,
    NEW.note: _note,
}
