"""A token shows nowhere, and comes from where it is said to come from."""

import copy
import json
import logging
import os
import pickle
import traceback
from pathlib import Path

import attrs
import msgspec
import pytest

from twitor_fsm.errors import CredentialsMissing
from twitor_fsm.sources.credentials import (
    CredentialProvider,
    EnvironmentToken,
    FixedToken,
    Secret,
    TokenFiles,
    as_provider,
)

CANARY = "canary-AAAA1111"


@attrs.frozen
class Holder:
    secret: Secret


def test_no_text_form_of_a_secret_holds_it() -> None:
    secret = Secret(CANARY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>40}",
        "%s %r" % (secret, secret),  # noqa: UP031 - the form that logging uses
        "{0} {0!r} {0!s}".format(secret),  # noqa: UP032 - a form in its own right
        repr([secret, {"a": secret}]),
        repr(Holder(secret)),
        str(attrs.asdict(Holder(secret))),
        json.dumps({"token": secret}, default=str),
        repr(FixedToken(secret)),
    ]
    assert [text for text in shown if CANARY in text] == []
    assert secret.reveal() == CANARY
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("dump", [json.dumps, msgspec.json.encode, pickle.dumps])
def test_a_secret_is_not_serialised(dump: object) -> None:
    with pytest.raises(TypeError) as caught:
        dump({"token": Secret(CANARY)})  # type: ignore[operator]
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_copied_secret_is_the_same_secret() -> None:
    secret = Secret(CANARY)
    assert copy.deepcopy([secret])[0] is secret
    assert copy.copy(secret) is secret


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_logged_secret_is_hidden(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("token %s", Secret(CANARY))
    assert caplog.messages == ["token ***"]


@pytest.mark.parametrize(
    "token", ["", "  \n", "Bearer ", f"{CANARY}\nx", f"{CANARY} x", f"{CANARY}ü"]
)
def test_what_cannot_be_a_token_is_refused_without_being_quoted(token: str) -> None:
    with pytest.raises(CredentialsMissing) as caught:
        FixedToken(token)
    assert CANARY not in str(caught.value)


async def test_white_space_and_the_word_bearer_are_taken_off() -> None:
    assert (await FixedToken(f" Bearer {CANARY}\n").token("1")).reveal() == CANARY


def test_a_text_becomes_a_provider_and_a_provider_stays_one() -> None:
    own = TokenFiles("somewhere")
    assert as_provider(own) is own
    assert isinstance(as_provider(CANARY), FixedToken)
    assert isinstance(as_provider(Secret(CANARY)), CredentialProvider)


async def test_the_environment_gives_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", CANARY)
    assert (await EnvironmentToken().token("1")).reveal() == CANARY
    monkeypatch.delenv("X_BEARER_TOKEN")
    with pytest.raises(CredentialsMissing, match=r"bookmark\.read"):
        await EnvironmentToken().token("1")


async def test_a_file_for_each_user_gives_the_token_as_it_is_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "42"
    path.write_text(f"\ufeff{CANARY}\n", encoding="utf-8")
    path.chmod(0o600)
    files = TokenFiles(tmp_path)
    assert (await files.token("42")).reveal() == CANARY
    path.write_text("another")
    assert (await files.token("42", refused=True)).reveal() == "another"
    assert caplog.messages == []


async def test_a_token_file_that_others_can_read_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "42"
    path.write_text(CANARY)
    path.chmod(0o640)
    files = TokenFiles(tmp_path)
    await files.token("42")
    await files.token("42")
    assert len(caplog.messages) == 1
    assert "chmod 600" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("kind", ["pipe", "device"])
async def test_a_token_that_is_no_regular_file_keeps_nobody_waiting(
    tmp_path: Path, kind: str
) -> None:
    """Nobody writes into the pipe: a thread that opened it would wait for ever, and the process with it, deaf to SIGTERM."""
    path = tmp_path / "42"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")

    with pytest.raises(CredentialsMissing, match="no regular file"):
        TokenFiles(tmp_path).read("42")


@pytest.mark.parametrize("user_id", ["../42", "a/b", "", ".", "42\0", "a" * 65, "４２"])
async def test_a_user_id_that_is_like_a_path_opens_no_file(tmp_path: Path, user_id: str) -> None:
    (tmp_path / "42").write_text(CANARY)
    (tmp_path / "tokens").mkdir()
    with pytest.raises(CredentialsMissing):
        await TokenFiles(tmp_path / "tokens").token(user_id)


async def test_a_missing_or_unreadable_token_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CredentialsMissing, match="there is no file"):
        await TokenFiles(tmp_path).token("42")
    (tmp_path / "43").mkdir()
    with pytest.raises(CredentialsMissing, match="cannot be read"):
        await TokenFiles(tmp_path).token("43")
    (tmp_path / "44").write_bytes(b"\xff\xfe" + CANARY.encode())
    with pytest.raises(CredentialsMissing, match="it is no text") as caught:
        await TokenFiles(tmp_path).token("44")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
