"""A fault plan says exactly what it means, and the same requests meet the same faults."""

import re
from pathlib import Path

import attrs
import pytest

from twitor_fsm.errors import ConfigurationError
from twitor_fsm.simulator import EarlyEnd, Fault, FaultKind, FaultPlan, ItemFault, ItemKind
from twitor_fsm.simulator.account import Account
from twitor_fsm.simulator.listing import Listing
from twitor_fsm.simulator.plan_files import PRESETS, parse_plan
from twitor_fsm.simulator.windows import Window

DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"


def account(user_id: str = "1") -> Account:
    return Account(
        user_id=user_id, place=0, listing=Listing(100), windows={"me": Window(75, 900)}, secret="s"
    )


def met(plan: FaultPlan, who: Account, ordinals: range, page: str = "token") -> list[str]:
    return [
        "+".join(fault.kind for fault in who.faults(plan, 7, "bookmarks", ordinal, page))
        for ordinal in ordinals
    ]


def test_the_example_of_the_docs_loads_and_says_what_it_shows(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "faults.toml"
    path.write_text(example[1], encoding="utf-8")

    plan = FaultPlan.load(path)

    assert plan.seed == 7
    assert plan.early_end == EarlyEnd(above=50, after_pages=3)
    assert Fault(kind="rate_limited", at=[4]) in plan.faults
    assert ItemFault(kind="tombstone", probability=0.01) in plan.items


def test_the_docs_name_every_kind_and_every_key() -> None:
    text = DOCS.read_text(encoding="utf-8")
    fields = {field.name for kind in (FaultPlan, EarlyEnd, Fault) for field in attrs.fields(kind)}
    for key in fields - {"faults", "items"}:
        assert re.search(rf"^{key} = |`{key}`", text, re.MULTILINE), key
    for kind in (*FaultKind, *ItemKind):
        assert f"| `{kind}` |" in text


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_loads_by_its_name(name: str) -> None:
    assert FaultPlan.load(name) == FaultPlan.preset(name)


def test_only_the_preset_none_is_empty() -> None:
    assert FaultPlan.preset("none") == FaultPlan()
    assert FaultPlan.preset("typical").faults
    assert FaultPlan.preset("hostile").faults


def test_typical_holds_what_it_promises() -> None:
    plan = FaultPlan.preset("typical")

    assert plan.early_end is not None
    assert plan.early_end.above == 90
    kinds = {fault.kind for fault in plan.faults}
    assert {FaultKind.SERVER_ERROR, FaultKind.RATE_LIMITED} <= kinds
    assert {item.kind for item in plan.items} >= {ItemKind.TOMBSTONE, ItemKind.MISSING_ID}


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("seeed = 1", ["'seeed'", "clock_skew_s"]),
        ("seed = 'x'", ["seed = 'x'", "whole number"]),
        ("seed = true", ["seed = True"]),
        ("vocabulary = 'latin'", ["'latin'", "both, old, new"]),
        ("[early_end]\nabov = 50", ["early_end", "'abov'", "above, after_pages"]),
        ("[early_end]\nabove = 101", ["above = 101", "from 0 to 100"]),
        ("early_end = 3", ["[early_end]"]),
        ("[fault]\nkind = 'slow'", ["[[fault]]"]),
        ("[[fault]]\nat = [1]", ["fault 1", "'kind' is missing"]),
        ("[[fault]]\nkind = 'rain'\nat = [1]", ["'rain'", "server_error", "rebookmark"]),
        ("[[fault]]\nkind = 'slow'", ["fault 1", "never happens", "probability"]),
        ("[[fault]]\nkind = 'slow'\nat = [0]", ["at = (0,)", "from 1 on"]),
        ("[[fault]]\nkind = 'slow'\nat = 3", ["at = 3", "list"]),
        ("[[fault]]\nkind = 'slow'\nprobabilty = 0.5", ["'probabilty'", "probability"]),
        ("[[fault]]\nkind = 'slow'\nprobability = 1.5", ["1.5", "from 0 to 1"]),
        ("[[fault]]\nkind = 'slow'\nat = [1]\nstatus = 503", ["'status'", "seconds"]),
        ("[[fault]]\nkind = 'slow'\nat = [1]\n[[fault]]\nkind = 'slow'", ["fault 2"]),
        ("[[fault]]\nkind = 'server_error'\nat = [1]\nstatus = 404", ["404", "500, 502, 503, 504"]),
        ("[[fault]]\nkind = 'slow'\nat = [1]\ntimes = 0", ["times = 0"]),
        ("[[item]]\nkind = 'gone'", ["item 1", "'gone'", "tombstone"]),
        ("[[item]]\nkind = 'tombstone'\ntimes = 1", ["'times'", "kind, at, probability"]),
        ("seed = ", ["not valid TOML"]),
    ],
)
def test_a_wrong_plan_is_refused_naming_the_key(toml: str, named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_plan(toml, "faults.toml")

    for part in ["faults.toml", *named]:
        assert part in str(refused.value)


def test_a_file_that_is_not_there_is_refused_naming_the_presets() -> None:
    with pytest.raises(ConfigurationError, match=r"'tipical'.*none, typical, hostile"):
        FaultPlan.load("tipical")


def test_a_plan_written_in_python_is_checked_too() -> None:
    with pytest.raises(ConfigurationError, match=r"probability = 2"):
        Fault(kind="slow", probability=2)


def test_an_ordinal_of_the_list_meets_the_fault_and_no_other_does() -> None:
    plan = FaultPlan(faults=[Fault(kind="server_error", at=[2, 4])])

    assert met(plan, account(), range(1, 6)) == ["", "server_error", "", "server_error", ""]


def test_times_ends_a_fault() -> None:
    plan = FaultPlan(faults=[Fault(kind="short_page", probability=1, times=2)])

    assert met(plan, account(), range(1, 5)) == ["short_page", "short_page", "", ""]


def test_draws_depend_on_user_and_ordinal_alone() -> None:
    plan = FaultPlan(faults=[Fault(kind="short_page", probability=0.3)])
    straight = met(plan, account(), range(1, 200))
    who = account()
    backwards = [met(plan, who, range(n, n + 1))[0] for n in range(199, 0, -1)]

    assert straight == backwards[::-1]
    assert straight != met(plan, account("2"), range(1, 200))
    assert 0.2 < straight.count("short_page") / len(straight) < 0.4


def test_drawn_network_faults_of_one_page_end_in_time_for_a_client_that_asks_five_times() -> None:
    plan = FaultPlan(faults=[Fault(kind="server_error", probability=1)], max_in_a_row=4)

    assert (
        met(plan, account(), range(1, 8), "a") == ["server_error"] * 4 + [""] + ["server_error"] * 2
    )


def test_a_refusal_in_between_does_not_start_the_count_of_network_faults_again() -> None:
    plan = FaultPlan(
        faults=[
            Fault(kind="rate_limited", at=[3]),
            Fault(kind="server_error", probability=1),
        ]
    )

    assert met(plan, account(), range(1, 7), "a")[2:] == [
        "rate_limited",
        "server_error",
        "server_error",
        "",
    ]


def test_a_fault_of_the_page_token_waits_for_a_request_that_has_one() -> None:
    plan = FaultPlan(faults=[Fault(kind="cursor_refused", probability=1, times=1)])
    who = account()

    assert met(plan, who, range(1, 2), page="") == [""]
    assert met(plan, who, range(2, 3), page="token") == ["cursor_refused"]


def test_the_listing_may_change_beside_another_fault() -> None:
    plan = FaultPlan(faults=[Fault(kind="insert", at=[1]), Fault(kind="server_error", at=[1])])

    assert met(plan, account(), range(1, 2)) == ["insert+server_error"]


def test_a_drawn_early_end_does_not_meet_the_same_page_twice_in_a_row() -> None:
    plan = FaultPlan(faults=[Fault(kind="early_end", probability=1)])

    assert met(plan, account(), range(1, 3), "a") == ["early_end", ""]
