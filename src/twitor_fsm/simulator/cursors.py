"""Page tokens: opaque to the client, all there is to know to the server.

Pure. A token holds where a page starts and how deep in the walk it is, so the server keeps nothing
for it.
Must not know: listings, faults, HTTP.
"""

import struct
from base64 import b32hexdecode, b32hexencode
from binascii import Error as NotBase32
from hashlib import blake2b
from typing import Final

import attrs

__all__ = ["Cursor", "decode", "encode"]

_LAYOUT: Final = struct.Struct(">H?qI")
_SEAL_BYTES: Final = 9
_LENGTH: Final = 39  # characters: 9 + 15 bytes, five bits each


@attrs.frozen
class Cursor:
    """Where a page starts."""

    rank: int
    """The page holds the bookmarks next to this rank."""
    depth: int
    """Which page of its walk it is, from 1 (the page without a token)."""
    backwards: bool = False
    """Whether the page lies above the rank (a `previous_token`) instead of below."""
    epoch: int = 0
    """How often this user's tokens had been refused as a whole when it was issued."""


def encode(cursor: Cursor, *, secret: str) -> str:
    """The token of a cursor: 39 characters of lower-case base32hex, always the same."""
    plain = _LAYOUT.pack(cursor.epoch, cursor.backwards, cursor.rank, cursor.depth)
    seal = blake2b(plain, digest_size=_SEAL_BYTES, key=_key(secret)).digest()
    return b32hexencode(seal + _mask(plain, seal, secret)).decode().rstrip("=").lower()


def decode(token: str, *, secret: str) -> Cursor | None:
    """The cursor of a token, or None when the token was not issued with this secret."""
    if len(token) != _LENGTH or not token.isascii():
        return None
    try:
        sealed = b32hexdecode(token.upper() + "=")
    except NotBase32:
        return None
    seal = sealed[:_SEAL_BYTES]
    plain = _mask(sealed[_SEAL_BYTES:], seal, secret)
    epoch, backwards, rank, depth = _LAYOUT.unpack(plain)
    found = Cursor(rank, depth, backwards, epoch)
    return found if encode(found, secret=secret) == token else None


def _key(secret: str) -> bytes:
    return secret.encode()[:64]


def _mask(text: bytes, seal: bytes, secret: str) -> bytes:
    stream = blake2b(seal, digest_size=len(text), key=_key(secret)).digest()
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))
