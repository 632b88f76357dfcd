"""Where work runs: the workers of a Dask scheduler that is there already.

Rules, each found by killing workers and schedulers:

- Each worker is an executor of its own, to which work is pinned: when it goes, the work is lost and
  not handed on to the next, so that a cell that kills workers kills two and not the cluster.
- A worker with several threads still does one cell at a time: generators of random numbers and
  caches of curves belong to the process.
- A worker that runs another version of this program is refused before anything is computed, and
  left out if it joins later.
- A worker that joins pushes out none that works.
- Futures do not survive a lost connection. If it comes back at once, the work begins anew; if not,
  the sweep stops, and what is finished is in the folder.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

from distributed import Client, rpc
from distributed.scheduler import KilledWorker
from distributed.security import Security

from smdtheory.command import keep_memory
from smdtheory.families import RECIPES_VERSION
from smdtheory.sweep.cells import NUMERICS_VERSION
from smdtheory.sweep.engine import HEARTBEAT
from smdtheory.sweep.processes import one_thread

CONNECT = 5.0
"""Seconds in which a scheduler must answer for the first time, or again."""

PATIENCE = 60.0
"""Seconds in which one that is connected must answer."""

START = (
    "Start one with 'dask scheduler', and workers with 'dask worker ADDRESS --nthreads 1'; its log "
    "says the address."
)

LOG = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()


class Cluster:
    """A pool of the workers of a scheduler.

    Args:
        client: connected to it.
        address: where it is, for messages.
        most: of its workers, how many to use; all if ``None``.
    """

    lost: tuple[type[BaseException], ...] = (KilledWorker,)

    def __init__(self, client: Client, address: str, most: int | None) -> None:
        self._client, self._address, self._most = client, address, most
        self._executors: dict[Hashable, Executor] = {}
        self._alike: dict[str, bool] = {}  # whether a worker has this version
        self._asked = -HEARTBEAT

    def workers(self) -> Mapping[Hashable, Executor]:
        """Those that were there half a second ago or less, by address.

        Raises:
            ConnectionError: if the scheduler is gone.
        """
        connected = self._client.status == "running"
        if connected and time.monotonic() - self._asked < HEARTBEAT:
            return self._executors
        there = self._ask()
        if not there and (self._executors or self._asked < 0):
            LOG.warning("no workers at %s; waiting for some", self._address)
        self._meet(there)
        self._executors = {a: worker for a, worker in self._executors.items() if a in there}
        room = None if self._most is None else self._most - len(self._executors)
        free = [a for a in there if a not in self._executors and self._alike.get(a)]
        self._executors |= {address: _Worker(self._client, address) for address in free[:room]}
        self._asked = time.monotonic()
        return self._executors

    def bury(self, worker: Hashable) -> None:
        """Look again who is there."""
        self._executors.pop(worker, None)
        self._asked = -HEARTBEAT

    def check(self) -> None:
        """Refuse workers that would compute something else.

        Raises:
            ConnectionError: if one has another version of this program, or none.
        """
        own = introduction()
        rule = f"every worker must have {own}"
        try:
            found = self._client.run(introduction)
        except ImportError as error:
            raise ConnectionError(f"{rule}; one says {error}. Install it there.") from error
        for address, theirs in found.items():
            if theirs != own:
                raise ConnectionError(f"{rule}; {address} has {theirs}. Install the same there.")
        self._alike = dict.fromkeys(found, True)

    def _meet(self, there: Collection[str]) -> None:
        """Find out who of those that are new has this version; the others are left out.

        Raises:
            ConnectionError: if the scheduler is gone.
        """
        self._alike = {address: alike for address, alike in self._alike.items() if address in there}
        new = [address for address in there if address not in self._alike]
        if not new:
            return
        own = introduction()
        with self._scheduler():
            found = self._client.run(introduction, workers=new, on_error="return")
        for address, theirs in found.items():
            if isinstance(theirs, str | ImportError):  # otherwise it is gone, or asked again
                self._alike[address] = theirs == own
                if theirs != own:
                    rule = f"every worker must have {own}; {address} has {theirs}"
                    LOG.warning("%s. It is left out; install the same there.", rule)

    def _ask(self) -> dict[str, int]:
        """Addresses of the workers, and their threads."""
        deadline = time.monotonic() + 2 * CONNECT
        while self._client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.1)
        with self._scheduler():
            if self._client.status != "running":
                raise ConnectionError("the connection is closed")
            found: dict[str, int] = self._client.sync(
                self._client.scheduler.ncores, callback_timeout=PATIENCE
            )
        return found

    @contextmanager
    def _scheduler(self) -> Iterator[None]:
        """Whatever a lost scheduler raises, as a ConnectionError."""
        try:
            yield
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ConnectionError(f"the scheduler at {self._address} is gone: {error}") from error


class _Worker(Executor):
    """One worker of the cluster."""

    def __init__(self, client: Client, address: str) -> None:
        self._executor = client.get_executor(pure=False, workers=[address])

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self._executor.submit(alone, fn, *args, **kwargs)
        return future


@contextmanager
def connected(address: str, most: int | None = None) -> Iterator[Cluster]:
    """The workers of the scheduler at ``address``.

    Args:
        address: as in ``tcp://10.0.0.1:8786``.
        most: of its workers, how many to use; all if absent.

    Raises:
        ConnectionError: if no scheduler answers, or a worker has another version of this program.
    """
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # what they would say of a lost scheduler, this program does
        logger.setLevel(logging.CRITICAL)
    try:
        try:
            with ThreadPoolExecutor(1) as thread:  # a notebook has a loop running in this one
                thread.submit(asyncio.run, greet(address)).result()
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except Exception as error:  # whatever answers there may say anything
            raise ConnectionError(
                f"cluster must be the address of a Dask scheduler; received {address}, which does "
                f"not answer ({type(error).__name__}). {START}"
            ) from error
        try:
            cluster = Cluster(client, address, most)
            cluster.check()
            yield cluster
        finally:
            with suppress(OSError, TimeoutError):
                client.close(timeout=CONNECT)  # the scheduler forgets what was in flight
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def greet(address: str) -> None:
    """Ask whether there is a scheduler; ``Client`` would wait for ever for one that is silent.

    Raises:
        TimeoutError: if it does not answer in :data:`CONNECT` seconds.
        Exception: if something else answers.
    """
    arguments = Security().get_connection_args("client")  # of TLS, where Dask is configured for it
    async with rpc(address, connection_args=arguments) as scheduler:
        await asyncio.wait_for(scheduler.identity(), CONNECT)


def introduction() -> str:
    """What a worker says of itself.

    Example:
        >>> introduction().startswith("smdtheory ")
        True
    """
    own = version("smdtheory")
    return f"smdtheory {own}, numerics {NUMERICS_VERSION}, recipes {RECIPES_VERSION}"


def alone(work: Callable[..., Any], *args: Any) -> Any:
    """Do a piece of work in a worker, and no other beside it.

    Example:
        >>> alone(max, 1, 2)
        2
    """
    keep_memory()
    with _ONE_AT_A_TIME, one_thread():
        return work(*args)
