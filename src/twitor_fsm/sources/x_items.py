"""Posts of the X API v2, decoded one at a time: JSON text in, `Item` or `InvalidRaw` out.

Both vocabularies (tweet and post) are understood, whichever was asked for. Ids are text: an id sent as a number may have
been rounded by whoever wrote it, so its post is invalid. So is one without text. A date that is none, or names no zone,
is left out, since a guess would be stored as if it were known; `raw` keeps what was sent.
Pure. Must not know: pages, files.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from .base import InvalidRaw, Item
from .json_split import NotJson, has_more, split_array, split_object
from .richness import richness

__all__ = [
    "MAX_ITEM_BYTES",
    "UNREADABLE",
    "Included",
    "as_text",
    "decode_post",
    "invalid",
    "is_absent",
    "is_id",
    "too_large",
    "usable_id",
    "utc",
]

MAX_ITEM_BYTES: Final = 1 << 20
"""The default of `max_item_bytes`. Posts of 25,000 characters with all their fields take less than 200 KB."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that it cannot decode."""

_ENTRY: Final = re.compile(r"(?:.{0,200}-)?tweet-(\d{1,20})", re.ASCII)
_LONG_BYTES: Final = 1 << 20
_ID: Final = re.compile(r"[!-~]{1,100}")
_UTC_CHARS: Final = len("2024-05-01T12:34:56.000Z")
_EMPTY: Final = Raw()
_T = TypeVar("_T")


class _Includes(msgspec.Struct):
    users: list[Raw] = []
    tweets: list[Raw] = []
    posts: list[Raw] = []
    media: list[Raw] = []
    polls: list[Raw] = []
    places: list[Raw] = []


class _Named(msgspec.Struct):
    id: str


class _User(msgspec.Struct):
    id: str
    username: str | None = None
    name: str | None = None


class _Media(msgspec.Struct):
    media_key: str


class _Attachments(msgspec.Struct):
    media_keys: list[str] | None = None
    poll_ids: list[str] | None = None


class _Mention(msgspec.Struct):
    id: str | None = None


class _Entities(msgspec.Struct):
    mentions: list[_Mention] | None = None


class _Geo(msgspec.Struct):
    place_id: str | None = None


class _Note(msgspec.Struct):
    text: str | None = None


class _Inner(msgspec.Struct, rename="camel"):
    tweet_id: str | None = None


class _Ids(msgspec.Struct):
    """Where the formats have the id of a post."""

    id: str | None = None
    tweet_id: str | None = None
    camel_id: str | None = msgspec.field(name="tweetId", default=None)
    bookmark: _Inner | None = None
    like: _Inner | None = None
    entry_id: str | None = msgspec.field(name="entryId", default=None)


class _Post(msgspec.Struct):
    """A post with its links into `includes`."""

    id: str
    text: str | None = None
    author_id: str | None = None
    created_at: str | None = None
    note_tweet: _Note | None = None
    note_post: _Note | None = None
    referenced_tweets: list[_Named] | None = None
    referenced_posts: list[_Named] | None = None
    attachments: _Attachments | None = None
    entities: _Entities | None = None
    in_reply_to_user_id: str | None = None
    geo: _Geo | None = None
    public_metrics: Raw = _EMPTY


class _Core(msgspec.Struct):
    """The least that makes a bookmark, for a post whose links have a shape that we do not know."""

    id: str
    text: str
    author_id: Any = None
    created_at: Any = None


_post: Final = msgspec.json.Decoder(_Post)
_includes: Final = msgspec.json.Decoder(_Includes)
_user: Final = msgspec.json.Decoder(_User)
_ids: Final = msgspec.json.Decoder(_Ids)
_named: Final = msgspec.json.Decoder(_Named)
_media: Final = msgspec.json.Decoder(_Media)


def invalid(element: bytes, message: str, *, key: str | None = None) -> InvalidRaw:
    """An element that is no usable item.

    Args:
        element: As it was sent.
        message: What is wrong, without its content.
        key: Its id, if it has a usable one.
    """
    return InvalidRaw(
        key=key if key is not None else "sha256:" + hashlib.sha256(element).hexdigest(),
        raw=as_text(element),
        message=message,
    )


