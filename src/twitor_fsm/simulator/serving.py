"""Serves a simulator until a signal ends it: what `twitor simulate` runs.

Must not know: what is printed.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from .simulator import Simulator

__all__ = ["run"]


def run(simulator: Simulator, port: int, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then stop and return; prints nothing.

    Args:
        simulator: What to serve.
        port: Port on 127.0.0.1; 0 takes a free one.
        on_ready: Called once with the base URL when requests are answered.

    Raises:
        ConfigurationError: An extra is missing, or the port is taken.
    """

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        signals = (signal.SIGINT, signal.SIGTERM)
        for name in signals:
            with suppress(NotImplementedError):  # no signal handlers in the loops of Windows
                loop.add_signal_handler(name, ended.set)
        try:
            async with simulator:
                if on_ready is not None:
                    on_ready(simulator.base_url)
                await ended.wait()
        finally:
            for name in signals:
                with suppress(NotImplementedError):
                    loop.remove_signal_handler(name)

    simulator.port = port
    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
