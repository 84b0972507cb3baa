"""What a bookmarks request asks for, in either vocabulary of the API, and of whom.

X renames *tweet* to *post*: spec 2.159 has the old names, 2.167 the new ones. We ask in one and understand both.
Sources: the `openapi.json` of both versions.
Must not know: HTTP, answers.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..log_facts import logger_of

__all__ = ["Expand", "Vocabulary", "checked_base_url", "expansions_of", "parameters"]

_LOG: Final = logger_of("twitor_fsm.sources.x_api")


class Vocabulary(StrEnum):
    """The names a request is made in."""

    TWEET = "tweet"
    POST = "post"


class Expand(StrEnum):
    """What may be asked for beside the posts themselves; X may bill what expansions bring."""

    AUTHOR = "author"
    """The author's handle and name."""
    MEDIA = "media"
    """Pictures and videos: addresses, sizes, alternative texts."""
    REFERENCED = "referenced"
    """The posts that are quoted or answered."""
    LONG_TEXT = "long_text"
    """Texts beyond 280 characters, and articles."""


_POST_FIELDS: Final = "author_id conversation_id created_at entities in_reply_to_user_id lang possibly_sensitive public_metrics"
_USER_FIELDS: Final = "name,profile_image_url,protected,username,verified,verified_type"
_MEDIA_FIELDS: Final = (
    "alt_text,duration_ms,height,media_key,preview_image_url,public_metrics,type,url,variants,width"
)


def expansions_of(names: str | Iterable[str]) -> frozenset[Expand]:
    """What is to be expanded.

    Args:
        names: "all", "none", one name, or several: as a collection or separated by commas.

    Raises:
        ConfigurationError: A name is unknown.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    wanted = {name.strip() for name in given} - {""}
    if wanted == {"all"}:
        return frozenset(Expand)
    if wanted <= {"none"}:
        return frozenset()
    unknown = sorted(wanted - set(Expand))
    if unknown:
        raise ConfigurationError(
            f"expand does not know {', '.join(map(repr, unknown))}; it knows {', '.join(Expand)}, or one of: all, none"
        )
    return frozenset(map(Expand, wanted))


def parameters(expand: frozenset[Expand], vocabulary: Vocabulary) -> dict[str, str]:
    """The query parameters that choose fields and expansions; page size and token are not among them."""
    noun = vocabulary.value
    references = f"referenced_{noun}s"
    reference = f"{references}.id" if vocabulary is Vocabulary.TWEET else references
    fields = _POST_FIELDS.split()
    expansions: list[str] = []
    if Expand.LONG_TEXT in expand:
        fields += ["article", f"note_{noun}"]
    if Expand.AUTHOR in expand:
        expansions.append("author_id")
    if Expand.MEDIA in expand:
        fields.append("attachments")
        expansions.append("attachments.media_keys")
    if Expand.REFERENCED in expand:
        fields.append(references)
        expansions.append(reference)
        if Expand.AUTHOR in expand:
            expansions.append(f"{reference}.author_id")
        if Expand.MEDIA in expand:
            expansions.append(f"{reference}.attachments.media_keys")
    asked = {f"{noun}.fields": ",".join(sorted(fields))}
    if expansions:
        asked["expansions"] = ",".join(expansions)
    if Expand.AUTHOR in expand:
        asked["user.fields"] = _USER_FIELDS
    if Expand.MEDIA in expand:
        asked["media.fields"] = _MEDIA_FIELDS
    return asked


def checked_base_url(base_url: str) -> str:
    """The address without a slash at the end.

    Raises:
        ConfigurationError: It is no address of an API; it is not quoted, since it may hold a password.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_fine = (
        parts.scheme in ("http", "https")
        and parts.hostname
        and parts.username is None
        and parts.password is None
        and not parts.query
        and not parts.fragment
        and base_url.isprintable()
        and " " not in base_url
    )
    if not is_fine:
        raise ConfigurationError(
            "the address of the API must look like https://api.x.com: http or https, a host, perhaps a port and a "
            "path, no user, no query"
        )
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme == "http" and not local:
        _LOG.warning(
            "tokens go unencrypted to http://%s%s", parts.hostname, f":{port}" if port else ""
        )
    return base_url.rstrip("/")
