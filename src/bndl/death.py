"""What is known of the end of a worker, as facts and as a text. ``cluster.autopsy`` finds it out."""

from __future__ import annotations

from dataclasses import dataclass

from bndl.printable import printable, printable_line

__all__ = ["DeathCertificate", "LastTask"]


@dataclass(frozen=True, slots=True)
class LastTask:
    """What a slot of a worker did last.

    Attributes:
        slot: which slot, counted from 0.
        name: the task's name, such as ``parse[3]``.
        job: the job's name.
        attempt: which attempt of the task, counted from 1.
        running: whether it was still being executed.
        seconds: how long before the worker's end it began.
        task: the task's number with the driver that started the worker; -1 for a task of another driver.
    """

    slot: int
    name: str
    job: str
    attempt: int
    running: bool
    seconds: float
    task: int = -1

    def __str__(self) -> str:
        begun = f"for {self.seconds:.2f} s" if self.running else f"finished, begun {self.seconds:.2f} s before"
        return f"{printable_line(self.name)} of job {self.job!r}, attempt {self.attempt}, {begun}"


@dataclass(frozen=True, slots=True)
class DeathCertificate:
    """The end of a worker process, and what led to it. ``str()`` is a text that ends with the next step.

    Attributes:
        worker: its name.
        reason: how it ended, in a line.
        pid: its process; 0 if that is not known.
        exit_code: what it exited with; None if it was ended by a signal or that is not known.
        signal: the name of the signal that ended it, such as ``SIGSEGV``; empty if none did.
        ended_by: why bndl ended it; empty if bndl did not.
        uptime: for how many seconds it lived.
        memory_bytes: its resident memory when that was last looked at; None if it never was.
        memory_age: how many seconds before its end that was.
        peak_bytes: the most resident memory that it is known to have had.
        limit_bytes: how much it could have had.
        limit: what sets that limit.
        oom: whether the kernel ended it for want of memory: ``likely``, ``possible``, ``no evidence`` or ``unknown``,
            a colon, and what was seen.
        last_tasks: what each slot executes or executed last; slots that never had a task are left out.
        stack: where its threads were, as faulthandler writes it: the one that failed, and those that executed tasks.
        last_lines: what it wrote last on standard error, the stack left out.
    """

    worker: str
    reason: str
    pid: int = 0
    exit_code: int | None = None
    signal: str = ""
    ended_by: str = ""
    uptime: float = 0.0
    memory_bytes: int | None = None
    memory_age: float = 0.0
    peak_bytes: int | None = None
    limit_bytes: int | None = None
    limit: str = ""
    oom: str = ""
    last_tasks: tuple[LastTask, ...] = ()
    stack: str = ""
    last_lines: tuple[str, ...] = ()

    @property
    def executing(self) -> tuple[tuple[int, int], ...] | None:
        """The attempts that were being executed, as (task, number); None if nothing is known of the process."""
        return tuple((last.task, last.attempt) for last in self.last_tasks if last.running) if self.pid else None

    @property
    def is_oom_likely(self) -> bool:
        """Whether it was most likely ended for want of memory."""
        return self.oom.startswith("likely")

    def __str__(self) -> str:
        lines = [self._head()]
        running = [task for task in self.last_tasks if task.running]
        if running:
            lines += ["It was executing:", *(f"  {task}" for task in running)]
        elif self.last_tasks:
            lines += ["It was executing nothing. The last tasks were:", *(f"  {task}" for task in self.last_tasks)]
        lines += self._memory()
        if self.stack:
            lines += ["Stack:", *(f"  {line}".rstrip() for line in self.stack.splitlines())]
        if self.last_lines:
            lines += ["The last lines it wrote:", *(f"  {line}" for line in self.last_lines)]
        lines.append(f"Next: {_next_step(self)}")
        return printable("\n".join(lines))

    def _head(self) -> str:
        process = f" (process {self.pid}, {self.uptime:.1f} s after its start)" if self.pid else ""
        return f"The end of {self.worker}{process}: {self.reason}."

    def _memory(self) -> list[str]:
        parts = []
        if self.memory_bytes is not None:
            parts.append(f"{_mebibytes(self.memory_bytes)} {self.memory_age:.1f} s before the end")
        if self.peak_bytes is not None:
            parts.append(f"{_mebibytes(self.peak_bytes)} at most")
        if self.limit_bytes is not None:
            parts.append(f"and {_mebibytes(self.limit_bytes)} is {self.limit}")
        lines = [f"Memory: {', '.join(parts)}."] if parts else []
        return [*lines, f"Out of memory: {self.oom}."] if self.oom else lines


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"


def _next_step(certificate: DeathCertificate) -> str:
    """What whoever reads the certificate can do."""
    if certificate.ended_by:
        return "have long tasks call bndl.check_cancelled() now and then, so that they can be stopped without an end."
    if certificate.is_oom_likely:
        return "give each task less at a time, have fewer workers or slots, or allow them more memory."
    if certificate.signal in _SENDERS:
        return f"find out who sent it: {_SENDERS[certificate.signal]}."
    if certificate.signal:
        where = "the innermost line of the stack calls" if certificate.stack else "its tasks call"
        return f"look at the native code that {where}, and run that alone, in a process of its own."
    if certificate.pid and not certificate.last_tasks:
        what = "correct what its last lines say, or what Python runs when it starts, and connect again"
    elif certificate.exit_code is not None:
        what = "look for what ends the whole process in what it executed: os._exit, or exit() in native code"
    else:
        what = "look at what it executed, and at what it wrote"
    return f"{what}."


_SENDERS = {
    "SIGHUP": "a terminal that was closed, or a person",
    "SIGINT": "a person",
    "SIGKILL": "a person, a batch system, or the kernel, whose log (dmesg) says what it ended",
    "SIGTERM": "a person, or what manages the processes of this machine",
}
