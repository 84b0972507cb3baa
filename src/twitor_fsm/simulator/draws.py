"""Numbers that look random and are not: each is a hash of what it is for.

Pure. A draw depends on its parts alone, never on the draws before it, so any post and any fault can
be worked out by itself, in any order.
Must not know: what is drawn.
"""

from hashlib import blake2b

__all__ = ["chance", "digest", "number"]


def digest(*parts: int | str) -> bytes:
    """32 bytes that belong to these parts."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=32).digest()


def number(*parts: int | str) -> int:
    """An integer that belongs to these parts, 0 to 2**64 - 1, evenly spread."""
    return int.from_bytes(digest(*parts)[:8])


def chance(*parts: int | str) -> float:
    """A number that belongs to these parts, at least 0.0 and below 1.0, evenly spread."""
    return (number(*parts) >> 11) / 2**53
