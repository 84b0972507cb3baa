"""Where exploration has been: worlds, how each was found, and from which an end can be reached.

Pure. Must not know: what happens in a world, what must hold there.
"""

from array import array
from collections.abc import Callable, Iterable

from .codes import NO_STORE, Code, Edge
from .shell import Shell
from .story import Moment, Story

__all__ = ["Atlas"]


class Atlas:
    """Worlds in the order in which they were found, how each was found, and the edges on which nothing new fails."""

    def __init__(self, shell: Shell) -> None:
        """Only the first world is known."""
        self.shell = shell
        self.codes: list[Code] = [shell.first]
        self._numbers: dict[Code, int] = {shell.first: 0}
        self._parents = array("q", [-1])
        self._whats: list[str] = [""]
        self.sources = array("q")
        self.targets = array("q")
        self.settings = array("B")
        self._heads = self._following = array("q")

    def note(self, source: int, edges: Iterable[Edge]) -> None:
        """What leads out of a world."""
        numbers, codes = self._numbers, self.codes
        for what, code, settings, _ in edges:
            target = numbers.get(code)
            if target is None:
                target = numbers[code] = len(codes)
                codes.append(code)
                self._parents.append(source)
                self._whats.append(what)
            if settings:
                self.sources.append(source)
                self.targets.append(target)
                self.settings.append(settings)

    def story(self, number: int, then: tuple[str, Code] | None = None) -> Story:
        """The way on which a world was found, and what happened then."""
        moments = [self._moment(*then)] if then is not None else []
        while number > 0:
            moments.append(self._moment(self._whats[number], self.codes[number]))
            number = self._parents[number]
        return Story(tuple(reversed(moments)))

    def _moment(self, what: str, code: Code) -> Moment:
        world = self.shell.world(code)
        state = str(world.session.state) if world.session is not None else None
        return Moment(what, state, sum(kept.is_settled for kept in world.durable.items))

    def stuck(self, setting: int) -> int | None:
        """The first world from which no end can be reached on edges of this setting; None if there is none."""
        heads, following = self._edges_into()
        ends = bytearray(map(self._ends(setting), self.codes))
        to_do = [number for number, is_end in enumerate(ends) if is_end]
        while to_do:
            edge = heads[to_do.pop()]
            while edge >= 0:
                source = self.sources[edge]
                if self.settings[edge] & setting and not ends[source]:
                    ends[source] = 1
                    to_do.append(source)
                edge = following[edge]
        found = ends.find(0)
        return None if found < 0 else found

    def _edges_into(self) -> "tuple[array[int], array[int]]":
        """For each world the last edge that leads into it, for each edge the one before it that does; -1 for none."""
        if len(self._following) != len(self.targets):
            heads = array("q", [-1]) * len(self.codes)
            following = array("q", [-1]) * len(self.targets)
            for edge, target in enumerate(self.targets):
                following[edge] = heads[target]
                heads[target] = edge
            self._heads, self._following = heads, following
        return self._heads, self._following

    def _ends(self, setting: int) -> Callable[[Code], bool]:
        shell = self.shell
        if (
            setting == NO_STORE
        ):  # nothing can be started without it: a process that is gone has ended
            return lambda code: shell.is_over(code) or shell.is_gone(code)
        return shell.is_over
