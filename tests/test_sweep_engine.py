"""The engine under workers that die: everything else goes on, and nothing is blamed wrongly."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from pieces import Piece, work

from smdtheory.store.folder import Claim
from smdtheory.sweep import engine, pools, processes
from smdtheory.sweep.queue import NEARBY, Queue


def drive(names: list[str], opened, **options) -> tuple[dict[str, str], dict[str, str]]:
    good, bad = {}, {}
    with opened as pool:
        engine.run_tasks(
            map(Piece, names),
            work,
            pool,
            finished=lambda task, result: good.update({task.name: result}),
            failed=lambda task, error: bad.update({task.name: str(error)}),
            **options,
        )
    return good, bad


def test_dying_and_raising_tasks_do_not_stop_the_others(tmp_path):
    once = str(tmp_path / "x.once")
    names = ["a", "die", "b", "raise", once, "c", "d"]
    good, bad = drive(names, processes.processes(2))
    assert good == {name: name.upper() for name in ("a", "b", once, "c", "d")}
    died = f"its process died, and died again when run alone; {engine.CAUSE}"
    assert bad == {"raise": "no", "die": died}


def test_a_worker_computes_with_one_thread():
    good, _ = drive(["threads"], processes.processes(1))
    assert good == {"threads": "1"}


def test_workers_end_by_themselves_when_all_is_done():
    """Ended from outside they leave semaphores, of which Python warns when the program ends."""
    with processes.processes(2) as pool:
        started = []
        for executor in pool.workers().values():
            executor.submit(os.getpid).result()
            started += executor._processes.values()
    assert [process.exitcode for process in started] == [0, 0]


def test_in_this_process_threads_are_given_back():
    import torch

    before = torch.get_num_threads()
    good, bad = drive(["a", "raise", "pid"], processes.here())
    assert (good, bad) == ({"a": "A", "pid": str(os.getpid())}, {"raise": "no"})
    assert torch.get_num_threads() == before


@dataclass(frozen=True)
class Where:
    workers: int | None
    worker_count: int = 1
    cluster: str | None = None


@pytest.mark.parametrize(("workers", "inside"), [(1, True), (None, False)])
def test_only_one_process_that_was_asked_for_is_this_one(workers, inside):
    good, _ = drive(["pid"], pools.pool_of(Where(workers), 5))
    assert (good["pid"] == str(os.getpid())) is inside


class Fake:
    """Workers whose work ends when the test says so."""

    lost = (ZeroDivisionError,)

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.flying = {}
        self.most = 0
        self.broken = set()
        self.log = []
        self.ending = lambda task, worker, future: future.set_result(task.name)

    def workers(self):
        for worker, (task, future) in list(self.flying.items()):
            if worker in self.names:
                self.ending(task, worker, future)
            if future.done() or worker not in self.names:
                del self.flying[worker]
        return {name: self._executor(name) for name in self.names}

    def _executor(self, name):
        def submit(fn, task):
            if name in self.broken:
                raise engine.BrokenExecutor
            assert name not in self.flying
            future = engine.Future()
            self.flying[name] = task, future
            self.most = max(self.most, len(self.flying))
            self.log.append((name, task.name, len(self.flying)))
            return future

        return type("Executor", (), {"submit": staticmethod(submit)})()

    def bury(self, worker):
        self.flying.pop(worker, None)
        self.broken.discard(worker)


@contextmanager
def given(pool):
    yield pool


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(engine, "HEARTBEAT", 0.001)


def test_no_more_is_in_flight_than_there_are_workers(quick):
    pool = Fake("x", "y", "z")
    looks = Counter()

    def ending(task, worker, future):
        looks[task.name] += 1
        if looks[task.name] > 3:
            future.set_result(task.name)

    pool.ending = ending
    good, bad = drive(list("abcdefg"), given(pool))
    assert pool.most == 3
    assert sorted(good) == list("abcdefg")
    assert not bad


def test_what_was_lost_waits_for_the_rest_and_runs_alone(quick):
    pool = Fake("x", "y")
    lost = Counter()

    def ending(task, worker, future):
        if task.name == "b" or (task.name == "a" and not lost["a"]):
            lost[task.name] += 1
            future.set_exception(ZeroDivisionError())
        else:
            future.set_result(task.name)

    pool.ending = ending
    good, bad = drive(list("abcdef"), given(pool))
    assert sorted(good) == list("acdef")
    assert list(bad) == ["b"]
    assert lost == {"a": 1, "b": 2}
    again = [(task, flying) for _, task, flying in pool.log[6:]]
    assert again == [("a", 1), ("b", 1)]


def test_a_worker_that_goes_takes_its_work_along_and_one_that_comes_gets_some(quick):
    pool = Fake("x", "y")
    count = 0

    def ending(task, worker, future):
        nonlocal count
        count += 1
        if count == 3:
            pool.names = ["x", "new"]
        if worker != "y":
            future.set_result(task.name)

    pool.ending = ending
    good, bad = drive(list("abcdefgh"), given(pool))
    assert sorted(good) == list("abcdefgh")
    assert not bad
    (stuck,) = {task for name, task, _ in pool.log if name == "y"}
    assert [task for _, task, _ in pool.log][-1] == stuck
    assert "new" in {name for name, _, _ in pool.log}


def test_what_a_broken_connection_cancelled_begins_again_without_blame(quick):
    pool = Fake("x", "y")
    cut = []

    def ending(task, worker, future):
        if task.name in "ab" and cut.count(task.name) < 3:
            cut.append(task.name)
            future.cancel()
        else:
            future.set_result(task.name)

    pool.ending = ending
    good, bad = drive(list("abcd"), given(pool))
    assert sorted(good) == list("abcd")
    assert not bad
    assert sorted(cut) == list("aaabbb")


def test_a_worker_that_dies_idle_is_replaced_and_nobody_is_blamed(quick):
    pool = Fake("x")

    def ending(task, worker, future):
        if task.name == "b":
            pool.broken.add("x")  # found out when the next work is sent
        if task.name == "a" and [t for _, t, _ in pool.log].count("a") == 1:
            future.set_exception(ZeroDivisionError())
        else:
            future.set_result(task.name)

    pool.ending = ending
    good, bad = drive(list("ab"), given(pool))
    assert sorted(good) == ["a", "b"]
    assert not bad


def test_what_is_done_or_anothers_is_not_begun(quick):
    asked = Counter()

    def claim(task):
        asked[task.name] += 1
        if task.name == "done" or (task.name == "theirs" and asked["theirs"] > 3):
            return Claim.DONE
        return Claim.THEIRS if task.name == "theirs" else Claim.OURS

    good, bad = drive(["theirs", "done", "a", "b"], given(Fake("x")), claim=claim)
    assert sorted(good) == ["a", "b"]
    assert not bad
    assert asked == {"theirs": 4, "done": 1, "a": 1, "b": 1}


@pytest.mark.parametrize("how", ["broken", "cancelled"])
def test_a_training_that_begins_again_does_not_wait_for_itself(quick, tmp_path, monkeypatch, how):
    from smdtheory.sweep import SweepConfig, run
    from smdtheory.sweep.plan import make_plan

    class Flaky:
        lost = ()
        sent = looks = 0

        def workers(self):
            self.looks += 1
            assert self.looks < 100, "it waits for ever"
            return {"x": self}

        def bury(self, worker):
            pass

        def submit(self, work, task):
            self.sent += 1
            future = engine.Future()
            if self.sent > 1:
                future.set_exception(ValueError("no"))
            elif how == "broken":
                raise engine.BrokenExecutor
            else:
                future.cancel()
            return future

    pool = Flaky()
    monkeypatch.setattr(run, "pool_of", lambda where, tasks: given(pool))
    config = SweepConfig(modes=2, iterations=1, families="full", learned="gaussian_wide",
                         no_figure=True, out=tmp_path)  # fmt: skip
    plan = make_plan(config)
    assert plan.tasks[0].checkpoints is not None
    outcome = run.execute(plan, progress=False)
    assert sorted(outcome.failures) == sorted((cell.label, "ValueError: no") for cell in plan.cells)
    assert pool.sent == len(plan.cells) + 1


def test_the_longest_goes_first_and_no_much_shorter_one_before_it():
    queue = Queue([Piece(f"{cost}", cost) for cost in (1.0, 100.0, 7.0, 30.0)])
    queue.take("x")
    assert [queue.take("x").name for _ in range(3)] == ["30.0", "7.0", "1.0"]
    queue = Queue([Piece("long", NEARBY + 1, "a"), Piece("b", 1, "b"), Piece("b2", 1, "b")])
    queue.put_back([queue.take("y")])
    assert queue.take("x").name == "long"


def test_work_that_shares_goes_to_one_worker():
    queue = Queue([Piece(f"{k}{n}", 1 + 3 * (n == 0), k) for k in "abcd" for n in range(5)])
    taken = {worker: [] for worker in "xy"}
    while len(queue):
        for worker in "xy"[: len(queue)]:
            taken[worker].append(queue.take(worker).shares)
    assert {worker: set(shares) for worker, shares in taken.items()} in (
        {"x": {"a", "c"}, "y": {"b", "d"}},
    )
    queue = Queue([Piece("a1", 1, "a"), Piece("b", 1, "b"), Piece("a2", 1, "a")])
    assert [queue.take("x").name for _ in range(3)] == ["a1", "a2", "b"]
    queue = Queue([Piece(str(n), 1, "a") for n in range(4)])
    queue.take("x")
    assert queue.take("y").shares == "a"  # rather than nothing
    queue.forget("x")
    assert len(queue) == 2
    with pytest.raises(IndexError):
        [queue.take("x") for _ in range(3)]
