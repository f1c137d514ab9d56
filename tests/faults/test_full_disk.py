"""The folder for temporary files is full: what needs room there fails, and nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.surroundings import in_namespace, run_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="mounts of one process alone are Linux's"),
]

#: 1 MB in memory and 1 MiB on disk, on each node.
BEGIN = """
import os, bndl, tempfile
from bndl.errors import StorageFull, TaskFailed

def make(x):
    return os.urandom(200_000)

def measure(parts):
    return sum(map(len, parts))

def keep(ctx, count):
    job = bndl.Job("keep", attempts=1)
    made = job.stage(make, range(count))
    job.stage(measure, made.split(1))
    try:
        return ctx.run(job)
    except TaskFailed as error:
        assert isinstance(error.__cause__, StorageFull), error
        assert "No space left" in str(error) and "store_bytes" in str(error), error
        return "full"

with bndl.connect(config=bndl.Config(workers=2, store_bytes=1_000_000)) as ctx:
    ctx.await_workers(2)
    pids = {each.pid for each in ctx.workers}
"""

CASES = {
    "results": """
    for _ in range(6):
        print(keep(ctx, 60), end=" ")  # 12 MB of results, and room for 4 MB
    print(keep(ctx, 5), keep(ctx, 5))  # nothing is left of those
""",
    "results of map": """
    for _ in range(3):  # whether the driver fetches them quickly enough is left to chance
        try:
            assert len(list(ctx.map(make, range(100)))) == 100
        except TaskFailed as error:
            assert isinstance(error.__cause__, StorageFull), error
    print(ctx.submit(len, b"x" * 500_000).result(30))
""",
    "arguments": """
    many = [os.urandom(200_000) for _ in range(50)]
    for _ in range(3):
        job = bndl.Job("arguments")
        job.stage(len, many)
        try:
            ctx.run(job)
        except StorageFull as error:
            print("full", end=" ")
    print(ctx.submit(len, many[0]).result(30))
""",
    "broadcasts": """
    held = []
    try:
        for _ in range(50):
            held.append(ctx.broadcast(os.urandom(200_000)))
    except StorageFull as error:
        print("full", end=" ")
    print(ctx.submit(lambda: len(held[0].value)).result(30), end=" ")
    for each in held:
        each.release()
    print(len(ctx.submit(lambda b: b.value, ctx.broadcast(b"x" * 200_000)).result(30)))
""",
}

END = """
    assert pids == {each.pid for each in ctx.workers}, "a worker ended"
"""

EXPECTED = {
    "results": "full full full full full full [1000000] [1000000]",
    "results of map": "500000",
    "arguments": "full full full 200000",
    "broadcasts": "full 200000 200000",
}


@pytest.mark.parametrize("case", CASES)
def test_a_full_disk_is_the_error_of_what_needs_room(tmp_path: Path, case: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    done = run_program(
        BEGIN + CASES[case] + END,
        tmp_path,
        before=in_namespace(f"mount -t tmpfs -o size=1m tmpfs {full}"),
        environment={"TMPDIR": str(full)},
    )
    assert not done.returncode, done.stderr
    assert done.stdout.strip() == EXPECTED[case], done.stderr
    assert "bug in bndl" not in done.stderr
