"""Death certificates as text, and what they are made from: exit codes, stacks, counts of the kernel."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from bndl.cluster.autopsy import describe_exit, find_fatal, pick_stacks, signal_name
from bndl.cluster.memory import MemoryWatch, judge_oom
from bndl.errors import DeathCertificate, LastTask

MEBIBYTE = 1 << 20

FULL = DeathCertificate(
    "vm.worker.7.0.1",
    "its process was ended by SIGSEGV",
    pid=7,
    signal="SIGSEGV",
    uptime=12.34,
    memory_bytes=100 * MEBIBYTE,
    memory_age=0.42,
    peak_bytes=1200 * MEBIBYTE,
    limit_bytes=2048 * MEBIBYTE,
    limit="what this machine has",
    oom="no evidence: it was not ended by SIGKILL",
    last_tasks=(
        LastTask(0, "work[3]", "x", 2, running=True, seconds=1.5),
        LastTask(1, "work[2]", "x", 1, running=False, seconds=9.0),
    ),
    stack="Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File ...",
    last_lines=("one", "two"),
)


def test_a_certificate_as_printed() -> None:
    assert str(FULL) == (
        "The end of vm.worker.7.0.1 (process 7, 12.3 s after its start): its process was ended by SIGSEGV.\n"
        "It was executing:\n"
        "  work[3] of job 'x', attempt 2, for 1.50 s\n"
        "Memory: 100 MiB 0.4 s before the end, 1,200 MiB at most, and 2,048 MiB is what this machine has.\n"
        "Out of memory: no evidence: it was not ended by SIGKILL.\n"
        "Stack:\n"
        "  Fatal Python error: Segmentation fault\n"
        "\n"
        "  Current thread 0x1 (most recent call first):\n"
        "    File ...\n"
        "The last lines it wrote:\n"
        "  one\n"
        "  two\n"
        "Next: look at the native code that the innermost line of the stack calls, and run that alone, in a process of "
        "its own."
    )


def test_what_is_not_known_is_left_out() -> None:
    text = str(DeathCertificate("w", "its process ended with exit code 3", exit_code=3))
    assert text.splitlines()[0] == "The end of w: its process ended with exit code 3."
    assert text.splitlines()[1].startswith("Next: look for what ends the whole process")


def test_an_idle_worker_is_shown_with_its_last_tasks() -> None:
    idle = DeathCertificate("w", "gone", last_tasks=FULL.last_tasks[1:])
    assert "nothing. The last tasks were:\n  work[2] of job 'x', attempt 1, finished, begun 9.00 s before" in str(idle)


@pytest.mark.parametrize(
    ("certificate", "step"),
    [
        (DeathCertificate("w", "", signal="SIGKILL", oom="likely: a counter rose"), "give each task less"),
        (DeathCertificate("w", "", signal="SIGKILL", oom="no evidence: none rose"), "find out who sent it"),
        (DeathCertificate("w", "", signal="SIGKILL", ended_by="it did not stop"), "have long tasks call"),
        (DeathCertificate("w", "", signal="SIGSEGV"), "look at the native code that its tasks call"),
        (DeathCertificate("w", "", signal="SIGTERM"), "find out who sent it"),
        (DeathCertificate("w", ""), "look at what it executed"),
        (DeathCertificate("w", "", pid=7, exit_code=1), "correct what its last lines say"),
    ],
)
def test_the_next_step_fits_the_end(certificate: DeathCertificate, step: str) -> None:
    assert step in str(certificate).splitlines()[-1]


def test_a_certificate_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(FULL)) == FULL


# Exit codes


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        (0, "", "its process ended with exit code 0"),
        (3, "", "its process ended with exit code 3"),
        (-signal.SIGKILL, "SIGKILL", "its process was ended by SIGKILL"),
        (-50, "signal 50", "its process was ended by signal 50"),
    ],
)
def test_exit_codes(code: int, name: str, text: str) -> None:
    assert (signal_name(code), describe_exit(code)) == (name, text)


# Stacks

THREADS = """\
Thread 0x00000000000000a1 (most recent call first):
  File "slot.py", line 1 in busy

Thread 0x00000000000000b2 (most recent call first):
  File "loop.py", line 2 in idle

Current thread 0x00000000000000c3 (most recent call first):
  File "task.py", line 3 in crash