def too_large(element: bytes, limit: int) -> InvalidRaw:
    """An element beyond the limit; nothing but its id is looked for, under any of the names that our formats have."""
    message = f"it is larger than {limit} bytes (max_item_bytes)"
    try:
        found = _ids.decode(element)
    except UNREADABLE:
        return invalid(element, message)
    listed = _ENTRY.fullmatch(found.entry_id or "")
    inner = found.bookmark or found.like or _Inner()
    names = (found.tweet_id, found.camel_id, inner.tweet_id, listed and listed[1], found.id)
    return invalid(element, message, key=next(filter(is_id, names), None))


def is_id(value: object) -> bool:
    """Whether this can be an item's id: text of 1 to 100 visible ASCII characters."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def as_text(element: bytes) -> str:
    """JSON text; bytes that are no UTF-8 become lone surrogates, so that they can be turned back."""
    try:
        return element.decode()
    except UnicodeDecodeError:
        return element.decode("utf-8", "surrogateescape")


def utc(text: object) -> str | None:
    """A time as "2024-05-01T12:34:56.000Z", always of this length; None when it is not one, or names no zone.

    A guess would be stored as if it were known: what was sent stays in `raw`.
    """
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        if len(text) == _UTC_CHARS and text[7] + text[10] + text[19] + text[-1] == "-T.Z":
            return text  # what X sends, checked; not a week's date, nor a comma
        if found.tzinfo is None:
            return None
        return found.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    except (ValueError, OverflowError):
        return None


def is_absent(raw: Raw) -> bool:
    """Whether a member is missing or null."""
    return len(raw) == 0 or (len(raw) == 4 and bytes(raw) == b"null")


class Included:
    """The `includes` of a page, by id, and what its posts refer to.

    Args:
        raw: Their text.
        most: Objects of a kind at most; a list of more is not looked into, and `is_cut` set.
    """

    __slots__ = ("is_cut", "media", "places", "polls", "posts", "referenced", "tweets", "users")

    def __init__(self, raw: Raw, most: int = 10_000) -> None:
        parts = _Includes()
        self.is_cut = False
        if not is_absent(raw):
            try:
                parts = self._lenient(raw, most) if _is_long(raw) else _includes.decode(raw)
            except UNREADABLE:
                parts = self._lenient(raw, most)
        self.users = _by(parts.users, _user.decode, lambda user: user.id)
        self.tweets = _by(parts.tweets, _lenient_post, lambda post: post.id)
        self.posts = _by(parts.posts, _lenient_post, lambda post: post.id)
        self.media = _by(parts.media, _media.decode, lambda media: media.media_key)
        self.polls = _by(parts.polls, _named.decode, lambda poll: poll.id)
        self.places = _by(parts.places, _named.decode, lambda place: place.id)
        self.referenced: set[str] = set()

    def _lenient(self, raw: Raw, most: int) -> _Includes:
        """Each list on its own, when one of them has an unknown shape or may be too long."""
        found = _Includes()
        try:
            parts = split_object(bytes(raw))
            for name in _Includes.__struct_fields__:
                if name not in parts:
                    continue
                if has_more(parts[name], most):
                    self.is_cut = True
                else:
                    setattr(found, name, [Raw(element) for element in split_array(parts[name])])
        except NotJson:
            pass
        return found


def _by(
    elements: list[Raw], decode: Callable[[Raw], _T], key: Callable[[_T], str]
) -> dict[str, tuple[bytes, _T]]:
    found: dict[str, tuple[bytes, _T]] = {}
    for raw in elements:
        try:
            value = decode(raw)
        except UNREADABLE:
            continue  # it belongs to nothing that we can name
        found[key(value)] = (bytes(raw), value)
    return found


def _is_long(raw: Raw) -> bool:
    """Whether a list of so many that it would take much memory may hide in it."""
    return len(raw) > _LONG_BYTES and bytes(raw).count(b",") > _LONG_BYTES // 8


def _lenient_post(raw: Raw | bytes) -> _Post:
    """A post; without its links when they have an unknown shape.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: It is no post.
    """
    try:
        return _post.decode(raw)
    except UNREADABLE as exc:
        try:
            found = json.loads(bytes(raw), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise exc from None
        try:
            return _converted(found)
        except UnicodeEncodeError:  # a name with a lone surrogate, which msgspec does not look up
            raise exc from None


def _converted(found: Any) -> _Post:
    try:
        return msgspec.convert(found, _Post)
    except msgspec.ValidationError:
        core = msgspec.convert(found, _Core)
        author = core.author_id if isinstance(core.author_id, str) else None
        created = core.created_at if isinstance(core.created_at, str) else None
        return _Post(id=core.id, text=core.text, author_id=author, created_at=created)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def decode_post(element: bytes, found: Included, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
    """Decode one post.

    Args:
        element: As it was sent.
        found: The `includes` of its page; notes there which posts it refers to.
        limit: A post of more bytes is invalid; one that has more only with its `includes` goes without them.
    """
    if len(element) > limit:
        return too_large(element, limit)
    try:
        post = _post.decode(element)
    except UNREADABLE:
        try:
            post = _lenient_post(element)
        except msgspec.ValidationError as exc:
            return invalid(element, f"it is no post: {exc}", key=usable_id(element))
        except UNREADABLE:
            return invalid(element, "it is no JSON text that can be read")
    if _ID.fullmatch(post.id) is None:
        return invalid(element, "its id is not 1 to 100 visible ASCII characters")
    long = post.note_tweet or post.note_post
    text = (long.text if long is not None else None) or post.text
    if text is None:
        return invalid(element, "it has no text", key=post.id)
    belonging = _belonging(post, found, limit - len(element))
    if belonging is None:
        return decode_post(element, Included(_EMPTY), limit)
    parts, included = belonging
    author = found.users.get(post.author_id) if post.author_id is not None else None
    username = name = None
    if author is not None:
        username, name = author[1].username, author[1].name
    created_at = utc(post.created_at)
    return Item(
        key=post.id,
        raw=as_text(b'{"data":' + element + parts + b"}"),
        text=text,
        author_id=post.author_id,
        author_username=username,
        author_name=name,
        created_at=created_at,
        richness=richness(
            text,
            (post.author_id, username, name, created_at),
            others=(post.entities is not None)
            + (len(post.public_metrics) > 4)  # longer than null
            + included,
            is_whole=long is not None,
        ),
    )


def usable_id(element: bytes) -> str | None:
    """The `id` of an element that is no usable item otherwise; None if it has none that could be a key."""
    try:
        key = _named.decode(element).id
    except UNREADABLE:
        return None
    return key if is_id(key) else None


def _belonging(post: _Post, found: Included, room: int) -> tuple[bytes, int] | None:
    """What of the page's `includes` belongs to this post, as JSON text, and how many things that is.

    Its author, mentioned and answered users, media, poll and place, the posts that it refers to and what belongs to
    them. None if it takes more than `room` bytes: each post of a page may refer to the same huge one.
    """
    chosen: dict[str, dict[str, bytes]] = {}
    posts = [post]
    for references in (post.referenced_tweets, post.referenced_posts):
        for reference in references or ():
            found.referenced.add(reference.id)
            for kind, known in (("tweets", found.tweets), ("posts", found.posts)):
                entry = known.get(reference.id)
                if entry is not None:
                    chosen.setdefault(kind, {})[reference.id] = entry[0]
                    posts.append(entry[1])
    for one in posts:
        _take(chosen, "users", found.users, _users_of(one))
        attached = one.attachments
        if attached is not None:
            _take(chosen, "media", found.media, attached.media_keys or ())
            _take(chosen, "polls", found.polls, attached.poll_ids or ())
        if one.geo is not None and one.geo.place_id is not None:
            _take(chosen, "places", found.places, (one.geo.place_id,))
    if not chosen:
        return b"", 0
    if sum(len(raw) for raws in chosen.values() for raw in raws.values()) > room:
        return None
    lists = [
        b'"%s":[%s]' % (kind.encode(), b",".join(raws.values())) for kind, raws in chosen.items()
    ]
    return b',"includes":{' + b",".join(lists) + b"}", sum(map(len, chosen.values()))


def _users_of(post: _Post) -> list[str]:
    users = [user for user in (post.author_id, post.in_reply_to_user_id) if user is not None]
    if post.entities is not None and post.entities.mentions:
        users += [mention.id for mention in post.entities.mentions if mention.id is not None]
    return users


def _take(
    chosen: dict[str, dict[str, bytes]],
    kind: str,
    known: dict[str, tuple[bytes, _T]],
    keys: Iterable[str],
) -> None:
    for key in keys:
        entry = known.get(key)
        if entry is not None:
            chosen.setdefault(kind, {})[key] = entry[0]
