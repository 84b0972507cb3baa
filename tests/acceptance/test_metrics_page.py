"""docs/metrics.md: its table is the code, its example is a scrape, its code runs, its rules name metrics that exist."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from twitor_fsm import CrawlEngine, PrometheusMetrics, QueueManager, Settings
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.testing import ListSource, VirtualClock

PAGE: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics(CollectorRegistry())


async def scraped(metrics: PrometheusMetrics, url: str, name: str, db: str) -> str:
    """What the page's example tells of: a crawl with a server error and an item that cannot be used, and a queue."""
    ids = [str(n) for n in range(100)]
    source = ListSource(ids, script={2: SourceUnavailable("no route")}, bad={"50"})
    async with (
        CrawlEngine(db, settings=Settings(), clock=VirtualClock(), observers=[metrics]) as engine,
        QueueManager(url, name, settings=Settings()) as queue,
    ):
        metrics.watch(queue)
        await engine.crawl(source, user_id="42")
        await queue.enqueue_many([("x", {})] * 3)
        task = await queue.dequeue(timeout=0)
        assert task is not None
        await queue.reject(task)
        text, _ = await metrics.exposition()
    return text.decode().replace(f'"{name}"', '"twitor:tasks"')


async def test_the_example_is_a_scrape(
    metrics: PrometheusMetrics, names: Any, tmp_path: Path
) -> None:
    real = (await scraped(metrics, names.url, names.name, str(tmp_path / "b.db"))).splitlines()
    shown = block("text").splitlines()
    assert [line for line in shown if line not in real] == []
    assert [line for line in real if line in shown] == shown, "in the scrape's own order"
    named = {line.split("{")[0].split()[0] for line in shown}
    assert len(named) >= 12, "no metric of weight is left out"
    names.may_be_left |= names.left()


def families(metrics: PrometheusMetrics) -> dict[str, tuple[str, str]]:
    """Name as it is scraped -> type and labels."""
    found: dict[str, tuple[str, str]] = {}
    for collector in metrics.registry._collector_to_names:
        for family in collector.describe():  # type: ignore[attr-defined]
            labels = getattr(collector, "_labelnames", ("queue",))
            suffix = "_total" if family.type == "counter" else ""
            shown = ", ".join(f"`{label}`" for label in labels)
            found[f"{family.name}{suffix}"] = (family.type, shown)
    return found


def test_the_table_is_the_code(metrics: PrometheusMetrics) -> None:
    rows = re.findall(r"^\| `(twitor_\w+)` \| (\w+) \| (.*?) \| .+ \|$", PAGE, re.MULTILINE)
    assert {name: (kind, labels) for name, kind, labels in rows} == families(metrics)
    assert len(rows) == len(families(metrics))


def test_names_follow_the_conventions_of_prometheus(metrics: PrometheusMetrics) -> None:
    for name, (kind, _) in families(metrics).items():
        assert re.fullmatch(r"twitor_[a-z]+(_[a-z]+)*", name)
        assert (kind == "counter") == name.endswith("_total")
        assert not re.search(r"_(ms|minutes|hours|kb|percent)(_|$)", name), "base units only"


def test_the_rules_name_metrics_that_exist(metrics: PrometheusMetrics) -> None:
    rules = yaml.safe_load(block("yaml"))
    alerts = rules["groups"][0]["rules"]
    known = set(families(metrics)) | {"twitor_session_run_seconds_bucket"}
    for alert in alerts:
        assert set(alert) == {"alert", "expr", "for", "annotations"}
        used = set(re.findall(r"twitor_\w+", alert["expr"]))
        assert used, alert
        assert used <= known, alert
    assert len({alert["alert"] for alert in alerts}) == len(alerts) >= 6


async def test_the_code_of_the_page_runs(names: Any, tmp_path: Path) -> None:
    code = block("python")
    assert code.count("PrometheusMetrics()") == code.count('"bookmarks.db"') == 1
    code = code.replace("PrometheusMetrics()", "PrometheusMetrics(REGISTRY)")
    code = code.replace('"bookmarks.db"', repr(str(tmp_path / "b.db")))
    registry = CollectorRegistry()
    page: dict[str, Any] = {"REGISTRY": registry}
    exec(compile(code, "docs/metrics.md", "exec"), page)
    queue = QueueManager(names.url, names.name, settings=Settings())
    async with queue:
        await page["crawl"](ListSource(["1", "2"]), queue)
        text, _ = await page["metrics"].exposition()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert samples["twitor_items_total", "stored"] == 2
    assert samples["twitor_queue_up", names.name] == 1
