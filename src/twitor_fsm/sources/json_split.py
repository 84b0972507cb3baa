"""Cuts JSON text by its brackets, without decoding it: an array into elements, an object into members.

Works on text of any size in pieces, and on text that a decoder refuses (lone surrogates, NaN, numbers of any length):
what is wrong with an element is for whoever decodes it. Positions are bytes, so a text can be entered in its middle.
ijson, the library for large JSON, decodes every value and gives neither their text nor their position, and we need both.
Must not know: what the elements are, files.
"""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import attrs
import msgspec

__all__ = [
    "NotJson",
    "Shape",
    "Splitter",
    "each_of_array",
    "find_array",
    "has_more",
    "split_array",
    "split_object",
]

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OTHERS: Final = rb'[^"{}\[\]]*+'
_BRACKET: Final = re.compile(_OTHERS + rb"(?:" + _STRING + _OTHERS + rb")*+([{}\[\]])", re.DOTALL)
"""Everything up to the next bracket outside a string; possessive, so it takes linear time."""
_SCALAR: Final = re.compile(_STRING + rb'|[^\s,:"{}\[\]]++', re.DOTALL)
_KEY: Final = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:", re.DOTALL)
_KEY_BYTES: Final = 1000
_SPACES: Final = b" \t\r\n"
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_ASSIGNMENT: Final = re.compile(rb"window\.YTD\.\w{1,60}\.part\d{1,5} ?= ?\[", re.ASCII)
_ASSIGNMENT_BYTES: Final = 100
_FEW_BYTES: Final = 256 << 10
"""A text of this size cannot hold so many elements that a list of them would matter."""
_CLOSED_BY: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_any: Final = msgspec.json.Decoder(msgspec.Raw)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@attrs.define
class NotJson(ValueError):
    """The text is no JSON, or breaks off.

    Attributes:
        at: Byte at which that shows.
        message: What was expected there.
    """

    at: int
    message: str

    def __str__(self) -> str:
        return f"at byte {self.at}: {self.message}"


class Shape(StrEnum):
    """How values follow each other."""

    ARRAY = "array"
    """Between brackets, with commas."""
    INNER = "inner"
    """An array inside something larger: what stands behind its end is not looked at."""
    ROWS = "rows"
    """Rows of a CSV (`csv_split`)."""
    SCRIPT = "script"
    """Arrays that a script assigns, one after the other: `window.YTD.like.part0 = [...]`."""
    SEQUENCE = "sequence"
    """One behind the other, with white space or nothing between: one object, or JSON Lines."""


class _Expect(StrEnum):
    OPENING = "opening"
    VALUE_OR_END = "value_or_end"
    VALUE = "value"
    SEPARATOR = "separator"
    NOTHING = "nothing"


