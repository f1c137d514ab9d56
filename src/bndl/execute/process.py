"""A worker process on this machine. It is started by ``cluster.supervisor``, with ``BOOT`` as its program.

On standard input come a line of JSON with where to look for modules, of which bndl is one, and a line of JSON with its
settings, so that the secret is in no argument list and no environment.
The pipe stays open as long as the process that started it lives: its end is the order to stop. A process that is killed
says no more, so on Linux the kernel is asked to kill this one with it, whatever its threads are doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import select
import signal
import sys
import threading
from secrets import token_hex

import msgspec

from bndl import _version
from bndl.config import Config
from bndl.errors import ClusterError
from bndl.execute import shared
from bndl.execute.blackbox import BlackBox
from bndl.execute.capture import Capture
from bndl.execute.current import note_worker
from bndl.execute.memory import limit_memory, share_for_results
from bndl.execute.parts import ThreadParts
from bndl.execute.search_path import take_over
from bndl.execute.store import Store
from bndl.execute.worker import Worker
from bndl.exits import leave
from bndl.limits import check_node
from bndl.logs import flush, get_logger
from bndl.net.credentials import Credentials
from bndl.net.greetings import hash_text
from bndl.net.messages import NodeInfo
from bndl.net.names import NodeName, digest_of, is_worker, machine_name
from bndl.net.peers import own_versions
from bndl.net.session import Role
from bndl.net.zenoh import ZenohFabric
from bndl.waits import capped

__all__ = ["BOOT", "DRAIN", "WorkerSettings", "compare_views", "main"]

logger = get_logger(__name__)

#: The program of the process. SIGINT ends it like SIGTERM does, and not with a traceback of ours. The first line of
#: input is read without a buffer, so that what follows it is left to ``main``.
BOOT = """\
import _signal
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
import json, sys
with open(0, "rb", 0, closefd=False) as lines:
    line = lines.readline()
if line:
    sys.path[:] = json.loads(line)
    from bndl.execute.process import main
    main()
"""
#: What is written to the lifeline of a worker for it to finish what it runs, and end.
DRAIN = b"d"

_PR_SET_PDEATHSIG = 1

#: The worker that this process is, if it is one.
_workers: list[Worker] = []


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker process is told when it starts.

    Attributes:
        cluster: the name of the cluster.
        credentials: what it takes to be let into it.
        seeds: addresses of nodes that are in it.
        listen: where to listen.
        context: number of the context that started it.
        index: which of its workers this is.
        concurrency: how many tasks to execute at the same time.
        parent: the process that started it.
        path: where that process looks for modules.
        config: settings.
        box: the open file of its black box; -1 for none.
        is_shared: whether it belongs to no driver. It is told to drain before it is told to stop then.
        role: how it takes part in the network.
        hash_seed: what its hashes of text depend on; empty for what the environment says, or the secret.
    """

    cluster: str
    credentials: Credentials
    seeds: tuple[str, ...]
    listen: tuple[str, ...]
    context: int
    index: int
    concurrency: int
    parent: int
    path: tuple[str, ...]
    config: Config
    box: int = -1
    is_shared: bool = False
    role: Role = Role.PEER
    hash_seed: str = ""


def compare_views(driver: str, digest: str, *, in_full: bool) -> list[str] | None:
    """Whether the worker of this process sees the workers that a driver sees, and that driver. For calls from it.

    Args:
        driver: its name.
        digest: of the names of all of them, with both.
        in_full: whether to tell the names if they are not the same. They are many in a large cluster.

    Returns:
        None if it does. Otherwise the names that it sees.
    """
    names = [worker.name for worker in _workers]
    names += [name for worker in _workers for name in worker.peers.seen if name == driver or is_worker(name)]
    if digest_of(names) == digest:
        return None
    return names if in_full else []


