"""Post ids as X has them: decimal strings of unequal length, in no order that means anything.

Pure. Serial numbers (0, 1, 2, …) and ids map to each other one to one, without a table, so that a
hundred thousand bookmarks cost no memory.
Must not know: listings, users, texts.
"""

from datetime import UTC, datetime
from typing import Final

from .draws import number

__all__ = ["MAX_SERIAL", "PostIds", "created_at"]

_BITS: Final = 30
_MASK: Final = (1 << _BITS) - 1
MAX_SERIAL: Final = _MASK
"""The largest serial number that has an id."""

SNOWFLAKE_EPOCH_MS: Final = 1_288_834_974_657  # X counts the time in an id from 2010-11-04
_SHORT_STEP: Final = 977
_FIRST_SHORT: Final = 20  # the first post of all has id 20
_FIRST_MID: Final = 10**12
_FIRST_18: Final = 3 * 10**17
_FIRST_19: Final = 12 * 10**17


class PostIds:
    """The ids of one seed: `id_of(serial)` and back.

    About 2 % have 2 to 11 digits (2006 to 2010), 9 % have 13 to 17 (around 2**53), 18 % have 18 and
    the rest 19.
    """

    def __init__(self, seed: int) -> None:
        self._factor = number(seed, "id factor") & _MASK | 1
        self._offset = number(seed, "id offset") & _MASK
        self._inverse = pow(self._factor, -1, 1 << _BITS)
        self._noise = number(seed, "id noise") & _MASK | 1

    def id_of(self, serial: int) -> str:
        """The id of a serial number, 0 to `MAX_SERIAL`."""
        if serial % 47 == 3:
            place = serial // 47
            return str(_FIRST_SHORT + place * _SHORT_STEP + place * self._noise % _SHORT_STEP)
        mixed = self._mix(serial)
        low = mixed * self._noise
        if serial % 11 == 5:
            return str(_FIRST_MID + (mixed << 24 | low & 0xFFFFFF))
        if serial % 5 == 2:
            return str(_FIRST_18 + (mixed << 28 | low & 0xFFFFFFF))
        return str(_FIRST_19 + (mixed << 29 | low & 0x1FFFFFFF))

    def serial_of(self, post_id: str) -> int | None:
        """The serial number of an id, or None for an id that this seed never gives."""
        if not (post_id.isascii() and post_id.isdecimal()) or len(post_id) > 19:
            return None
        value = int(post_id)
        if value >= _FIRST_19:
            serial = self._unmix(value - _FIRST_19 >> 29)
        elif value >= _FIRST_18:
            serial = self._unmix(value - _FIRST_18 >> 28)
        elif value >= _FIRST_MID:
            serial = self._unmix(value - _FIRST_MID >> 24)
        else:
            serial = (value - _FIRST_SHORT) // _SHORT_STEP * 47 + 3
        if not 0 <= serial <= MAX_SERIAL or self.id_of(serial) != post_id:
            return None
        return serial

    def _mix(self, serial: int) -> int:
        mixed = (serial * self._factor + self._offset) & _MASK
        mixed ^= mixed >> 15  # its own inverse on 30 bits
        return mixed * self._factor & _MASK

    def _unmix(self, mixed: int) -> int:
        mixed = mixed * self._inverse & _MASK
        mixed ^= mixed >> 15
        return (mixed - self._offset) * self._inverse & _MASK


def created_at(post_id: str) -> str:
    """When the post with this id was written: ISO 8601 with milliseconds and `Z`."""
    value = int(post_id)
    if value < _FIRST_MID:  # before the time was in the id: spread over 2006-03-21 to 2010-11-03
        epoch_s = 1_142_974_200 + value % 145_000_000
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    written = datetime.fromtimestamp(((value >> 22) + SNOWFLAKE_EPOCH_MS) / 1000, UTC)
    return written.isoformat(timespec="milliseconds")[:-6] + "Z"
