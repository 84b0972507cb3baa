"""The two vocabularies of the API, and what may be asked for in each.

Pure data. X is renaming *tweet* to *post*: spec 2.159 has the old names, 2.167 the new ones, and
both are served.
Sources: the `openapi.json` of both versions; the parameters of tweepy 4.17 and xdk 0.10.6.
"""

# ruff: noqa: SIM905 - lists of words read better as words

from typing import Final

import attrs

__all__ = ["MEDIA_FIELDS", "NEW", "OLD", "PLACE_FIELDS", "POLL_FIELDS", "USER_FIELDS", "Vocabulary"]


@attrs.frozen
class Vocabulary:
    """One set of names for the same things."""

    fields_parameter: str
    """The query parameter that names the fields of a post."""
    noun: str
    """What a post is called in `resource_type`."""
    problems: str
    """What the `type` of a partial error starts with: the host changes with the names."""
    posts: str
    """The key of referenced posts in `includes`."""
    edit_history: str
    references: str
    note: str
    repost_count: str
    authored_count: str
    """The key of a user's number of posts in its `public_metrics`."""
    reference_expansion: str
    """The expansion that brings referenced posts; also the `parameter` of errors about them."""
    fields: frozenset[str]
    """Fields of a post that may be asked for."""
    expansions: frozenset[str]


_COMMON_FIELDS: Final = frozenset(
    """article attachments author_id card_uri community_id context_annotations conversation_id
    created_at
    display_text_range edit_controls entities geo id in_reply_to_user_id lang media_metadata
    non_public_metrics organic_metrics paid_partnership possibly_sensitive promoted_metrics
    public_metrics reply_settings scopes source
    suggested_source_links suggested_source_links_with_counts text withheld""".split()
)
_COMMON_EXPANSIONS: Final = frozenset(
    """article.cover_media article.media_entities attachments.media_keys
    attachments.media_source_tweet
    attachments.poll_ids author_id entities.mentions.username geo.place_id in_reply_to_user_id
    """.split()
)

OLD: Final = Vocabulary(
    fields_parameter="tweet.fields",
    noun="tweet",
    problems="https://api.twitter.com/2/problems/",
    posts="tweets",
    edit_history="edit_history_tweet_ids",
    references="referenced_tweets",
    note="note_tweet",
    repost_count="retweet_count",
    authored_count="tweet_count",
    reference_expansion="referenced_tweets.id",
    fields=_COMMON_FIELDS | {"edit_history_tweet_ids", "note_tweet", "referenced_tweets"},
    expansions=_COMMON_EXPANSIONS
    | {
        "edit_history_tweet_ids",
        "entities.note.mentions.username",
        "referenced_tweets.id",
        "referenced_tweets.id.attachments.media_keys",
        "referenced_tweets.id.author_id",
    },
)
"""Spec 2.159: `tweet.fields`, `includes.tweets`, …"""

NEW: Final = Vocabulary(
    fields_parameter="post.fields",
    noun="post",
    problems="https://api.x.com/2/problems/",
    posts="posts",
    edit_history="edit_history_post_ids",
    references="referenced_posts",
    note="note_post",
    repost_count="repost_count",
    authored_count="post_count",
    reference_expansion="referenced_posts",
    fields=_COMMON_FIELDS
    | {
        "article_title",
        "edit_history_post_ids",
        "matched_media_notes",
        "note_post",
        "note_request_suggestions",
        "referenced_posts",
    },
    expansions=_COMMON_EXPANSIONS
    | {
        "edit_history_post_ids",
        "entities.note.mentions.username",
        "referenced_posts",
        "referenced_posts.attachments.media_keys",
        "referenced_posts.author_id",
        "referenced_posts.id",
        "referenced_posts.id.attachments.media_keys",
        "referenced_posts.id.author_id",
        "username",
    },
)
"""Spec 2.167: `post.fields`, `includes.posts`, …"""

USER_FIELDS: Final = frozenset(
    """affiliation confirmed_email connection_status created_at description entities id
    is_identity_verified location
    most_recent_post_id most_recent_tweet_id name parody pinned_post_id pinned_tweet_id
    profile_banner_url profile_image_url protected public_metrics receives_your_dm subscribes_to_you
    subscription subscription_type url
    username verified verified_followers_count verified_type withheld""".split()
)
MEDIA_FIELDS: Final = frozenset(
    """alt_text duration_ms height media_key non_public_metrics organic_metrics preview_image_url
    promoted_metrics public_metrics type url variants width""".split()
)
POLL_FIELDS: Final = frozenset("duration_minutes end_datetime id options voting_status".split())
PLACE_FIELDS: Final = frozenset(
    "contained_within country country_code full_name geo id name place_type".split()
)
