"""Where a user's token comes from, and how it never shows.

Must not know: HTTP, what a token may do, how it is renewed.
"""

import asyncio
import errno
import hmac
import os
import re
import stat
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, Self, runtime_checkable

from ..errors import ConfigurationError, CredentialsMissing
from ..log_facts import logger_of

__all__ = [
    "HOW_TO_GET_A_TOKEN",
    "CredentialProvider",
    "EnvironmentToken",
    "FixedToken",
    "Secret",
    "TokenFiles",
    "as_provider",
    "checked",
    "read_token",
]

_LOG: Final = logger_of("twitor_fsm.sources.credentials")

SCOPES: Final = "bookmark.read tweet.read users.read"
"""What a token needs. Source: X API v2, "Bookmarks lookup"; offline.access is for the one who refreshes it."""

HOW_TO_GET_A_TOKEN: Final = (
    "To get a user token: in the X developer portal give your app the OAuth 2.0 settings, then let the user consent "
    f"to the scopes {SCOPES} (offline.access too, if the token shall be refreshed) by the authorization code flow "
    "with PKCE; the access token of its answer is the one. An app-only bearer token cannot read bookmarks"
)

_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
"""A token goes into a header: visible ASCII. Anything else would break the request, or be quoted by an error."""

_SCHEME: Final = re.compile(r"^bearer(\s+|$)", re.IGNORECASE)
"""People paste the whole header."""

_USER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Secret:
    """Text that is shown by nothing: not by str, repr, format, JSON, copies or pickles.

    Args:
        value: The text itself; only `reveal` gives it back.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The text itself. To be called where it leaves the process, and nowhere else."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled; hand over where it can be read instead")


@runtime_checkable
class CredentialProvider(Protocol):
    """Gives a user's token whenever one is needed; an embedder that refreshes tokens implements it."""

    async def token(self, user_id: str, *, refused: bool = False) -> str | Secret:
        """The user's bearer token.

        Args:
            user_id: Whose; "me" when only the token knows.
            refused: The service just refused the token that was given last. Give another one, or the same if there
                is none: the crawl then ends and says so.

        Raises:
            CredentialsMissing: None is known for this user.
        """
        ...


class FixedToken:
    """One token for one user.

    Args:
        token: Bearer token of the user; a "Bearer " in front and white space around it are taken off.

    Raises:
        CredentialsMissing: It is empty or cannot be a token.
    """

    def __init__(self, token: str | Secret) -> None:
        self._token: Final = checked(token, "the token given")

    async def token(self, user_id: str, *, refused: bool = False) -> Secret:
        """The token, whoever asks."""
        return self._token

    def __repr__(self) -> str:
        return "FixedToken(***)"


class EnvironmentToken:
    """The token in X_BEARER_TOKEN, read anew each time."""

    async def token(self, user_id: str, *, refused: bool = False) -> Secret:
        """The token, whoever asks.

        Raises:
            CredentialsMissing: The variable is not set, empty, or cannot be a token.
        """
        from ..config import bearer_token_from_environment  # the only reader of the environment

        found = bearer_token_from_environment()
        if not found:
            raise CredentialsMissing(
                f"no token: X_BEARER_TOKEN is not set; no request was made. {HOW_TO_GET_A_TOKEN}"
            )
        return checked(found, "X_BEARER_TOKEN")

    def __repr__(self) -> str:
        return "EnvironmentToken()"


class TokenFiles:
    """A directory with one file for each user, named by the user's id, that holds nothing but the token.

    The file is read anew each time, so whoever refreshes the token replaces the file. It should have mode 0600; one
    that others can read works and is warned of once.
    """

    def __init__(self, directory: str | Path | None) -> None:
        """Name the directory; it is looked into at each `token`.

        Args:
            directory: `Settings.token_dir`, say.

        Raises:
            ConfigurationError: It is None: `TWITOR_TOKEN_DIR` is not set.
        """
        if directory is None:
            raise ConfigurationError(
                "TokenFiles needs a directory and was given None; nothing was started. Set TWITOR_TOKEN_DIR "
                "(`Settings.token_dir`), or name a directory"
            )
        self._directory: Final = Path(directory)
        self._warned: set[str] = set()

    async def token(self, user_id: str, *, refused: bool = False) -> Secret:
        """The token in the user's file.

        Raises:
            CredentialsMissing: There is no such file, it cannot be read, holds no token, or the user id is none.
        """
        return await asyncio.to_thread(self.read, user_id)

    def read(self, user_id: str) -> Secret:
        """What `token` gives, for callers that may block."""
        if _USER.fullmatch(user_id) is None:
            raise CredentialsMissing(
                "no token: a user id of 1 to 64 letters, digits, _ and - names the file; this one is not of that kind"
            )
        path = self._directory / user_id
        try:
            text, mode = read_token(path)
        except FileNotFoundError:
            raise CredentialsMissing(
                f"no token: there is no file {path}; no request was made. Put the user's token there, mode 0600. "
                f"{HOW_TO_GET_A_TOKEN}"
            ) from None
        except (OSError, UnicodeDecodeError) as exc:
            what = exc.strerror if isinstance(exc, OSError) else "it is no text"
            raise CredentialsMissing(
                f"no token: {path} cannot be read ({what}); no request was made"
            ) from None  # the cause may quote what the file holds
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and user_id not in self._warned:
            self._warned.add(user_id)
            _LOG.warning("token file %s can be read by others; run: chmod 600 %s", path, path)
        return checked(text, str(path))

    def __repr__(self) -> str:
        return f"TokenFiles({str(self._directory)!r})"


def as_provider(credentials: "str | Secret | CredentialProvider") -> "CredentialProvider":
    """What was given as credentials, as a provider; a plain text is wrapped at once."""
    if isinstance(credentials, str | Secret):
        return FixedToken(credentials)
    return credentials


def checked(token: Any, where: str) -> Secret:
    """The token as a secret.

    Args:
        token: Text or secret, as somebody gave it.
        where: Where it came from, for the message.

    Raises:
        CredentialsMissing: It is empty or holds what no token holds, such as a line break. The message does not
            quote it.
    """
    value = token.reveal() if isinstance(token, Secret) else token
    if not isinstance(value, str):
        raise CredentialsMissing(f"no token: {where} is a {type(value).__name__} instead of text")
    value = _SCHEME.sub("", value.strip(), count=1)
    if not value:
        raise CredentialsMissing(
            f"no token: {where} is empty; no request was made. {HOW_TO_GET_A_TOKEN}"
        )
    if _TOKEN.fullmatch(value) is None:
        raise CredentialsMissing(
            f"no token: {where} holds characters that no token has (a space, a line break, or none of ASCII); "
            "no request was made"
        )
    return Secret(value)


def read_token(path: Path) -> tuple[str, int]:
    """What a token's file holds, as text without a byte order mark, and its mode; not yet checked.

    Raises:
        OSError: It cannot be read; or it is a pipe or a device, which might keep us waiting for ever, deaf to signals.
        UnicodeDecodeError: It is no text.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read(16_384).decode("utf-8-sig"), stat.S_IMODE(mode)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