Extension modules: numpy (total: 1)
"""
FATAL = "Fatal Python error: Segmentation fault\n\n"


def test_the_thread_that_failed_comes_first_and_idle_ones_are_left_out() -> None:
    stack = pick_stacks(FATAL + THREADS, {0xA1, 0xC3})
    assert stack.startswith("Fatal Python error: Segmentation fault\n\nCurrent thread 0x00000000000000c3")
    assert stack.endswith('File "slot.py", line 1 in busy')
    assert "idle" not in stack
    assert "numpy" not in stack


def test_of_a_process_that_was_asked_only_the_threads_of_tasks_are_shown() -> None:
    stack = pick_stacks(THREADS, {0xA1})
    assert stack == 'Thread 0x00000000000000a1 (most recent call first):\n  File "slot.py", line 1 in busy'


def test_the_frames_of_the_slot_are_left_out() -> None:
    frames = ('task.py", line 1 in crash', 'runner.py", line 2 in _call_task', 'slots.py", line 3 in _work')
    dump = FATAL + "Current thread 0x1 (most recent call first):\n" + "".join(f'  File "{each}\n' for each in frames)
    assert pick_stacks(dump, set()).splitlines()[-1] == '  File "task.py", line 1 in crash'


def test_only_the_last_failure_counts() -> None:
    earlier = THREADS.replace("crash", "in_a_forked_process")
    stack = pick_stacks(FATAL + earlier + FATAL + THREADS, {0xA1})
    assert "crash" in stack
    assert "in_a_forked_process" not in stack


def test_no_dump_is_no_stack() -> None:
    assert pick_stacks("", {1}) == ""


def test_an_endless_stack_is_cut() -> None:
    deep = FATAL + "Current thread 0x1 (most recent call first):\n" + '  File "a.py", line 1 in f\n' * 1000
    assert pick_stacks(deep, set()).splitlines()[-1] == "(803 more lines)"


def test_a_fatal_error_in_what_was_written_is_taken_out_of_it() -> None:
    lines = ["said before", "Fatal Python error: no gil", "", "Current thread 0x1:"]
    assert find_fatal(lines) == (["said before"], "Fatal Python error: no gil\n\nCurrent thread 0x1:")
    assert find_fatal(["all", "well"]) == (["all", "well"], "")


# Out of memory


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ({"/cg": 2, "/proc/vmstat": 5}, {"/cg": 3, "/proc/vmstat": 6}, "likely: oom_kill in /cg rose from 2 to 3 and "),
        ({"/proc/vmstat": 5}, {"/proc/vmstat": 6}, "likely: oom_kill in /proc/vmstat rose from 5 to 6 within 1.5 s"),
        ({"/cg": 2, "/proc/vmstat": 5}, {"/cg": 2, "/proc/vmstat": 6}, "possible: oom_kill in /cg stayed 2 and "),
        ({"/cg": 2, "/proc/vmstat": 5}, {"/cg": 2, "/proc/vmstat": 5}, "no evidence: oom_kill in /cg stayed 2 and "),
        ({}, {"/proc/vmstat": 6}, "unknown: "),
        ({"/proc/vmstat": 6}, {}, "unknown: "),
    ],
)
def test_the_verdict_is_what_the_counts_say(before: dict[str, int], after: dict[str, int], verdict: str) -> None:
    assert judge_oom(before, after, 1.5).startswith(verdict)


class System:
    """The files of a system, for this process."""

    def __init__(self, root: Path, groups: str) -> None:
        self.root = root
        self.write(f"proc/{os.getpid()}/cgroup", groups)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def watch(self) -> MemoryWatch:
        watch = MemoryWatch(os.getpid(), self.root)
        watch.look()
        return watch


def test_version_2_of_control_groups(tmp_path: Path) -> None:
    system = System(tmp_path, "0::/user/job\n")
    system.write("sys/fs/cgroup/user/job/memory.events", "low 0\noom 9\noom_kill 1\n")
    system.write("sys/fs/cgroup/user/job/memory.max", "max\n")
    system.write("sys/fs/cgroup/user/memory.max", f"{100 * MEBIBYTE}\n")
    system.write("sys/fs/cgroup/user/memory.events", "oom_kill 7\n")
    watch = system.watch()
    assert watch.read_limit() == (100 * MEBIBYTE, "what its cgroup may")
    system.write("sys/fs/cgroup/user/job/memory.events", "low 0\noom 10\noom_kill 2\n")
    verdict = watch.judge_oom(ended=0.0)
    assert verdict.startswith("likely: oom_kill in /sys/fs/cgroup/user/job/memory.events rose from 1 to 2")


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    system = System(tmp_path, "5:cpu:/x\n4:memory:/job\n0::/\n")
    system.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{200 * MEBIBYTE}\n")
    system.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    system.write("sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill 0\n")
    system.write("proc/vmstat", "nr_free_pages 4\noom_kill 3\n")
    watch = system.watch()
    assert watch.read_limit() == (200 * MEBIBYTE, "what its cgroup may")
    assert watch.judge_oom(ended=0.0).startswith("no evidence: ")
    system.write("sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill 1\n")
    system.write("proc/vmstat", "nr_free_pages 4\noom_kill 4\n")
    assert watch.judge_oom(ended=0.0).startswith("likely: ")


def test_a_process_that_was_moved_is_judged_by_the_counts_of_its_new_group(tmp_path: Path) -> None:
    system = System(tmp_path, "0::/old\n")
    system.write("sys/fs/cgroup/old/memory.events", "oom_kill 9\n")
    watch = system.watch()
    system.write(f"proc/{os.getpid()}/cgroup", "0::/new\n")
    system.write("sys/fs/cgroup/new/memory.events", "oom_kill 0\n")
    watch.look()
    system.write("sys/fs/cgroup/new/memory.events", "oom_kill 1\n")
    watch.look()  # it is counted when the end begins, and the end can take a while
    assert watch.judge_oom(ended=0.0).startswith(
        "likely: oom_kill in /sys/fs/cgroup/new/memory.events rose from 0 to 1"
    )


def test_in_a_container_the_outermost_group_is_its_own(tmp_path: Path) -> None:
    system = System(tmp_path, "0::/host/path/of/container\n")
    system.write("sys/fs/cgroup/memory.max", f"{300 * MEBIBYTE}\n")
    system.write("sys/fs/cgroup/memory.events", "oom_kill 4\n")
    watch = system.watch()
    assert watch.read_limit() == (300 * MEBIBYTE, "what its cgroup may")
    system.write("sys/fs/cgroup/memory.events", "oom_kill 5\n")
    assert watch.judge_oom(ended=0.0).startswith("likely: ")


def test_a_system_that_counts_nothing_claims_nothing(tmp_path: Path) -> None:
    watch = System(tmp_path, "").watch()
    assert watch.judge_oom(ended=0.0).startswith("unknown: ")
    limit, what = watch.read_limit()
    assert limit > 0
    assert what == "what this machine has"


def test_memory_is_measured_and_the_peak_is_kept(tmp_path: Path) -> None:
    watch = System(tmp_path, "").watch()
    assert watch.last_bytes is not None
    assert watch.last_bytes > MEBIBYTE
    watch.peak_bytes = 1 << 50
    watch.look()
    assert watch.peak_bytes == 1 << 50


def test_a_process_that_is_ending_is_in_its_groups_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(tmp_path, "0::/job\n")
    system.write("sys/fs/cgroup/job/memory.events", "oom_kill 0\n")
    system.write("sys/fs/cgroup/memory.events", "oom_kill 0\n")
    watch = system.watch()
    system.write("sys/fs/cgroup/job/memory.events", "oom_kill 1\n")
    # A zombie takes nothing, and the system says that it is in the outermost group.
    system.write(f"proc/{os.getpid()}/cgroup", "0::/\n")
    monkeypatch.setattr("psutil.Process.memory_info", lambda _: SimpleNamespace(rss=0))
    watch.look()
    assert watch.judge_oom(ended=0.0).startswith(
        "likely: oom_kill in /sys/fs/cgroup/job/memory.events rose from 0 to 1"
    )
    assert watch.last_bytes


def test_a_process_that_is_gone_has_no_memory(tmp_path: Path) -> None:
    watch = MemoryWatch(1 << 30, tmp_path)
    watch.look()
    assert (watch.last_bytes, watch.peak_bytes) == (None, None)
