"""One page of bookmarks as the API writes it: data, includes, errors, meta.

Pure. Must not know: which bookmarks belong on the page, tokens' meaning, HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from . import problems
from .faults import ItemKind
from .people import person, render_person
from .posts import Post, Posts, render_media, render_post
from .query import Query

__all__ = ["build_page"]

_TOMBSTONES = (ItemKind.TOMBSTONE, ItemKind.PROTECTED)


def build_page(
    posts: Posts,
    serials: Sequence[int],
    query: Query,
    *,
    kinds: Mapping[int, ItemKind],
    tokens: Mapping[str, str],
) -> dict[str, Any]:
    """Write a page.

    Args:
        posts: Where posts come from.
        serials: The bookmarks on it, in order.
        query: What was asked for.
        kinds: By serial number, what is wrong with some of them.
        tokens: `next_token` and `previous_token`, as far as there are any.

    Returns:
        The body. `data` is absent when it would be empty; so are `includes` and `errors`.
    """
    page = _Page(posts, query)
    for serial in serials:
        page.add(posts[serial], kinds.get(serial))
    body: dict[str, Any] = {}
    if page.data:
        body["data"] = page.data
    if any(page.includes.values()):
        body["includes"] = {
            name: list(found.values()) for name, found in page.includes.items() if found
        }
    if page.errors:
        body["errors"] = list(page.errors.values())
    body["meta"] = {"result_count": len(page.data), **tokens}
    return body


@attrs.define
class _Page:
    posts: Posts
    query: Query
    data: list[Any] = attrs.Factory(list)
    includes: dict[str, dict[str, Any]] = attrs.field(init=False)
    errors: dict[tuple[str, str], dict[str, Any]] = attrs.Factory(dict)
    fields: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        words = self.query.vocabulary
        self.includes = {"users": {}, words.posts: {}, "media": {}}
        implied = {
            "author_id": "author_id",
            "attachments.media_keys": "attachments",
            "in_reply_to_user_id": "in_reply_to_user_id",
        }
        asked = {
            field for expansion, field in implied.items() if expansion in self.query.expansions
        }
        if self._expands_references:
            asked.add(words.references)
        self.fields = self.query.post_fields | asked

    @property
    def _expands_references(self) -> bool:
        references = self.query.vocabulary.references
        return any(expansion.startswith(references) for expansion in self.query.expansions)

    def add(self, post: Post, kind: ItemKind | None) -> None:
        words = self.query.vocabulary
        if kind in _TOMBSTONES:
            problem = problems.tombstone(post.id, words, protected=kind is ItemKind.PROTECTED)
            self.errors[post.id, "id"] = problem
            return
        shown = render_post(post, self.fields, words, self.posts.ids)
        match kind:
            case ItemKind.MISSING_ID:
                del shown["id"]
            case ItemKind.WRONG_TYPES:
                shown |= {"id": int(post.id), "text": [post.text]}
            case ItemKind.NOT_AN_OBJECT:
                self.data.append(None)
                return
        self.data.append(shown)
        self._expand(post)

    def _expand(self, post: Post) -> None:
        expansions, words = self.query.expansions, self.query.vocabulary
        if "author_id" in expansions:
            self._include_author(post, "author_id")
        if "attachments.media_keys" in expansions:
            for key in post.media_keys:
                self.includes["media"][key] = render_media(key, self.query.media_fields)
        referenced = post.reference(self.posts.ids)
        if referenced is None:
            return
        if (
            "in_reply_to_user_id" in expansions
            and post.references
            and post.references[0] == "replied_to"
        ):
            self._include_author(referenced, "in_reply_to_user_id")
        if not self._expands_references:
            return
        if referenced.is_gone:
            self.errors[referenced.id, words.references] = problems.missing_reference(
                referenced.id, words
            )
            return
        self.includes[words.posts][referenced.id] = render_post(
            referenced, self.fields, words, self.posts.ids
        )
        for expansion in sorted(expansions):
            if expansion.startswith(words.references) and expansion.endswith(".author_id"):
                self._include_author(referenced, expansion)

    def _include_author(self, post: Post, parameter: str) -> None:
        if post.author_is_suspended:
            key = (post.author_id, parameter)
            words = self.query.vocabulary
            self.errors[key] = problems.suspended_author(post.author_id, parameter, words)
        elif post.author_id not in self.includes["users"]:
            known = person(self.posts.seed, post.author_id)
            shown = render_person(known, self.query.user_fields, self.query.vocabulary)
            self.includes["users"][post.author_id] = shown
