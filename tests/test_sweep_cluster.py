"""A sweep on a real Dask cluster: a scheduler and two workers, processes of this machine."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from chaos import Cluster, children, disturb, intact, kill, marks, small_cells, started
from pieces import Piece, work

pytestmark = pytest.mark.timeout(900)

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        made = Cluster(2)
    yield made
    made.close()


def test_dying_and_raising_work_does_not_stop_the_rest_and_kills_two_workers(cluster):
    from smdtheory.sweep.cluster import connected
    from smdtheory.sweep.engine import CAUSE, run_tasks

    before = set(cluster.pids())
    good, bad, seen = {}, {}, set(before)
    with connected(cluster.address) as pool:
        run_tasks(
            [Piece(name) for name in ("a", "die", "b", "raise", "c", "d")],
            work,
            pool,
            finished=lambda task, result: good.update({task.name: result}),
            failed=lambda task, error: bad.update({task.name: f"{type(error).__name__}: {error}"}),
            tick=lambda: seen.update(cluster.pids()),
        )
    assert good == {name: name.upper() for name in "abcd"}
    assert bad == {
        "raise": "ValueError: no",
        "die": f"LostError: its process died, and died again when run alone; {CAUSE}",
    }
    assert not before <= set(cluster.pids())
    assert len(seen | set(cluster.pids())) <= len(before) + 2


def run(cluster: Cluster, out: Path, kills: int, count: int) -> None:
    command = [*small_cells(count, out), "--cluster", cluster.address]
    seen = disturb(command, out, count, lambda process: cluster.pids(), kills)
    found = intact(out, count, seen)
    pids = [children(process.pid) for process in cluster.nannies]
    assert all(pids), "a nanny has no worker"
    assert {row["host"].split()[0] for row in found.rows.values()} == {os.uname().sysname}


def test_cells_survive_killed_workers(cluster, tmp_path):
    run(cluster, tmp_path / "out", kills=2, count=40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_cells_survive_twenty_killed_workers(cluster, tmp_path):
    run(cluster, tmp_path / "out", kills=20, count=1000)


def test_a_lost_scheduler_stops_the_sweep_and_what_is_finished_is_kept(tmp_path):
    out, own = tmp_path / "out", Cluster(1)
    try:
        command = [*small_cells(400, out), "--cluster", own.address]
        with started(command) as process:
            while len(marks(out)) < 3 and process.poll() is None:
                time.sleep(0.02)
            kill(own.scheduler.pid)
            assert process.wait(timeout=120) == 1
            said = "".join(process.said)
    finally:
        own.close()
    kept = len(marks(out))
    assert 3 <= kept < 400
    assert f"error: the scheduler at {own.address} is gone" in said
    assert f"{kept} of 400 rows are finished and kept in {out}; the same command goes on" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("listening", [False, True])
def test_a_wrong_address_fails_in_seconds(tmp_path, listening):
    from smdtheory.sweep.cluster import CONNECT, connected

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listening:  # to something that is no scheduler, and never answers
            other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        begin = time.monotonic()
        said = f"received {address}, which does not answer"
        with pytest.raises(ConnectionError, match=said), connected(address):
            pass
        assert time.monotonic() - begin < 4 * CONNECT


def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    from smdtheory.sweep import cluster as module

    own = module.introduction()
    monkeypatch.setattr(module, "NUMERICS_VERSION", 99)
    said = f"numerics 99.*tcp://.* has {own}. Install the same"
    with pytest.raises(ConnectionError, match=said), module.connected(cluster.address):
        pass


class Scheduler:
    """A client of a scheduler whose workers come as the test says, and what each says of itself."""

    status = "running"

    def __init__(self, **workers):
        self.there, self.scheduler = workers, self

    def ncores(self):
        return dict.fromkeys(sorted(self.there), 1)

    def sync(self, ask, **options):
        return ask()

    def run(self, ask, workers=None, on_error="raise"):
        return {name: self.there[name] for name in workers or self.there}

    def get_executor(self, **options):
        return object()


def joined(monkeypatch, client, most):
    from smdtheory.sweep import cluster as module

    monkeypatch.setattr(module, "HEARTBEAT", 0.0)
    pool = module.Cluster(client, "tcp://there", most)
    pool.check()
    return pool


def test_a_worker_that_joins_pushes_out_none_that_works(monkeypatch):
    from smdtheory.sweep.cluster import introduction

    client = Scheduler(b=introduction(), d=introduction())
    pool = joined(monkeypatch, client, 2)
    before = dict(pool.workers())
    assert list(before) == ["b", "d"]
    client.there |= dict.fromkeys("ac", introduction())
    assert pool.workers() == before
    del client.there["b"]
    assert pool.workers() == {"d": before["d"], "a": pool.workers()["a"]}


@pytest.mark.parametrize("says", ["smdtheory 0", ImportError("no smdtheory")])
def test_a_worker_of_another_version_that_joins_later_is_left_out(monkeypatch, caplog, says):
    from smdtheory.sweep.cluster import introduction

    client = Scheduler(d=introduction())
    pool = joined(monkeypatch, client, 2)
    assert list(pool.workers()) == ["d"]
    client.there |= {"a": says, "b": OSError("gone"), "c": introduction()}
    for _ in range(3):
        found = pool.workers()
    assert list(found) == ["d", "c"]
    (said,) = caplog.messages
    assert f"every worker must have {introduction()}; a has {says}" in said
    client.there["b"] = introduction()  # it was only slow to answer
    del client.there["c"]
    assert list(pool.workers()) == ["d", "b"]
