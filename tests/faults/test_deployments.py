"""A driver that joins a running cluster and brings workers along that an engine runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import bndl
from bndl.cluster.host import WorkerHost
from bndl.deploy.engine import Engine
from bndl.deploy.joining import Joining
from bndl.errors import InvalidOption
from bndl.net.credentials import Credentials
from bndl.net.meeting import MeetingPoint
from bndl.net.session import Role

pytestmark = pytest.mark.slow

TIMEOUT = 30.0
LOOPBACK = ("tcp/127.0.0.1:0",)


class Here(Engine):
    """An engine whose only machine is this one."""

    def __init__(self) -> None:
        super().__init__(1)
        self._host: WorkerHost | None = None

    def find_address(self, *, is_safe: bool) -> str:  # noqa: ARG002 - there is no other machine
        return "127.0.0.1"

    def launch(self, joining: Joining) -> None:
        self._host = joining.run(1, "127.0.0.1")

    def end(self) -> None:
        if self._host is not None:
            self._host.stop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(Credentials.fresh().secret)
    return str(path)


def processes_of(ctx: bndl.Context) -> set[int]:
    """The processes that tasks are executed by, one for each worker."""
    assert ctx.await_workers(2, stable_timeout=TIMEOUT) == 2
    return {worker.execute(os.getpid).result(TIMEOUT) for worker in ctx.workers}


def test_it_joins_the_cluster_of_its_seeds(stack: ExitStack, secret_file: str) -> None:
    host = WorkerHost(1, bndl.Config(listen=LOOPBACK), Credentials(Path(secret_file).read_text()))
    stack.callback(host.stop)
    host.start()
    ctx = stack.enter_context(bndl.connect(seeds=host.addresses, secret_file=secret_file, deploy=Here()))
    assert len(processes_of(ctx)) == 2


def test_in_no_mesh_the_workers_know_the_routers(stack: ExitStack, secret_file: str) -> None:
    router = MeetingPoint(
        credentials=Credentials(Path(secret_file).read_text()),
        listen=LOOPBACK,
        seeds=(),
        lease=5.0,
        insecure_plaintext=False,
        cluster="default",
        on_joined=lambda _: None,
        role=Role.ROUTER,
    )
    stack.callback(router.close)
    seeds = router.start()
    ctx = stack.enter_context(bndl.connect(seeds=seeds, secret_file=secret_file, mesh=False, workers=1, deploy=Here()))
    assert len(processes_of(ctx)) == 2


def test_it_needs_the_secret_of_that_cluster() -> None:
    with pytest.raises(InvalidOption, match="joining a cluster takes its secret"):
        bndl.connect(seeds=["tcp/127.0.0.1:1"], deploy=Here())
