"""The exceptions are the ones that are drawn, and each says something."""

import re
from collections.abc import Iterator

import pytest

from twitor_fsm import errors
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import TwitorError

DRAWN = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?:  +(?P<what>\S.*))?$")
STEP = 4  # columns per level of the drawing

NOW = 1_800_000_000.0

ONE_OF_EACH: list[TwitorError] = [
    errors.TwitorError(),
    errors.ConfigurationError("PORT is 'x'"),
    errors.SpecError("row 3"),
    errors.IllegalStep("running", "resume"),
    errors.JournalRefused(3, 3, "it begins elsewhere"),
    errors.JournalRefused(1, None, "it is no JSON"),
    errors.SourceError("gone"),
    errors.CredentialsMissing("no token for me"),
    errors.AuthenticationFailed("the token is refused"),
    errors.RateLimited(),
    errors.RateLimited(NOW),
    errors.RateLimited(float("inf")),
    errors.RateLimited(float("nan")),
    errors.RateLimited(1e300),
    errors.SourceUnavailable("no answer"),
    errors.CursorRefused("the cursor is unknown"),
    errors.RequestRefused("max_results is too large"),
    errors.BillingRefused("no credits"),
    errors.SourceLoops("the same page again"),
    errors.InvalidItem("no id"),
    errors.UnreadableFile("seen: a letter"),
    errors.StoreError("refused"),
    errors.StoreUnavailable("no answer"),
    errors.ItemsRefused({"1": (Reason.CONSTRAINT, "x")}),
    errors.LeaseLost("s1"),
    errors.CrawlOwned("s1", "host", NOW),
    errors.SessionNotFound("s1"),
    errors.SessionUnreadable("s1", "ValueError"),
    errors.RowUnreadable("twitor_journal", "step 1 of the journal of session s1", "ValueError"),
    errors.SchemaMismatch("version 9"),
    errors.OtherSchemaVersion("version 9"),
    errors.QueueError("refused"),
    errors.QueueUnavailable("no answer"),
    errors.QueueUnauthorized("the password is refused"),
    errors.QueueMisconfigured("no permission"),
    errors.QueueFull("twitor:tasks", 10),
    errors.QueueOutOfMemory("twitor:tasks"),
    errors.TaskRefused("no JSON"),
    errors.TaskLeaseLost("t1"),
]


def drawn() -> Iterator[tuple[str, str]]:
    """(name, parent) of every class in the drawing of the module's docstring."""
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = DRAWN.match(line)
        if found is None or not line.startswith(" "):
            continue
        level = len(found["indent"]) // STEP - 1
        assert found["what"] or level == 0, (
            f"{found['name']} is drawn without a word of explanation"
        )
        del path[level:]
        yield found["name"], path[-1] if path else "Exception"
        path.append(found["name"])


def real(cls: type[Exception] = TwitorError) -> Iterator[tuple[str, str]]:
    (parent,) = cls.__bases__
    yield cls.__name__, parent.__name__
    for child in cls.__subclasses__():
        if (
            getattr(errors, child.__name__, None) is child
        ):  # attrs leaves the class without slots behind
            yield from real(child)


def test_the_tree_that_is_drawn_is_the_real_one() -> None:
    assert sorted(drawn()) == sorted(real())


def test_every_exception_is_public_and_explained() -> None:
    names = {name for name, _ in real()}
    assert set(errors.__all__) == names
    assert errors.__all__ == sorted(errors.__all__)
    for name in names:
        assert (getattr(errors, name).__doc__ or "").strip()


def test_one_of_each_is_tried_here() -> None:
    assert {type(error).__name__ for error in ONE_OF_EACH} == {name for name, _ in real()}


@pytest.mark.parametrize("error", ONE_OF_EACH[1:], ids=lambda error: type(error).__name__)
def test_every_exception_says_something(error: TwitorError) -> None:
    said = str(error)
    assert len(said) > 3
    assert "object at 0x" not in said


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_every_exception_can_be_raised_caught_and_kept_in_a_mapping(error: TwitorError) -> None:
    with pytest.raises(TwitorError) as caught:
        raise error
    assert caught.value is error
    assert {error: 1}[error] == 1


def test_two_of_a_kind_are_not_equal() -> None:
    assert errors.LeaseLost("s1") != errors.LeaseLost("s1")
