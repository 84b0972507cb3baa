"""temporary."""

import attrs


@attrs.frozen(kw_only=True)
class Settings:
    valkey_url: str = "redis://localhost:6379/0"
    max_retries: int = 5
    initial_backoff: float = 1.0
    database_url: str = "sqlite+aiosqlite:///bookmarks.db"
    checkpoint_every: int = 10
    max_skips_in_a_row: int = 50
    lease_s: float = 30.0
    handler_timeout_s: float = 60.0
    cancel_grace_s: float = 10.0
    cleanup_timeout_s: float = 10.0
    shutdown_timeout_s: float = 25.0
    store_retry_s: float = 5.0
    page_size: int = 90
    prefetch: int = 1


def get_settings() -> Settings:
    return Settings()
