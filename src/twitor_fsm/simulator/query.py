"""What a request asks for: its parameters, checked as X checks them.

Pure. Must not know: users, listings, cursors' meaning, HTTP.
"""

# ruff: noqa: SIM905 - lists of words read better as words

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from . import problems
from .vocabulary import MEDIA_FIELDS, NEW, OLD, PLACE_FIELDS, POLL_FIELDS, USER_FIELDS, Vocabulary

__all__ = ["MAX_RESULTS", "Query", "read_me_query", "read_page_query"]

MAX_RESULTS: Final = 100
"""Largest page, also when no size is asked for. Source: X API v2; the default: tweepy's docs."""

_OTHER_FIELDS: Final = {
    "user.fields": USER_FIELDS,
    "media.fields": MEDIA_FIELDS,
    "poll.fields": POLL_FIELDS,
    "place.fields": PLACE_FIELDS,
}
_ME_EXPANSIONS: Final = frozenset(
    """affiliation.user_id most_recent_tweet_id most_recent_post_id pinned_tweet_id
    pinned_post_id""".split()
)
_BY_PLAN: Final = {"old": (OLD,), "new": (NEW,), "both": (OLD, NEW)}

Mistake = tuple[str, str, str]


@attrs.frozen
class Query:
    """A request that X would accept."""

    vocabulary: Vocabulary
    max_results: int = MAX_RESULTS
    token: str | None = None
    post_fields: frozenset[str] = frozenset()
    user_fields: frozenset[str] = frozenset()
    media_fields: frozenset[str] = frozenset()
    expansions: frozenset[str] = frozenset()


def read_page_query(
    pairs: Iterable[tuple[str, str]], *, vocabularies: str = "both"
) -> Query | dict[str, Any]:
    """Read the parameters of a bookmarks request.

    Args:
        pairs: Names and decoded values, in order.
        vocabularies: Which the server understands: "old", "new" or "both".

    Returns:
        The query, or the problem body of a 400.
    """
    given = dict(pairs)
    understood = _BY_PLAN[vocabularies]
    posts = [words.fields_parameter for words in understood]
    mistakes = _unknown(
        given, ["id", "max_results", "pagination_token", "expansions", *posts, *_OTHER_FIELDS]
    )
    words = _choose(given, understood)
    if all(name in given for name in ("tweet.fields", "post.fields")) and len(understood) == 2:
        mistakes.append(
            (
                "tweet.fields",
                given["tweet.fields"],
                "`tweet.fields` and `post.fields` cannot be combined",
            )
        )
    size = _size(given.get("max_results", str(MAX_RESULTS)))
    if size is None:
        value = given["max_results"]
        message = (
            f"The `max_results` query parameter value [{value}] is not between 1 and {MAX_RESULTS}"
        )
        mistakes.append(("max_results", value, message))
    if given.get("pagination_token") == "":
        mistakes.append(
            ("pagination_token", "", "The `pagination_token` query parameter can not be empty")
        )
    allowed = {
        words.fields_parameter: words.fields,
        "expansions": words.expansions,
        **_OTHER_FIELDS,
    }
    lists = {name: _names(given, name, known, mistakes) for name, known in allowed.items()}
    if mistakes:
        return problems.invalid_request(*mistakes)
    return Query(
        words,
        size or MAX_RESULTS,
        given.get("pagination_token"),
        lists[words.fields_parameter],
        lists["user.fields"],
        lists["media.fields"],
        lists["expansions"],
    )


def read_me_query(
    pairs: Iterable[tuple[str, str]], *, vocabularies: str = "both"
) -> Query | dict[str, Any]:
    """Read the parameters of `/2/users/me`; arguments and answer as for `read_page_query`."""
    given = dict(pairs)
    understood = _BY_PLAN[vocabularies]
    posts = [words.fields_parameter for words in understood]
    mistakes = _unknown(given, ["user.fields", "expansions", *posts])
    words = _choose(given, understood)
    fields = _names(given, "user.fields", USER_FIELDS, mistakes)
    expansions = _names(given, "expansions", _ME_EXPANSIONS, mistakes)
    _names(given, words.fields_parameter, words.fields, mistakes)
    if mistakes:
        return problems.invalid_request(*mistakes)
    return Query(words, user_fields=fields, expansions=expansions)


def _choose(given: Mapping[str, str], understood: tuple[Vocabulary, ...]) -> Vocabulary:
    """New when new names are used, else the first one understood."""
    if len(understood) == 1:
        return understood[0]
    asked = set(given.get("expansions", "").split(","))
    is_new = NEW.fields_parameter in given or bool(asked & (NEW.expansions - OLD.expansions))
    return NEW if is_new else OLD


def _unknown(given: Mapping[str, str], known: list[str]) -> list[Mistake]:
    listed = ",".join(known)
    return [
        (name, value, f"The query parameter [{name}] is not one of [{listed}]")
        for name, value in given.items()
        if name not in known
    ]


def _size(value: str) -> int | None:
    is_small_number = value.isascii() and value.isdecimal() and len(value) < 10
    return int(value) if is_small_number and 1 <= int(value) <= MAX_RESULTS else None


def _names(
    given: Mapping[str, str], parameter: str, known: frozenset[str], mistakes: list[Mistake]
) -> frozenset[str]:
    names = frozenset(given[parameter].split(",")) if parameter in given else frozenset[str]()
    for name in sorted(names - known):
        listed = ",".join(sorted(known))
        mistakes.append(
            (
                parameter,
                name,
                f"The `{parameter}` query parameter value [{name}] is not one of [{listed}]",
            )
        )
    return names
