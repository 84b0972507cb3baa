"""A source of one's own and a handler: text files in a folder, newest name first, three a page.

`test_notes.py` tries both with the whole test kit; `broken_notes.py` is the same source with a mistake in it.
"""

import json
from pathlib import Path

from twitor_fsm import End, InvalidRaw, Item, Page, Usage

PAGE = 3


class Notes:
    """Every `*.txt` of a folder is a note; its name is the id, an empty one cannot be decoded."""

    name = "notes"
    service = "notes"
    endpoint = "notes"
    page_sizes: tuple[int, ...] = ()
    price_usd = 0.0

    def __init__(self, folder: Path) -> None:
        """Read this folder."""
        self.folder = folder

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """The notes below the cursor, which is the name of the last one of the page before."""
        names = sorted((file.stem for file in self.folder.glob("*.txt")), reverse=True)
        below = [name for name in names if cursor is None or name < cursor]
        page = below[:PAGE]
        more = len(below) > PAGE
        return Page(
            items=tuple(self.decode(self._raw(name)) for name in page),
            next_cursor=page[-1] if more else None,
            end=End.MORE if more else End.VERIFIED,
            usage=Usage(requests=1, items=len(page)),
        )

    def _raw(self, name: str) -> str:
        return json.dumps({"name": name, "text": (self.folder / f"{name}.txt").read_text()})

    def decode(self, raw: str) -> Item | InvalidRaw:
        """A note needs a text."""
        note = json.loads(raw)
        if not note["text"]:
            return InvalidRaw(key=note["name"], raw=raw, message="an empty note")
        return Item(key=note["name"], raw=raw, text=note["text"])

    async def aclose(self) -> None:
        """Nothing is held."""


async def count_words(item: Item, fence: int) -> dict[str, int]:
    """A handler: its result is stored with the note, exactly once."""
    return {"words": len((item.text or "").split())}


def write_notes(folder: Path, count: int = 8) -> Path:
    """Some notes to try it on; the third one is empty."""
    for number in range(1, count + 1):
        text = "" if number == 3 else f"note number {number}"
        (folder / f"note-{number:02}.txt").write_text(text)
    return folder
