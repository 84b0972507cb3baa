"""The first schema: crawls, sessions, journals, bookmarks, listings, skipped items, closed limits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ALIVE = sa.text("ended_at IS NULL")
_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "twitor_bookmark",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("author_id", sa.Text(), nullable=True),
        sa.Column("author_username", sa.Text(), nullable=True),
        sa.Column("author_name", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("richness", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="twitor_bookmark_pk"),
        sa.UniqueConstraint("user_id", "item_id", name="twitor_bookmark_uq_user_id_item_id"),
    )
    op.create_index(
        "twitor_bookmark_ix_user_id_id", "twitor_bookmark", ["user_id", "id"], unique=False
    )
    op.create_table(
        "twitor_closed",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("service", "account", "endpoint", name="twitor_closed_pk"),
    )
    op.create_table(
        "twitor_crawl",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("has_checkpoint", sa.Boolean(), nullable=False),
        sa.Column("last_tweet_id", sa.Text(), nullable=True),
        sa.Column("bookmarks_count", sa.BigInteger(), nullable=False),
        sa.Column("last_crawled_at", sa.Double(), nullable=True),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("last_session_id", sa.Text(), nullable=True),
        sa.Column("last_session_ordinal", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="twitor_crawl_pk"),
        sa.UniqueConstraint("user_id", "source", name="twitor_crawl_uq_user_id_source"),
    )
    op.create_table(
        "twitor_journal",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("delay_s", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tries_allowed", sa.Integer(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("absorbed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "seq", name="twitor_journal_pk"),
    )
    op.create_table(
        "twitor_listing",
        sa.Column("crawl_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bookmark_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("walk", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("crawl_id", "bookmark_id", name="twitor_listing_pk"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "twitor_session",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("crawl_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=True),
        sa.Column("resume_at", sa.Double(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("absorbed", sa.Text(), nullable=False),
        sa.Column("counters", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("durable", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("cancel_wish", sa.Text(), nullable=True),
        sa.Column("resumed_from", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", name="twitor_session_pk"),
        sa.UniqueConstraint("crawl_id", "ordinal", name="twitor_session_uq_crawl_id_ordinal"),
    )
    op.create_index("twitor_session_ix_started_at", "twitor_session", ["started_at"], unique=False)
    op.create_index(
        "twitor_session_one_alive",
        "twitor_session",
        ["crawl_id"],
        unique=True,
        sqlite_where=_ALIVE,
        postgresql_where=_ALIVE,
    )
    op.create_table(
        "twitor_skipped",
        sa.Column("crawl_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.Column("walk", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("crawl_id", "item_key", name="twitor_skipped_pk"),
    )


def downgrade() -> None:
    """Back to a database without our tables."""
    op.drop_table("twitor_skipped")
    op.drop_index(
        "twitor_session_one_alive",
        table_name="twitor_session",
        sqlite_where=_ALIVE,
        postgresql_where=_ALIVE,
    )
    op.drop_index("twitor_session_ix_started_at", table_name="twitor_session")
    op.drop_table("twitor_session")
    op.drop_table("twitor_listing")
    op.drop_table("twitor_journal")
    op.drop_table("twitor_crawl")
    op.drop_table("twitor_closed")
    op.drop_index("twitor_bookmark_ix_user_id_id", table_name="twitor_bookmark")
    op.drop_table("twitor_bookmark")
