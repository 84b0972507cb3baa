"""`twitor doctor`: what is wrong, and what to do about it."""

from typing import TYPE_CHECKING, Final

import attrs
import click

from ..options import common
from ..terminal import emit, tell
from ..words import as_called

if TYPE_CHECKING:
    from ..checkup import Check

SECTION = "Look"

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Check database, queue, token and network, each with its remedy.")
@common
@click.option("--api-url", metavar="URL", help="Another address of the API.")
@click.option("--offline", is_flag=True, help="Leave out the network.")
def command(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    api_url: str | None,
    offline: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Check settings, database, queue, token and network. No token is sent, nothing is changed or billed.

    Ends with 0 if nothing failed, else 1.
    """
    checks = _look(db, api_url, offline=offline)
    failed = sum(check.verdict == "fail" for check in checks)
    code = 1 if failed else 0
    if as_json:
        emit(
            {
                "ok": not failed,
                "exit_code": code,
                "checks": [
                    {**attrs.asdict(check), "verdict": check.verdict.value} for check in checks
                ],
            }
        )
        return code
    for check in checks:
        tell(
            f"{check.verdict.value:<5} {check.name:<18} {check.detail}",
            colour=_COLOURS[check.verdict.value],
        )
        if check.remedy:
            tell(f"{'':<25}-> {as_called(check.remedy, db)}")
    warned = sum(check.verdict == "warn" for check in checks)
    tell("", f"{len(checks)} checks: {failed} failed, {warned} to be looked at")
    return code


def _look(db: str | None, api_url: str | None, *, offline: bool) -> "list[Check]":
    from ..check_database import check_database
    from ..check_network import check_network
    from ..check_queue import check_queue
    from ..checkup import check_token, read_settings

    settings_check, settings = read_settings()
    if settings is None:
        return [settings_check, check_token()]
    checks = [
        settings_check,
        *check_database(db, settings),
        *check_queue(db, settings),
        check_token(settings),
    ]
    if not offline:
        checks += check_network(api_url if api_url is not None else settings.api_url)
    return checks
