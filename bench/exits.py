"""Programs that end in every way, many at a time: none may leave a word on standard error, an odd exit code, or hang.

A thread in native code that wants the interpreter's lock while the interpreter ends aborts the process: it writes
`FATAL: exception not rethrown`. This happened to one of some hundred workers, at a normal end. So it takes thousands of
programs to see that it is gone: ::

    python bench/exits.py --count 3000 --parallel 4
    python bench/exits.py --count 200 --kinds pending,daemon --cores /tmp/cores

The last line is the verdict: ``ok: 3000 programs, ...`` with exit code 0, or ``FAILED: 3 of ...`` with 1.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

_BEGIN = """
import sys, threading, time
import bndl

def work(item):
    return item * 2

ctx = bndl.connect(workers=2, concurrency=CONCURRENCY, progress=False)
assert list(ctx.map(work, range(40))) == [2 * item for item in range(40)]
"""


class Kind(NamedTuple):
    """A way in which a program ends.

    Attributes:
        program: its text.
        code: its exit code.
        stderr: a pattern of all that it has to write on standard error.
        stdout: all that it has to write on standard output.
    """

    program: str
    code: int = 0
    stderr: str = ""
    stdout: str = ""


KINDS = {
    "plain": Kind(_BEGIN),
    "stopped": Kind(f"{_BEGIN}\nctx.stop()\n"),
    "exception": Kind(
        f"{_BEGIN}\nraise ValueError('on purpose')\n",
        code=1,
        stderr=r"Traceback \(most recent call last\):\n(  .*\n)+ValueError: on purpose\n",
    ),
    "exit": Kind(f"{_BEGIN}\nsys.exit(3)\n", code=3),
    # Results are on their way in all directions when the end comes.
    "pending": Kind(f"{_BEGIN}\nfutures = [ctx.submit(work, item) for item in range(300)]\n"),
    "running": Kind(
        f"{_BEGIN}\nfutures = [ctx.submit(time.sleep, 0.001) for _ in range(300)]\nfutures[0].result(60)\n"
    ),
    "iterator": Kind(f"{_BEGIN}\nresults = ctx.map(work, range(3000))\nnext(results)\n"),
    "daemon": Kind(
        f"""{_BEGIN}
def use():
    try:
        while True:
            list(ctx.map(work, range(5)))
            ctx.submit(work, 1).result(60)
    except (bndl.errors.ContextClosed, bndl.errors.TaskCancelled):
        pass

for _ in range(3):
    threading.Thread(target=use, daemon=True).start()
time.sleep(0.05)
"""
    ),
    "threads": Kind(
        f"""{_BEGIN}
def use():
    for _ in range(5):
        list(ctx.map(work, range(5)))

for _ in range(3):
    threading.Thread(target=use).start()
"""
    ),
    "atexit": Kind(
        f"""
import atexit
atexit.register(lambda: print(sum(ctx.map(work, range(10))), flush=True))
{_BEGIN}
atexit.register(lambda: print(ctx.submit(work, 4).result(60), flush=True))
""",
        stdout="8\n90\n",
    ),
    # The end comes while the node looks why it does not join.
    "seed": Kind(
        """
import random, socket, tempfile, threading, time
import bndl

def hang_up():
    while True:
        server.accept()[0].close()

server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=hang_up, daemon=True).start()
with tempfile.NamedTemporaryFile("w") as file:
    file.write("nobody-else-has-this")
    file.flush()
    seed = f"tcp/127.0.0.1:{server.getsockname()[1]}"
    ctx = bndl.connect(workers=0, seeds=[seed], secret_file=file.name, progress=False)
    time.sleep(random.uniform(0.5, 0.9))
""",
        stderr=r"(not joined after .*\n)?",
    ),
    "import": Kind("import bndl\nbndl.connect\n"),
    "workers": Kind(
        # What tasks leave behind in workers: threads, atexit handlers, text that is not flushed.
        f"""{_BEGIN}
def leave(item):
    import atexit, threading, time
    atexit.register(lambda: None)
    def spin():
        while True:
            sum(range(100))
            time.sleep(0.0001)
    threading.Thread(target=spin, daemon=True).start()
    return item

assert len(list(ctx.map(leave, range(4)))) == 4
futures = [ctx.submit(work, item) for item in range(50)]
"""
    ),
}

#: Fails always, to see that this would tell. Not among the kinds by default.
NOISE = {"noise": Kind("import sys\nsys.stderr.write('a word')\n")}


class Run(NamedTuple):
    """What a program did."""

    kind: str
    number: int
    problem: str
    text: str


def _run(kind: str, number: int, concurrency: int, timeout: float, cores: Path | None) -> Run:
    expected = (KINDS | NOISE)[kind]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}

    def prepare() -> None:
        if cores is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    with tempfile.TemporaryDirectory(prefix="bndl-exits-") as folder:
        script = Path(folder) / "program.py"
        script.write_text(expected.program.replace("CONCURRENCY", str(concurrency)))
        process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=cores,
            start_new_session=True,
            preexec_fn=prepare if cores is not None else None,  # noqa: PLW1509 - only sets a limit
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler tells where it was
            time.sleep(1.0)
            process.kill()
            out, err = process.communicate()
            return Run(kind, number, f"hung for {timeout:g} s", err)
    problem = ""
    if process.returncode != expected.code:
        problem = f"exit code {process.returncode} instead of {expected.code}"
    elif re.fullmatch(expected.stderr, err) is None:
        problem = "words on standard error"
    elif out != expected.stdout:
        problem = f"standard output {out!r} instead of {expected.stdout!r}"
    return Run(kind, number, problem, err)


def main(
    count: Annotated[int, typer.Option(help="how many programs in all")] = 300,
    parallel: Annotated[int, typer.Option(help="how many at a time")] = 4,
    kinds: Annotated[str, typer.Option(help=f"which, with commas: {', '.join(KINDS)}")] = ",".join(KINDS),
    concurrency: Annotated[int, typer.Option(help="tasks at a time in each worker; 0: one and two in turn")] = 0,
    timeout: Annotated[float, typer.Option(help="seconds after which a program hangs")] = 120.0,
    cores: Annotated[Path | None, typer.Option(help="folder in which the programs run, for core files")] = None,
) -> None:
    """Run programs that end in every way, and say how many left a word."""
    names = [name.strip() for name in kinds.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS | NOISE]
    if unknown or not names:
        raise typer.BadParameter(f"unknown kinds {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if cores is not None:
        cores.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    bad: list[Run] = []
    with ThreadPoolExecutor(parallel) as pool:
        runs = [
            pool.submit(_run, name, number, concurrency or 1 + number % 2, timeout, cores)
            for number, name in enumerate(islice(cycle(names), count))
        ]
        for each in runs:
            run = each.result()
            if run.problem:
                bad.append(run)
                typer.echo(f"--- program {run.number}, kind {run.kind}: {run.problem}\n{run.text.rstrip()}", err=True)
    seconds = time.monotonic() - began
    what = f"{count} programs of {len(names)} kinds, {parallel} at a time, {seconds:.0f} s"
    if not bad:
        typer.echo(f"ok: {what}: no word on standard error, no odd exit code, none hung")
        return
    by_kind = ", ".join(f"{kind} {number}" for kind, number in sorted(Counter(run.kind for run in bad).items()))
    typer.echo(f"FAILED: {len(bad)} of {what}: {by_kind}")
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
