"""Colours, and how a picture follows its reader's light or dark mode.

Colour never says anything alone: kinds of states have marks, rings and words, edges are dashed, thin or thick.
Must not know: machines, places.
"""

from typing import Final, Literal

__all__ = ["FONT", "KIND_COLOURS", "TAKEN", "Theme", "style_sheet"]

Theme = Literal["auto", "light", "dark"]
"""`auto` follows the reader's setting, where what shows the picture knows it."""

FONT: Final = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif'

KIND_COLOURS: Final = {
    "work": ("#dafbe1", "#1a7f37"),
    "waiting": ("#fff8c5", "#9a6700"),
    "ending": ("#ffebe9", "#cf222e"),
    "final": ("#eef1f4", "#59636e"),
}
"""Fill and line of each kind of state in light mode; text on a fill, and white on a line, has a contrast above 4.5."""

TAKEN: Final = "#0969da"

_LIGHT: Final = {
    "paper": "#ffffff",
    "frame": "#d1d9e0",
    "ink": "#1f2328",
    "soft": "#59636e",
    "faint": "#6e7781",
    "line": "#818b98",
    "chip": "#f6f8fa",
    "taken": TAKEN,
    "taken-chip": "#ddf4ff",
    "on-full": "#ffffff",
    **{f"{kind}-fill": fill for kind, (fill, _) in KIND_COLOURS.items()},
    **{f"{kind}-line": line for kind, (_, line) in KIND_COLOURS.items()},
}

_DARK: Final = {
    "paper": "#0d1117",
    "frame": "#3d444d",
    "ink": "#f0f6fc",
    "soft": "#9198a1",
    "faint": "#8b949e",
    "line": "#6e7681",
    "chip": "#161b22",
    "taken": "#4493f8",
    "taken-chip": "#10233d",
    "on-full": "#0d1117",
    "work-fill": "#12261e",
    "work-line": "#3fb950",
    "waiting-fill": "#2a2112",
    "waiting-line": "#d29922",
    "ending-fill": "#2d1517",
    "ending-line": "#f85149",
    "final-fill": "#1c2128",
    "final-line": "#9198a1",
}

_RULES: Final = """
.paper{fill:%(paper)s;stroke:%(frame)s}
.ink{fill:%(ink)s}
.soft{fill:%(soft)s}
.faint{fill:%(faint)s}
.edge{fill:none;stroke:%(line)s}
.head{fill:%(line)s}
.chip{fill:%(chip)s;stroke:%(frame)s}
.edge.taken{stroke:%(taken)s}
.head.taken{fill:%(taken)s}
.chip.taken{fill:%(taken-chip)s;stroke:%(taken)s}
.on-full{fill:%(on-full)s}
.stroke-on-full{stroke:%(on-full)s}
.tick{stroke:%(frame)s}
.mark{fill:%(taken)s}
.error{stroke:%(ending-line)s}
.cut{stroke:%(paper)s}
.blank{fill:%(paper)s}
"""

_KIND_RULES: Final = """
.%(kind)s{fill:%(fill)s;stroke:%(line)s}
.%(kind)s.full{fill:%(line)s}
.%(kind)s-mark{fill:%(line)s}
.%(kind)s-line{fill:none;stroke:%(line)s}
"""


def style_sheet(theme: Theme) -> str:
    """CSS for the classes that pictures use; plain values, since not everything that shows SVG knows variables."""
    if theme == "dark":
        return _rules(_DARK)
    if theme == "light":
        return _rules(_LIGHT)
    return f"{_rules(_LIGHT)}@media (prefers-color-scheme:dark){{{_rules(_DARK)}}}"


def _rules(colours: dict[str, str]) -> str:
    rules = _RULES % colours
    for kind in KIND_COLOURS:
        rules += _KIND_RULES % {
            "kind": kind,
            "fill": colours[f"{kind}-fill"],
            "line": colours[f"{kind}-line"],
        }
    return rules.replace("\n", "")
