"""What a cluster of many local workers costs: the time until it is stable, next to bare Python processes, and idling.

A cluster is formed when ``await_workers()`` is back: all workers are there, and all see each other. Next to that stands
the time until as many bare processes have imported what a worker imports. They are started as the supervisor starts
workers: one after the other from one thread, by the same command with the same flags and environment, with pipes to
standard input and from standard error, in groups of their own; and they import the modules that a running worker has,
which is asked for its ``sys.modules``. Each says by one byte that it is there. The two take turns in one run. bndl is
compiled before that, as it is where it was installed.

When idle, nothing but keep-alives and the timers of the workers is left. Bytes and packets are those of the loopback
interface, with all headers; if this process may, it has a network of its own, where nobody else is counted. CPU is for
how long the kernel says that the threads were executed.
"""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table
from spread import spread
from startup import time_start

import bndl
from bndl.cluster.search_path import read_search_path
from bndl.cluster.threads import limit_threads, share_of_cores

_TIMEOUT = 120.0
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

#: The program of a bare process: as that of a worker, but it imports only. Told on the lines: where to look, and what.
BARE = """\
import json, sys
with open(0, "rb", 0, closefd=False) as lines:
    sys.path[:] = json.loads(lines.readline())
    import contextlib, importlib
    for name in json.loads(lines.readline()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.stderr.write("x")
    sys.stderr.flush()
    lines.read()
"""


# Starting


def list_modules() -> list[str]:
    """The modules of this process, those that were imported first in front."""
    return [name for name in sys.modules if name != "__main__"]


def start_bare(modules: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start one bare process."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001 - as for workers
    process = subprocess.Popen(
        [sys.executable, *flags, "-P", "-c", BARE],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        process_group=0,
    )
    assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
    process.stdin.write(f"{json.dumps(read_search_path())}\n{json.dumps(modules)}\n".encode())
    return process


def time_bare(count: int, modules: list[str]) -> float:
    """Seconds until so many processes have imported these modules."""
    start = time.perf_counter()
    environment = limit_threads(os.environ, share_of_cores(count))
    with selectors.DefaultSelector() as selector:
        processes = [start_bare(modules, environment) for _ in range(count)]
        for process in processes:
            assert process.stderr is not None  # noqa: S101 - for mypy: it is a pipe
            selector.register(process.stderr, selectors.EVENT_READ, process)
        while selector.get_map():
            ready = selector.select(_TIMEOUT)
            if not ready:
                raise SystemExit(f"a process did not import within {_TIMEOUT:g} s")
            for key, _ in ready:
                said = os.read(key.fd, 1 << 16)
                if said != b"x":
                    raise SystemExit(f"a process failed: {said.decode()}")
                selector.unregister(key.fileobj)
    seconds = time.perf_counter() - start
    for process in processes:
        process.communicate(timeout=_TIMEOUT)
    return seconds


# Idling


def have_own_network() -> bool:
    """Leave for a network where only this process and its children are. For root; returns whether that worked."""
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) == 0:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            return True
    return False


def read_loopback() -> tuple[int, int]:
    """The bytes and packets that were sent on the loopback interface since it is there."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            received = figures.split()
            return int(received[0]), int(received[1])
    raise SystemExit("there is no loopback interface")


def read_cpu(pid: int) -> float:
    """Seconds for which the threads of a process were executed."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def measure_idle(ctx: bndl.Context, seconds: float) -> tuple[list[str], list[list[str]]]:
    """What idling costs: headings and rows."""
    pids = [worker.pid for worker in ctx.workers]
    time.sleep(seconds / 2)  # what was under way comes to rest
    sent, driver, workers = read_loopback(), read_cpu(os.getpid()), [read_cpu(pid) for pid in pids]
    start = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - start
    sent_later, driver_later, workers_later = read_loopback(), read_cpu(os.getpid()), [read_cpu(pid) for pid in pids]
    each = [(after - before) / took for before, after in zip(workers, workers_later, strict=True)]
    memory = [psutil.Process(pid).memory_full_info().uss / (1 << 20) for pid in pids]
    return ["idle", "measured"], [
        ["bytes/s on the loopback interface", f"{(sent_later[0] - sent[0]) / took:,.0f}"],
        ["packets/s on the loopback interface", f"{(sent_later[1] - sent[1]) / took:,.0f}"],
        ["CPU of the driver", f"{(driver_later - driver) / took:.2%} of a core"],
        ["CPU of all workers together", f"{sum(each):.1%} of a core"],
        ["CPU of one worker: median (least to greatest)", spread(each, ".2%")],
        ["memory of one worker that it shares with nobody, MiB", spread(memory, ".1f")],
        ["threads of one worker", spread([float(psutil.Process(pid).num_threads()) for pid in pids], ".0f")],
    ]


# Together


def main(
    workers: Annotated[int, typer.Option(help="How many worker processes there are.")] = 50,
    rounds: Annotated[int, typer.Option(help="How often the cluster is formed, in turns with bare processes.")] = 5,
    seconds: Annotated[float, typer.Option(help="For how long it is idle while that is measured.")] = 10.0,
) -> None:
    """Measure and print tables."""
    alone = have_own_network()
    compileall.compile_dir(Path(bndl.__file__).parent, quiet=2)
    with bndl.connect(workers=workers, progress=False) as ctx:
        ctx.await_workers()
        headings, rows = measure_idle(ctx, seconds)
        modules = ctx.workers[0].execute(list_modules).result(timeout=_TIMEOUT)
    times: dict[str, list[float]] = {"bndl": [], "bare": []}
    time_bare(workers, modules)
    for _ in range(rounds):
        times["bare"].append(time_bare(workers, modules))
        times["bndl"].append(time_start(workers))
    ratios = [ours / bare for ours, bare in zip(times["bndl"], times["bare"], strict=True)]
    console = Console(width=110)
    table = Table(title=f"{workers} workers, {rounds} rounds in turns")
    table.add_column("")
    table.add_column("median (least to greatest)", justify="right")
    table.add_row("cluster formed and stable after connect(), s", spread(times["bndl"], ".2f"))
    table.add_row(
        f"as many bare processes that import the same {len(modules)} modules, s", spread(times["bare"], ".2f")
    )
    table.add_row("ratio", spread(ratios, ".2f"))
    console.print(table)
    table = Table(*headings, title=f"{workers} workers and their driver, idle for {seconds:g} s")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if not alone:
        console.print(
            "What other programs sent on the loopback interface is counted, too: run it as root for a figure."
        )


if __name__ == "__main__":
    typer.run(main)
