"""The source document's section "Workers / cluster", as printed: only numbers and host names may differ."""

from __future__ import annotations

import doctest
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import bndl
from bndl.errors import NoWorkers, TooFewWorkers

pytestmark = pytest.mark.slow

TRANSCRIPT = """
   >>> ctx.worker_count
   4

   >>> ctx.await_workers()
   4

   >>> ctx.workers
   [<Peer: localdomain.localhost.worker.29235.0.1>, <Peer: localdomain.localhost.worker.29235.0.3>, <Peer: localdomain.localhost.worker.29235.0.2>, <Peer: localdomain.localhost.worker.29235.0.0>]
"""  # noqa: E501 - as printed

#: A host's name, which may have any number of labels; a process; the first counter.
NAME = re.compile(r"<Peer: ([\w-]+\.)+worker\.\d+\.\d+\.(\d+)>")


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=4, progress=False) as context:
        assert context.await_workers(4) == 4
        yield context


class _Checker(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(self._plain(want), self._plain(got), optionflags)

    def _plain(self, text: str) -> str:
        """The text with the peers in the order of their counters, without what may differ."""
        peers = sorted(f"<Peer: host.worker.1.0.{match[2]}>" for match in NAME.finditer(text))
        return f"[{', '.join(peers)}]\n" if peers else text


def test_the_transcript(ctx: bndl.Context) -> None:
    test = doctest.DocTestParser().get_doctest(TRANSCRIPT, {"ctx": ctx}, "workers", None, 0)
    assert len(test.examples) == 3
    failures: list[str] = []
    results = doctest.DocTestRunner(_Checker(), verbose=False).run(test, out=failures.append)
    assert results.failed == 0, "".join(failures)


def test_workers_are_peers(ctx: bndl.Context) -> None:
    workers = ctx.workers
    assert ctx.worker_count == len(workers) == 4
    for worker in workers:
        machine, node_type, pid, *counters = worker.name.rsplit(".", 4)
        assert isinstance(worker, bndl.Peer)
        assert repr(worker) == f"<Peer: {worker.name}>"
        assert (worker.machine, worker.node_type, worker.pid) == (machine, node_type, int(pid))
        assert node_type == "worker"
        assert all(counter.isdigit() for counter in counters)
        assert worker.addresses
        assert all(address.startswith("tcp/127.0.0.1:") for address in worker.addresses)
        assert worker.is_connected
        assert datetime.now(UTC) - worker.connected_on < timedelta(minutes=1)
    assert len({worker.name for worker in workers}) == len({worker.pid for worker in workers}) == 4


def test_a_peer_executes(ctx: bndl.Context) -> None:
    def add(x: int, *, y: int) -> tuple[int, int]:
        import os  # noqa: PLC0415 - on the worker

        return x + y, os.getpid()

    assert [worker.execute(add, 1, y=2).result(30) for worker in ctx.workers] == [(3, w.pid) for w in ctx.workers]


def test_a_peer_that_raises(ctx: bndl.Context) -> None:
    with pytest.raises(bndl.errors.TaskFailed) as caught:
        ctx.workers[0].execute(divmod, 1, 0).result(30)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_count_that_is_there_is_returned_at_once(ctx: bndl.Context) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ctx.await_workers(2, connect_timeout=0.0, stable_timeout=0.0) == 4
        assert ctx.await_workers(connect_timeout=5.0, stable_timeout=60.0) == 4


def test_a_count_that_does_not_come(ctx: bndl.Context) -> None:
    with pytest.raises(TooFewWorkers) as caught:
        ctx.await_workers(5, connect_timeout=0.1, stable_timeout=0.1)
    assert caught.value.wanted == 5
    assert sorted(caught.value.workers) == sorted(worker.name for worker in ctx.workers)
    assert all(worker.name in str(caught.value) for worker in ctx.workers)


def test_nobody_connects() -> None:
    with bndl.connect(workers=0, progress=False) as context:
        assert context.worker_count == 0
        assert context.workers == []
        with pytest.raises(NoWorkers):
            context.await_workers(connect_timeout=0.1)