def _tie_to_parent(parent: int) -> None:
    """Have this process killed when the one that started it is."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)


def _open_box(settings: WorkerSettings, capture: Capture) -> BlackBox | None:
    """The black box that was handed down; without one, stacks go to standard error."""
    if settings.box < 0:
        faulthandler.enable(capture.file)
        return None
    os.set_inheritable(settings.box, False)  # noqa: FBT003 - it is for this process, and not for what tasks start
    driver = str(NodeName(machine_name(), "driver", settings.parent, settings.context, 0))
    box = BlackBox(settings.box, settings.concurrency, driver)
    box.catch_stacks()
    return box


def make_worker(settings: WorkerSettings, parts: ThreadParts) -> tuple[Worker, ZenohFabric]:
    """A worker on the Zenoh fabric, not started."""
    name = str(NodeName(machine_name(), "worker", os.getpid(), settings.context, settings.index))
    fabric = ZenohFabric(
        name,
        settings.cluster,
        credentials=settings.credentials,
        listen=settings.listen,
        seeds=settings.seeds,
        lease=settings.config.lease,
        rejoin_timeout=settings.config.rejoin_timeout,
        insecure_plaintext=settings.config.insecure_plaintext,
        role=settings.role,
    )
    store = Store(share_for_results(settings.config.memory_limit, settings.config.store_bytes))
    versions = own_versions(_version.__version__)
    info = NodeInfo(name, "worker", token_hex(8), versions, settings.concurrency, text_hash=hash_text())
    worker = Worker(fabric, info, parts, settings.config, store)
    shared.provide(name, worker.fetch_shared)
    return worker, fabric


def _wait_for_end(lifeline: int, worker: Worker) -> None:
    """Wait until whoever started this process tells it to stop, or is gone; or until a drained worker may leave."""
    reader, writer = os.pipe()
    while True:
        ready, _, _ = select.select([lifeline, reader], [], [])
        order = os.read(lifeline, 1) if lifeline in ready else b""
        if not order:
            return
        if order == DRAIN:
            worker.leave.begin(lambda: os.write(writer, DRAIN))


def main() -> None:
    """Run a worker until standard input ends."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:  # what comes after it is orders
        line = unbuffered.readline()
    if not line:
        return
    settings = msgspec.json.decode(line, type=WorkerSettings)
    _tie_to_parent(settings.parent)
    capture = Capture()
    try:
        check_node()
    except ClusterError as error:  # the supervisor passes it on; where it was raised says nothing
        capture.write_through(f"{error}\n")
        sys.exit(1)
    box = _open_box(settings, capture)
    capture.install()
    take_over(settings.path)
    parts = ThreadParts(capture, box, settings.config.stop_timeout)
    worker, fabric = make_worker(settings, parts)
    parts.close = fabric.close
    lifeline = os.dup(sys.stdin.fileno())
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device; tasks that read standard input get its end
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    _workers.append(worker)
    note_worker(worker.name)
    parts.start()
    worker.peers.start()
    if settings.config.memory_limit and not limit_memory(settings.config.memory_limit):
        logger.warning("the memory of a worker cannot be limited on this system, so memory_limit has no effect")
    # Who stops a service often tells all of its processes. Only the one that started us knows what to do. Not SIG_IGN,
    # which the processes that tasks start would inherit.
    for number in (signal.SIGINT, signal.SIGTERM) if settings.is_shared else ():
        signal.signal(number, lambda *_: None)
    args = (lifeline, worker, fabric, settings.config.stop_timeout)
    threading.Thread(target=_end_in_time, args=args, name="bndl-lifeline", daemon=True).start()
    parts.run_slot()


def _end_in_time(lifeline: int, worker: Worker, fabric: ZenohFabric, timeout: float) -> None:
    """Wait for the order to end, and end the process, whatever its tasks are doing."""
    try:
        _wait_for_end(lifeline, worker)
        # Tasks that are still running must not keep the process from ending.
        watchdog = threading.Timer(capped(timeout), os._exit, (1,))
        watchdog.daemon = True
        with contextlib.suppress(RuntimeError):  # no room for a thread: who started this process kills it in time
            watchdog.start()
        fabric.close()
        flush(timeout)
        leave(0)  # tasks may still run, and a thread that the interpreter ends in native code aborts the process
    finally:
        os._exit(1)
