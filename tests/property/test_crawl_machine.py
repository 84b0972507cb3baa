"""The public state machine, on our own engine: any order of faults, work, waits, cancels and deaths."""

from hypothesis import HealthCheck, settings

from twitor_fsm.sources.base import Item, Source
from twitor_fsm.testing import CrawlMachine, ListSource
from twitor_fsm.testing.trial import Handler

FEW = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Crawls(CrawlMachine):
    def make_source(self) -> Source:
        return ListSource([f"{n * 7919 % 1009}" for n in range(1, 11)], size=4)


class CrawlsWithAHandler(Crawls):
    def make_handler(self) -> Handler:
        async def handler(item: Item, fence: int) -> str:
            return item.key

        return handler


TestCrawls = Crawls.TestCase
TestCrawls.settings = FEW
TestCrawlsWithAHandler = CrawlsWithAHandler.TestCase
TestCrawlsWithAHandler.settings = FEW