@attrs.define
class Splitter:
    """Takes text in pieces, gives values.

    Args:
        shape: How the values follow each other.
        at: Byte of the text at which the first piece begins.
        within: Whether that is behind a value (its `position`), not at the start.
    """

    shape: Shape
    at: int = 0
    within: bool = False
    is_ended: bool = attrs.field(default=False, init=False)
    """Whether the text ended where it may end; nothing comes any more."""
    _text: bytes = attrs.field(default=b"", init=False)
    _is_last: bool = attrs.field(default=False, init=False)
    _next: int = attrs.field(default=0, init=False)
    _scanned: int = attrs.field(default=0, init=False)
    _open: bytearray = attrs.field(factory=bytearray, init=False)
    _expect: _Expect = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        is_array = self.shape is not Shape.SEQUENCE
        if self.within:
            self._expect = _Expect.SEPARATOR if is_array else _Expect.VALUE_OR_END
        else:
            self._expect = _Expect.OPENING if is_array else _Expect.VALUE_OR_END

    @property
    def position(self) -> int:
        """Byte of the text behind the last value taken."""
        return self.at + self._next

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were fed and not yet taken."""
        return len(self._text) - self._next

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Give the next piece of the text."""
        rest = self._text[self._next :]
        self._text = rest + piece if rest else piece
        self.at += self._next
        self._scanned = max(0, self._scanned - self._next)
        self._next = 0
        self._is_last = is_last

    def take(self) -> bytes | None:
        """The next value; None when another piece is needed, or at the end.

        Raises:
            NotJson: The text is none, or breaks off.
        """
        while not self.is_ended:
            found = _SPACE.match(self._text, self._next)
            self._next = found.end() if found is not None else self._next
            if self._next == len(self._text):
                self._end_piece()
                return None
            mark = self._text[self._next]
            match self._expect:
                case _Expect.VALUE | _Expect.VALUE_OR_END:
                    if mark == ord("]") and self._expect is _Expect.VALUE_OR_END:
                        self._step(_Expect.NOTHING)
                    else:
                        return self._value()
                case _Expect.SEPARATOR if mark in b",]":
                    self._step(_Expect.VALUE if mark == ord(",") else _Expect.NOTHING)
                case _Expect.OPENING if mark == ord("[") and self.shape is not Shape.SCRIPT:
                    self._step(_Expect.VALUE_OR_END)
                case _Expect.NOTHING if mark == ord(";") and self.shape is Shape.SCRIPT:
                    self._step(_Expect.NOTHING)
                case _Expect.OPENING | _Expect.NOTHING if self.shape is Shape.SCRIPT:
                    if not self._assign():
                        return None
                case _Expect.SEPARATOR:
                    raise NotJson(self.position, "a comma or ] was expected")
                case _:
                    raise NotJson(self.position, "something stands where nothing was expected")
        return None

    def _step(self, expect: _Expect) -> None:
        if expect is _Expect.NOTHING and self.shape is Shape.SEQUENCE:
            raise NotJson(self.position, "] closes nothing")
        self._next += 1
        self._expect = expect
        if expect is _Expect.NOTHING and self.shape is Shape.INNER:
            self.is_ended = True

    def _assign(self) -> bool:
        """Step into the next array of a script; False if its beginning is not all there."""
        found = _ASSIGNMENT.match(self._text, self._next)
        if found is None:
            if self.waiting_bytes < _ASSIGNMENT_BYTES and not self._is_last:
                return False
            raise NotJson(self.position, "a script of the archive was expected (window.YTD.)")
        self._next = found.end()
        self._expect = _Expect.VALUE_OR_END
        return True

    def _end_piece(self) -> None:
        if not self._is_last:
            return
        may_end = self._expect is _Expect.NOTHING or self.shape is Shape.SEQUENCE
        if not may_end:
            raise NotJson(self.position, "the text ends in the middle of an array")
        self.is_ended = True

    def _value(self) -> bytes | None:
        begin = self._next
        end = self._end_of_value(begin)
        if end is None:
            if self._is_last:
                raise NotJson(
                    self.at + len(self._text),
                    f"the text ends in the middle of what began at byte {self.at + begin}",
                )
            return None
        self._next = self._scanned = end
        is_array = self.shape is not Shape.SEQUENCE
        self._expect = _Expect.SEPARATOR if is_array else _Expect.VALUE_OR_END
        return self._text[begin:end].rstrip(_SPACES)

    def _end_of_value(self, begin: int) -> int | None:
        line_end = self._text.find(b"\n", begin) if self.shape is Shape.SEQUENCE else -1
        if line_end > 0 and self._scanned <= begin and _is_value(self._text[begin:line_end]):
            return line_end
        end, self._scanned = _find_end(
            self._text, begin, max(begin, self._scanned), self._open, self.at
        )
        if end == len(self._text) and not self._is_last and self._text[begin] not in b'{["':
            return None  # a number may go on in the next piece
        return end


def split_array(text: bytes) -> list[bytes]:
    """The elements of an array.

    Raises:
        NotJson: It is none.
    """
    return list(each_of_array(text))


def each_of_array(text: bytes) -> Iterator[bytes]:
    """The elements of an array, one at a time: no list is made of many.

    Raises:
        NotJson: It is none, when that shows.
    """
    if (few := _few(text)) is not None:
        yield from map(bytes, few)
        return
    splitter = Splitter(Shape.ARRAY)
    splitter.feed(text, is_last=True)
    while (value := splitter.take()) is not None:
        yield value


def _few(text: bytes) -> list[msgspec.Raw] | None:
    """The elements of a small array that a decoder takes: ten times faster than looking for brackets."""
    if len(text) > _FEW_BYTES:
        return None
    try:
        return _elements.decode(text)
    except _REFUSED:
        return None


def has_more(text: bytes, most: int) -> bool:
    """Whether a large array has more elements than `most`: a list of 8 MB of `1,` would take 250 MB.

    For texts up to 256 KiB, and for what is no array, the answer is no: decode those and see.
    """
    if len(text) <= _FEW_BYTES or text.count(b",") < most:
        return False
    splitter = Splitter(Shape.ARRAY)
    splitter.feed(text, is_last=True)
    try:
        return all(splitter.take() is not None for _ in range(most + 1))
    except NotJson:
        return False


