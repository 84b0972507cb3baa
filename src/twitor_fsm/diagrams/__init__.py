"""Pictures of a machine, of the path that a session took over it, and of the time that this took.

`render` draws a table, `render_session` lays a journal over it, `render_timeline` draws the journal as bars over time. All
three take an app's own `MachineSpec` as well as ours. Mermaid and DOT need nothing; SVG and PNG need the extra
`diagram`, which comes from wheels alone.
"""

from collections.abc import Iterable
from typing import Literal, overload

from ..core.states import DEFAULT_SPEC, JournalRow, MachineSpec
from ..errors import ConfigurationError
from . import dot, mermaid, raster, svg, timeline_svg
from .path import Path
from .scene import Scene, scene_of
from .theme import Theme
from .timeline import NOT_BEGUN, Timeline

__all__ = ["FORMATS", "Format", "Theme", "render", "render_session", "render_timeline"]

Format = Literal["mermaid", "dot", "svg", "png"]
TextFormat = Literal["mermaid", "dot", "svg"]

FORMATS: tuple[Format, ...] = ("mermaid", "dot", "svg", "png")
"""All formats; PNG is bytes, the others are text."""


@overload
def render(
    spec: MachineSpec = ...,
    *,
    format: TextFormat = ...,
    theme: Theme = ...,
    title: str | None = ...,
) -> str: ...
@overload
def render(
    spec: MachineSpec = ..., *, format: Literal["png"], theme: Theme = ..., title: str | None = ...
) -> bytes: ...
@overload
def render(
    spec: MachineSpec = ..., *, format: Format, theme: Theme = ..., title: str | None = ...
) -> str | bytes: ...
def render(
    spec: MachineSpec = DEFAULT_SPEC,
    *,
    format: Format = "mermaid",  # noqa: A002 - what everybody calls it
    theme: Theme = "auto",
    title: str | None = None,
) -> str | bytes:
    """Draw a machine.

    Args:
        spec: The machine: ours, or an app's own.
        format: "mermaid", "dot", "svg" (text) or "png" (bytes).
        theme: Of SVG and PNG: "light", "dark", or "auto", with which SVG follows its reader and PNG is light.
        title: Heading; None leaves it out.

    Returns:
        The picture. Every name in it stands as text, whatever characters it has; an SVG holds no script and no link.

    Raises:
        ConfigurationError: There is no such format, its extra is not installed, or `spec` is no `MachineSpec`.
    """
    _check(spec)
    return _drawn(scene_of(spec, title=title), format, theme)


@overload
def render_session(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: TextFormat = ...,
    theme: Theme = ...,
    title: str | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
) -> str: ...
@overload
def render_session(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: Literal["png"],
    theme: Theme = ...,
    title: str | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
) -> bytes: ...
@overload
def render_session(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: Format,
    theme: Theme = ...,
    title: str | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
) -> str | bytes: ...
def render_session(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = DEFAULT_SPEC,
    format: Format = "mermaid",  # noqa: A002
    theme: Theme = "auto",
    title: str | None = None,
    now: float | None = None,
    alive: bool | None = None,
) -> str | bytes:
    """Draw what a session did on its machine.

    Edges that it took are thick by how often, the others dashed; its state is filled and says why it is in it.

    Args:
        journal: The session's rows, from the first: `CrawlEngine.journal`, or `read_journal` of a file.
        spec: The machine that it ran on.
        format: As for `render`.
        theme: As for `render`.
        title: Heading; None leaves it out.
        now: Epoch seconds, for "resumes in 14 min 20 s"; None says the time of day instead.
        alive: Whether somebody runs the session now; None if that is not known.

    Raises:
        JournalRefused: The machine does not allow what the journal says.
        ConfigurationError: As for `render`.
    """
    _check(spec)
    path = Path.of(spec, journal, now=now, alive=alive)
    return _drawn(scene_of(spec, path, title=title), format, theme)


