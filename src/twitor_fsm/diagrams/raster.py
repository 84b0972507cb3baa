"""Turns our SVG into PNG, with fonts that come along: the same picture on every machine.

Must not know: what is drawn.
"""

import re
from typing import Final

from ..errors import ConfigurationError

__all__ = ["png"]

SCALE: Final = 2.0
"""Pixels for each unit of the SVG: sharp on a dense screen."""

FONT: Final = "DejaVu Sans"
"""The one font that comes along; any other would be looked for on the machine."""

_FAMILY: Final = re.compile(r"""font-family=("[^"]*"|'[^']*')""")
_WIDTH: Final = re.compile(r'<svg [^>]*?\bwidth="([\d.]+)"')


def png(svg: str) -> bytes:
    """Draw pixels.

    Raises:
        ConfigurationError: The extra `diagram` is not installed.
    """
    try:
        from mermaidx.raster import svg_to_png
    except ImportError as exc:
        raise ConfigurationError(
            f"{exc.name} is not installed, which PNG needs (mermaid and dot do not); nothing was drawn. "
            'Run: pip install "twitor-fsm[diagram]"'
        ) from exc
    width = _WIDTH.search(svg)
    if width is None:
        raise AssertionError("our SVG says how wide it is")
    ours = _FAMILY.sub(f'font-family="{FONT}"', svg, count=1)
    return bytes(svg_to_png(ours, width=float(width[1]) * SCALE))
