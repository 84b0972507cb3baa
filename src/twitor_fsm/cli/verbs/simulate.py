"""`twitor simulate`: a simulated X API on loopback, until a signal."""

from typing import Any

import click

from ..options import json_flag
from ..terminal import emit, say, table
from ..words import program

SECTION = "Try out"


@click.command(short_help="Serve a simulated X API on this machine.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port on 127.0.0.1; 0 takes a free one.  [default: 0]",
)
@click.option(
    "--bookmarks",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Bookmarks of each user.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Same seed, same posts, same faults."
)
@click.option(
    "--faults",
    default="none",
    show_default=True,
    metavar="PRESET|FILE",
    help="What goes wrong: none, typical, hostile, or a TOML file.",
)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=900.0,
    show_default=True,
    help="Length of a rate-limit window, seconds: above 0, at most a day.",
)
@click.option(
    "--users", type=click.IntRange(min=1), default=1, show_default=True, help="Number of users."
)
@json_flag
def command(port: int, **options: Any) -> int:
    """Serve a simulated X API on 127.0.0.1, with bookmarks, rate limits and planned faults.

    Ends with Ctrl-C. What it does is described in docs/simulator.md; GET /_sim/bookmarks names the
    true ids, GET /_sim/requests lists what was asked.
    """
    from ...simulator import Simulator, run

    as_json = options.pop("as_json")
    bookmarks, window_s = options.pop("bookmarks"), options.pop("window")
    simulator = Simulator(bookmarks, window_s=window_s, **options)

    def ready(base_url: str) -> None:
        if as_json:
            emit(
                {
                    "base_url": base_url,
                    "user_id": simulator.user_id,
                    "token": simulator.token,
                    "tokens": simulator.tokens,
                    "bookmarks": bookmarks,
                    "window_s": window_s,
                    **options,
                }
            )
        say(*_introduction(base_url, simulator.tokens, bookmarks))

    run(simulator, port, ready)
    say("the simulator has stopped")
    return 0


def _introduction(base_url: str, tokens: dict[str, str], bookmarks: int) -> list[str]:
    (user_id, token), *others = tokens.items()
    lines = [
        f"a simulated X API with {bookmarks:,} bookmarks serves at {base_url} (Ctrl-C ends it)",
        *table(
            [
                ("user id", user_id),
                ("token", f"{token}   (a fake one, good only here)"),
                *((f"user {other}", secret) for other, secret in others[:5]),
            ]
        ),
    ]
    if len(others) > 5:
        lines.append(f"  ... and {len(others) - 5} more users (--json lists them)")
    return [
        *lines,
        "try, in another terminal:",
        f"  X_BEARER_TOKEN={token} {program()} crawl --api-url {base_url} --db simulated.db",
    ]