@overload
def render_timeline(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: Literal["svg"] = ...,
    theme: Theme = ...,
    title: str | None = ...,
    started_at: float | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
    items: int | None = ...,
    begun: bool = ...,
) -> str: ...
@overload
def render_timeline(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: Literal["png"],
    theme: Theme = ...,
    title: str | None = ...,
    started_at: float | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
    items: int | None = ...,
    begun: bool = ...,
) -> bytes: ...
@overload
def render_timeline(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = ...,
    format: Format,
    theme: Theme = ...,
    title: str | None = ...,
    started_at: float | None = ...,
    now: float | None = ...,
    alive: bool | None = ...,
    items: int | None = ...,
    begun: bool = ...,
) -> str | bytes: ...
def render_timeline(
    journal: Iterable[JournalRow],
    *,
    spec: MachineSpec = DEFAULT_SPEC,
    format: Format = "svg",  # noqa: A002
    theme: Theme = "auto",
    title: str | None = None,
    started_at: float | None = None,
    now: float | None = None,
    alive: bool | None = None,
    items: int | None = None,
    begun: bool = True,
) -> str | bytes:
    """Draw a session as time: its states as bars, errors by category, checkpoints, and how many items were dealt with.

    Args:
        journal: As for `render_session`.
        spec: The machine that it ran on.
        format: "svg" or "png".
        theme: As for `render`.
        title: Heading; None leaves it out.
        started_at: When the session started, epoch seconds; None takes its first step.
        now: Until when its last state has lasted, epoch seconds; None takes its last step.
        alive: As for `render_session`.
        items: How many items were dealt with by `now`, where more is known than the journal says.
        begun: Whether anybody has begun the session; one that is only asked for has no step that says so.

    Raises:
        JournalRefused: The machine does not allow what the journal says.
        ConfigurationError: As for `render`; or the format is one of graphs, which know no time.
    """
    _check(spec)
    if format not in {"svg", "png"}:
        raise ConfigurationError(
            f"a timeline is drawn as svg or png, not as {format!r}; nothing was drawn"
        )
    rows = tuple(journal)
    path = Path.of(spec, rows, now=now, alive=alive)
    timeline = Timeline.of(spec, rows, started_at=started_at, now=now, items=items, begun=begun)
    chosen: Theme = "light" if format == "png" and theme == "auto" else theme
    said = ": ".join(text for text in (path.current, ", ".join(path.notes)) if text)
    said = said if begun or rows else f"{NOT_BEGUN}: it is only asked for"
    drawn = timeline_svg.draw(timeline, title=title or "", said=(said,), theme=chosen)
    return raster.png(drawn) if format == "png" else drawn


def _check(spec: object) -> None:
    """Refuse what is no machine of ours: one of `transitions` has other attributes, and says so in its own words."""
    if isinstance(spec, MachineSpec):
        return
    kind = type(spec)
    is_of_transitions = any(base.__module__.startswith("transitions.") for base in kind.__mro__)
    instead = (
        "A machine of the library transitions is drawn by that: make it a transitions.extensions.GraphMachine "
        "(HierarchicalGraphMachine for nested states)"
        if is_of_transitions
        else "Give it DEFAULT_SPEC, or what DEFAULT_SPEC.extend(...) or MachineSpec(...) made"
    )
    raise ConfigurationError(
        f"what is drawn is a MachineSpec, not a {kind.__name__}; nothing was drawn. {instead}"
    )


def _drawn(scene: Scene, wanted: Format, theme: Theme) -> str | bytes:
    match wanted:
        case "mermaid":
            return mermaid.draw(scene)
        case "dot":
            return dot.draw(scene)
        case "svg":
            return svg.draw(scene, theme=theme)
        case "png":
            return raster.png(svg.draw(scene, theme="light" if theme == "auto" else theme))
        case _:
            raise ConfigurationError(
                f"there is no format {wanted!r}; nothing was drawn. There are: {', '.join(FORMATS)}"
            )
