"""What the API says when it refuses: bodies as X writes them.

Pure data. Sources: X API v2, "Response codes and errors"; xdevplatform/xdk issue 25 (usage cap);
xdevplatform/samples 58 and 160 (client-forbidden); Fergana-Labs/stash PR 806 (402).
Must not know: why something is refused, HTTP.
"""

from typing import Any, Final

from .vocabulary import OLD, Vocabulary

__all__ = [
    "APP_ONLY",
    "CREDITS_DEPLETED",
    "NOT_FOUND",
    "SPEND_CAP",
    "TOO_MANY_REQUESTS",
    "UNAUTHORIZED",
    "USAGE_CAPPED",
    "forbidden",
    "invalid_request",
    "missing_reference",
    "refused_cursor",
    "server_error",
    "suspended_author",
    "tombstone",
    "unknown_user",
]

Problem = dict[str, Any]

_TYPE: Final = OLD.problems  # the host seen in the wild; 2.167 documents api.x.com

UNAUTHORIZED: Final[Problem] = {
    "title": "Unauthorized",
    "type": "about:blank",
    "status": 401,
    "detail": "Unauthorized",
}
NOT_FOUND: Final[Problem] = {
    "title": "Not Found",
    "type": "about:blank",
    "status": 404,
    "detail": "Not Found",
}
TOO_MANY_REQUESTS: Final[Problem] = {
    "title": "Too Many Requests",
    "type": "about:blank",
    "status": 429,
    "detail": "Too Many Requests",
}
APP_ONLY: Final[Problem] = {
    "title": "Unsupported Authentication",
    "detail": (
        "Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint.  "
        "Supported authentication types are [OAuth 1.0a User Context, OAuth 2.0 User Context]."
    ),
    "type": _TYPE + "unsupported-authentication",
    "status": 403,
}
USAGE_CAPPED: Final[Problem] = {
    "account_id": 2244994945,
    "product_name": "standard-basic",
    "title": "UsageCapExceeded",
    "period": "Monthly",
    "scope": "Product",
    "detail": "Usage cap exceeded: Monthly product cap",
    "type": _TYPE + "usage-capped",
}
CREDITS_DEPLETED: Final[Problem] = {
    "account_id": 2244994945,
    "title": "CreditsDepleted",
    "detail": "Your enrolled account is out of credits to fulfill this request.",
    "type": _TYPE + "credits",
}


def spend_cap(reset_date: str) -> Problem:
    """403: the billing cycle's spend cap is reached until this date."""
    return {
        "title": "SpendCapReached",
        "detail": f"Your account has reached its spend cap. It resets on {reset_date}.",
        "reset_date": reset_date,
        "type": _TYPE + "credits",
    }


SPEND_CAP: Final[Problem] = spend_cap("2026-12-01")


def forbidden(detail: str) -> Problem:
    """403: this token may not do this."""
    return {"title": "Forbidden", "type": "about:blank", "status": 403, "detail": detail}


def invalid_request(*mistakes: tuple[str, str, str]) -> Problem:
    """400: each mistake is the parameter, its value and what is wrong with it."""
    return {
        "errors": [
            {"parameters": {name: [value]}, "message": message} for name, value, message in mistakes
        ],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": _TYPE + "invalid-request",
    }


def refused_cursor(token: str) -> Problem:
    """400: this page token is not, or no longer, known."""
    message = f"The `pagination_token` query parameter value [{token}] is not valid"
    return invalid_request(("pagination_token", token, message))


def server_error(status: int) -> Problem:
    """5xx with a body that is JSON for once."""
    return {"title": "Service Unavailable", "type": "about:blank", "status": status}


def unknown_user(user_id: str) -> Problem:
    """200 with errors only: the user could not be found."""
    return _gone("user", "id", user_id, OLD)


def tombstone(post_id: str, words: Vocabulary, *, protected: bool) -> Problem:
    """Beside the data: a bookmark whose post was deleted, or may not be read."""
    problem = _gone(words.noun, "id", post_id, words)
    if protected:
        noun = words.noun.capitalize()
        problem["title"] = "Authorization Error"
        problem["detail"] = f"Sorry, you are not authorized to see the {noun} with id: [{post_id}]."
        problem["type"] = words.problems + "not-authorized-for-resource"
    return problem


def missing_reference(post_id: str, words: Vocabulary) -> Problem:
    """Beside the data: a quoted or answered post is gone. The bookmark itself is in the data."""
    return _gone(words.noun, words.reference_expansion, post_id, words)


def suspended_author(user_id: str, parameter: str, words: Vocabulary) -> Problem:
    """Beside the data: an author is suspended and not in `includes`; the post is in the data."""
    problem = _gone("user", parameter, user_id, words)
    problem["title"] = "Forbidden"
    problem["detail"] = f"User has been suspended: [{user_id}]."
    return problem


def _gone(noun: str, parameter: str, value: str, words: Vocabulary) -> Problem:
    return {
        "value": value,
        "detail": f"Could not find {noun} with {parameter}: [{value}].",
        "title": "Not Found Error",
        "resource_type": noun,
        "parameter": parameter,
        "resource_id": value,
        "type": words.problems + "resource-not-found",
    }
