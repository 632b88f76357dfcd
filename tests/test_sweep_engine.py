"""The engine under workers that die: everything else goes on, and nothing is blamed wrongly.

Imports nothing heavy, since every worker imports this module again.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path

from smdtheory.sweep import engine


def work(task: str) -> str:
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "raise":
        raise ValueError("no")
    if task.endswith(".once"):
        mark = Path(task)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if task == "threads":
        import torch

        return str(torch.get_num_threads())
    return task.upper()


def drive(tasks: list[str], workers: int) -> tuple[dict[str, str], dict[str, str]]:
    good, bad = {}, {}
    engine.run_tasks(
        tasks,
        work,
        workers,
        finished=lambda task, result: good.update({task: result}),
        failed=lambda task, error: bad.update({task: str(error)}),
    )
    return good, bad


def test_dying_and_raising_tasks_do_not_stop_the_others(tmp_path):
    once = str(tmp_path / "x.once")
    names = ["a", "die", "b", "raise", once, "c", "d"]
    good, bad = drive(names, 2)
    assert good == {name: name.upper() for name in ("a", "b", once, "c", "d")}
    assert bad == {"raise": "no", "die": "its process died, and died again when run alone"}


def test_a_worker_computes_with_one_thread():
    good, _ = drive(["threads"], 2)
    assert good == {"threads": "1"}


def test_in_this_process_threads_are_given_back():
    import torch

    before = torch.get_num_threads()
    assert drive(["a", "raise"], 1) == ({"a": "A"}, {"raise": "no"})
    assert torch.get_num_threads() == before


def test_no_more_is_in_flight_than_there_are_workers(monkeypatch):
    most = 0

    class Counting(engine._Here):
        def submit(self, fn, /, *args, **kwargs):
            nonlocal most
            future = super().submit(fn, *args, **kwargs)
            open_futures.append(future)
            most = max(most, len(open_futures) - len(told))
            return future

    @contextmanager
    def pool(size):
        yield Counting()

    open_futures, told = [], []
    engine.run_tasks(
        list("abcdefg"),
        work,
        3,
        finished=lambda task, result: told.append(task),
        failed=lambda task, error: None,
        open_pool=pool,
    )
    assert most == 3
    assert sorted(told) == list("abcdefg")
