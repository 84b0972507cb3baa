"""The authors of the simulated posts, and the users themselves.

Pure: a person is worked out from the seed and a number; the same person is the same in every
    answer.
Must not know: posts, listings, HTTP.
"""

# ruff: noqa: SIM905 - lists of words read better as words

from functools import lru_cache
from typing import Any, Final

from .draws import digest, number
from .ids import created_at
from .vocabulary import NEW, Vocabulary

__all__ = ["AUTHORS", "author_id", "is_suspended", "person", "render_person"]

AUTHORS: Final = 150
"""How many different people write the posts of one simulator."""

_FIRST: Final = (
    "Ada Björn Chioma Dmitri Éloïse Grace Hélder İpek Jun 美咲 Kwame Lucía Óscar".split()
)
_LAST: Final = "Adeyemi Brandt Duarte Eriksen García Hopper Ivanova 田中 Khan Lindqvist".split()
_PICTURES: Final = "https://pbs.twimg.com/profile_images/"
_PLACES: Final = (None, "Berlin", "São Paulo", "東京", "Lagos", "earth 🌍", "here & there")
_BIOS: Final = (
    "",
    "Compilers, cats and long walks.",
    'She said "read the manual". I wrote it.',
    "Opinions my own\nAlso my employer's",
    "data → insight → coffee ☕",
    "¿Quién sabe? Investigadora en redes. 50% hype, %s template, 0 regrets",
)


def author_id(seed: int, author: int) -> str:
    """The user id of an author, 0 to `AUTHORS` - 1: a short old id or one of 19 digits."""
    if author % 3 == 0:
        return str(12 + author * 7919)
    return str(10**18 + (author << 40 | number(seed, "author", author) & 0xFFFFFFFFFF))


def is_suspended(author: int) -> bool:
    """Whether this author is missing from `includes` (about 1 in 40)."""
    return author % 41 == 7


@lru_cache(maxsize=4096)
def person(seed: int, user_id: str) -> dict[str, Any]:
    """All that is known of a user, in the old vocabulary. Shared: do not change it."""
    bits = digest(seed, "person", user_id)
    first, last = _FIRST[bits[0] % len(_FIRST)], _LAST[bits[1] % len(_LAST)]
    username = f"user_{int(user_id) % 36**6:x}"
    known: dict[str, Any] = {
        "id": user_id,
        "name": f"{first} {last}" + (" 🦉" if bits[2] < 40 else ""),
        "username": username,
        "created_at": created_at(user_id),
        "description": _BIOS[bits[3] % len(_BIOS)],
        "location": _PLACES[bits[4] % len(_PLACES)],
        "profile_image_url": f"{_PICTURES}{number(seed, user_id)}/{username}_normal.jpg",
        "protected": False,
        "public_metrics": {
            "followers_count": int.from_bytes(bits[5:8]) % 900_000,
            "following_count": bits[8] * 7,
            "tweet_count": int.from_bytes(bits[9:11]),
            "listed_count": bits[11],
            "like_count": int.from_bytes(bits[12:14]),
            "media_count": bits[14] * 3,
        },
        "verified": bits[15] < 60,
        "verified_type": "blue" if bits[15] < 60 else "none",
        "url": f"https://t.co/{bits[16:21].hex()}" if bits[16] < 90 else "",
    }
    return {name: value for name, value in known.items() if value is not None}


def render_person(
    known: dict[str, Any], fields: frozenset[str], vocabulary: Vocabulary
) -> dict[str, Any]:
    """A user as shown: id, name and username, and of the rest only the fields asked for."""
    shown = {
        name: known[name] for name in known if name in fields or name in ("id", "name", "username")
    }
    if "public_metrics" in shown and vocabulary is NEW:
        metrics = dict(shown["public_metrics"])
        metrics[vocabulary.authored_count] = metrics.pop("tweet_count")
        shown["public_metrics"] = metrics
    return shown
