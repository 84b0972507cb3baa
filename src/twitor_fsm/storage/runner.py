"""Where transactions run: SQLite's on one thread of its own, any other database's through an async engine.

A transaction is a plain function `fn(connection, *args)`, or, where time counts, `fn(driver, *args)`; runners begin it, commit it, roll it back when it raises, and
translate what the database says. A caller that is cancelled does not stop a transaction: it ends as it would have.
Must not know: what the functions do.
"""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

from .driver import CoreDriver, Driver
from .failures import is_broken, root_of, translate
from .sqlite import SqliteFile

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["EngineRunner", "Runner", "ThreadRunner"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
Job = Callable[[], None]


class Runner(Protocol):
    """Runs functions of a connection as transactions."""

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a transaction that writes."""
        ...

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a transaction that only reads: it waits for no writer."""
        ...

    async def drive(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a transaction that writes through the driver itself."""
        ...

    async def look(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a transaction that only reads through the driver itself."""
        ...

    async def aclose(self) -> None:
        """Let the connection go."""
        ...


class ThreadRunner:
    """One thread, one connection that stays open, one job per transaction.

    The thread is a daemon: a process that forgets to close ends all the same, and SQLite rolls back what was open.
    A job costs two hops between loop and thread whatever it does; a connection that broke is opened anew by the next.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._jobs: SimpleQueue[Job | None]
        self._thread: threading.Thread | None = None
        self._connection: sa.Connection | None = None

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it between BEGIN IMMEDIATE and COMMIT."""
        return await self._submit(lambda: self._perform(self._file.writing, fn, *args, **kwargs))

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it between BEGIN and COMMIT: one snapshot, no lock."""
        return await self._submit(lambda: self._perform(self._file.reading, fn, *args, **kwargs))

    async def drive(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it between BEGIN IMMEDIATE and COMMIT."""
        return await self._submit(lambda: self._perform(self._file.driving, fn, *args, **kwargs))

    async def look(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it between BEGIN and COMMIT: one snapshot, no lock."""
        return await self._submit(lambda: self._perform(self._file.looking, fn, *args, **kwargs))

    async def outside(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run it outside of any transaction."""
        return await self._submit(lambda: fn(self._connected()))

    async def aclose(self) -> None:
        """Finish the job in flight, close the connection, end the thread."""
        if self._thread is None:
            return
        thread, jobs = self._thread, self._jobs
        answer = self._put(self._disconnect)
        jobs.put(None)
        self._thread = None
        await answer
        thread.join()  # it has nothing left to do

    def _put(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._thread is None:
            self._jobs = SimpleQueue()
            self._thread = threading.Thread(
                target=_serve, args=(self._jobs,), name="twitor-store", daemon=True
            )
            self._thread.start()
            weakref.finalize(self, self._jobs.put, None)  # a store that nobody closed
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._jobs.put(lambda: _answer(work, loop, answer))
        return answer

    async def _submit(self, work: Callable[[], T]) -> T:
        answer = self._put(work)
        try:
            return await answer
        except Exception as exc:
            translated = translate(exc)
            if translated is None:
                raise
            raise translated from root_of(exc)

    def _perform(
        self,
        transaction: Callable[[sa.Connection], AbstractContextManager[C]],
        fn: Callable[Concatenate[C, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection = self._connected()
        try:
            with transaction(connection) as given:
                return fn(given, *args, **kwargs)
        except Exception as exc:
            if is_broken(exc) or self._file.has_begun(connection):
                self._reconnect_later()
            raise

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._file.connect()
        return self._connection

    def _reconnect_later(self) -> None:
        if not self._file.is_memory:  # whose data lives in the connection
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._file.disconnect(connection)


def _serve(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds the runner, which may be dropped while we wait


def _answer(
    work: Callable[[], T], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T]
) -> None:
    """Run the work on this thread, tell its outcome to the loop that asked."""
    outcome: Callable[[], None]
    try:
        result = work()
    except BaseException as exc:  # noqa: BLE001 - raised again where it is awaited
        failure = exc

        def outcome() -> None:
            if not answer.done():
                answer.set_exception(failure)
    else:

        def outcome() -> None:
            if not answer.done():
                answer.set_result(result)

    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
        loop.call_soon_threadsafe(outcome)


def _as_written_for(engine: "AsyncEngine") -> "AsyncEngine":
    """The engine, with transactions that see what others commit meanwhile, whatever the database's default is.

    Ours are written for that: under SERIALIZABLE crawls of different users collide, and under REPEATABLE READ whoever
    forgets a user does not see the crawl that began meanwhile.
    """
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")


class EngineRunner:
    """An async engine: each transaction takes a connection of its pool."""

    def __init__(self, engine: "AsyncEngine", *, owned: bool) -> None:
        self._engine = _as_written_for(engine)
        self._owned = owned
        self._tasks: set[asyncio.Future[Any]] = set()

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it in a transaction; on SQLite one that takes the write lock at its begin."""
        return await self._shielded(self._run(lambda c: fn(c, *args, **kwargs), lock=True))

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it in a transaction."""
        return await self._shielded(self._run(lambda c: fn(c, *args, **kwargs), lock=False))

    async def drive(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`, for a function of a driver."""
        return await self.write(lambda c: fn(CoreDriver(c), *args, **kwargs))

    async def look(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, for a function of a driver."""
        return await self.read(lambda c: fn(CoreDriver(c), *args, **kwargs))

    async def aclose(self) -> None:
        """Let transactions finish; dispose of the engine unless it is the app's."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._owned:
            await self._engine.dispose()

    async def _run(self, fn: Callable[[sa.Connection], T], *, lock: bool) -> T:
        async with self._engine.connect() as connection, connection.begin():
            if lock and connection.dialect.name == "sqlite":
                await self._lock_sqlite(connection)
            return await connection.run_sync(fn)

    async def _lock_sqlite(self, connection: Any) -> None:
        """BEGIN IMMEDIATE, unless the app's engine begins by itself already."""
        driver = (await connection.get_raw_connection()).driver_connection
        if not driver.in_transaction:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def _shielded(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except Exception as exc:
            translated = translate(exc, remote=True)
            if translated is None:
                raise
            raise translated from root_of(exc)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if the caller was cancelled