def split_object(text: bytes) -> dict[str, bytes]:
    """The members of an object; of two with the same name the last.

    Raises:
        NotJson: It is none.
    """
    try:
        return {name: bytes(value) for name, value in _members.decode(text).items()}
    except _REFUSED:
        return _split_by_brackets(text)


def _split_by_brackets(text: bytes) -> dict[str, bytes]:
    """What `split_object` gives, of text that a decoder refuses too: ten times slower."""
    begin = _skip(text, 0)
    if text[begin : begin + 1] != b"{":
        raise NotJson(begin, "{ was expected")
    members: dict[str, bytes] = {}
    at = _skip(text, begin + 1)
    if text[at : at + 1] == b"}":
        return _whole(text, at + 1, members)
    while True:
        key = _KEY.match(text, at)
        if key is None:
            raise NotJson(at, "a name and a colon were expected")
        start = _skip(text, key.end())
        end = _find_end(text, start, start, bytearray(), 0)[0] if start < len(text) else None
        if end is None:
            raise NotJson(len(text), "the text ends in the middle of an object")
        try:
            members[json.loads(key[1].decode("utf-8", "surrogateescape"))] = text[start:end]
        except ValueError:
            raise NotJson(at, "a name was expected") from None
        at = _skip(text, end)
        mark = text[at : at + 1]
        if mark == b"}":
            return _whole(text, at + 1, members)
        if mark != b",":
            raise NotJson(at, "a comma or } was expected")
        at += 1


def find_array(text: bytes, *names: str) -> int | None:
    """Where the array under these names, one object inside the other, begins.

    Args:
        text: The beginning of an object.
        names: Of the members to go into.

    Returns:
        Index of its bracket; None if the text breaks off before.

    Raises:
        NotJson: There is none.
    """
    at = _skip(text, 0)
    for name in names:
        found = _member(text, at, name)
        if found is None:
            return None
        at = found
    if at < len(text) and text[at] != ord("["):
        raise NotJson(at, "an array was expected")
    return at if at < len(text) else None


def _member(text: bytes, at: int, name: str) -> int | None:
    """Where the value of an object's member begins; None if the text breaks off before."""
    mark, wanted = text[at : at + 1], b'"' + name.encode() + b'"'
    if mark not in (b"{", b""):
        raise NotJson(at, "an object was expected")
    at += 1
    while (key := _KEY.match(text, at)) is not None:
        start = _skip(text, key.end())
        if key[1] == wanted or start == len(text):
            return start if start < len(text) else None
        end = _find_end(text, start, start, bytearray(), 0)[0]
        if end is None:
            return None
        at = _skip(text, end)
        if text[at : at + 1] == b"}":
            raise NotJson(at, f"it has no {name}")
        at += 1
    if len(text) - at < _KEY_BYTES:
        return None
    raise NotJson(at, "a name and a colon were expected")


def _find_end(
    text: bytes, begin: int, scanned: int, opened: bytearray, base: int
) -> tuple[int | None, int]:
    """Where the value that begins here ends.

    Args:
        text: What is there of the text.
        begin: Index of the value's first byte, which exists.
        scanned: Index up to which its brackets are known.
        opened: What closes the brackets open there; changed.
        base: Byte of the whole text at which this text begins, for messages.

    Returns:
        Index behind it, or None if it is not all there; and the next `scanned`.
    """
    if text[begin] not in b"{[":
        found = _SCALAR.match(text, begin)
        if found is None and text[begin] != ord('"'):
            raise NotJson(base + begin, "a value was expected")
        return (None, begin) if found is None else (found.end(), found.end())
    match = _BRACKET.match
    while (bracket := match(text, scanned)) is not None:
        scanned = bracket.end()
        mark = text[scanned - 1]
        if mark in _CLOSED_BY:
            opened.append(_CLOSED_BY[mark])
        elif opened.pop() != mark:
            raise NotJson(base + scanned - 1, f"{chr(mark)} closes something else")
        if not opened:
            return scanned, scanned
    return None, scanned


def _is_value(line: bytes) -> bool:
    """Whether a line is a whole value: the way of JSON Lines, twenty times faster than looking for brackets."""
    try:
        _any.decode(line)
    except _REFUSED:
        return False
    return True


def _skip(text: bytes, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _whole(text: bytes, at: int, members: dict[str, bytes]) -> dict[str, bytes]:
    end = _skip(text, at)
    if end != len(text):
        raise NotJson(end, "something stands behind the object")
    return members
