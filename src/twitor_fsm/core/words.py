"""The words of the machine: states, triggers, effects, guards; what a state is for, when a step becomes true.

Pure. Must not know: which word leads where.
"""

from enum import StrEnum

__all__ = ["Durability", "Effect", "Guard", "Kind", "State", "Trigger"]


class State(StrEnum):
    """Where a session stands; spelled the same in storage, logs, metrics and diagrams."""

    RUNNING = "running"
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    RETRYING = "retrying"
    ABORTING = "aborting"
    SHUTTING_DOWN = "shutting_down"
    COMPLETED = "completed"
    ABORTED = "aborted"
    SHUT_DOWN = "shut_down"


class Trigger(StrEnum):
    """What can happen to a session."""

    ITEM_SKIPPED = "item_skipped"
    NETWORK_FAILED = "network_failed"
    RECOVERED = "recovered"
    RATE_LIMITED = "rate_limited"
    RESUME = "resume"
    AUTH_FAILED = "auth_failed"
    FATAL_FAILED = "fatal_failed"
    STORE_FAILED = "store_failed"
    CANCEL = "cancel"
    FINISH = "finish"
    CLEANED_UP = "cleaned_up"
    RESTARTED = "restarted"


class Effect(StrEnum):
    """What a transition asks the shell to do, or changes in the session's value."""

    RESET_RETRIES = "reset_retries"
    RECORD_SKIP = "record_skip"
    SCHEDULE_RETRY = "schedule_retry"
    SAVE_CHECKPOINT = "save_checkpoint"
    SCHEDULE_RESUME = "schedule_resume"
    RUN_CLEANUP = "run_cleanup"
    END_SESSION = "end_session"


class Guard(StrEnum):
    """Conditions on a row of the table."""

    TRIES_LEFT = "tries_left"
    NO_TRIES_LEFT = "no_tries_left"
    HAS_TRIES = "has_tries"


class Kind(StrEnum):
    """What a session does in a state."""

    WORK = "work"
    WAITING = "waiting"
    ENDING = "ending"
    FINAL = "final"


class Durability(StrEnum):
    """When a step becomes true."""

    AT_ONCE = "at_once"
    """Committed at once, together with everything that is pending; adopted when that has committed."""
    RIDES = "rides"
    """Adopted at once, written with the next commit; dropped if that never comes."""
    ALONE = "alone"
    """Stepped from the last durable value and committed alone: pending work is dropped, no checkpoint is written."""
    UNSAVED = "unsaved"
    """Stepped from the last durable value and adopted without a commit: the store is out."""
