"""Every error that bndl raises, in one tree.

::

    BndlError
    ├── UserError                    what was asked cannot be done; nothing was run
    │   ├── InvalidOption            an option's value makes no sense (also a ValueError)
    │   │   └── InvalidSetting       a configuration file or an environment variable has a mistake
    │   ├── InvalidJob               the job as a whole makes no sense
    │   │   ├── EmptyStage           a stage without tasks
    │   │   ├── JobCycle             a task needs a result that comes after it
    │   │   ├── ForeignRef           a ref to a result of another job
    │   │   └── JobStarted           the job was changed after its execution began
    │   ├── NotPicklable             a function, argument or result cannot travel
    │   ├── ItemsFailed              the iterable given to ``map`` raised
    │   ├── ContextClosed            the context was stopped
    │   ├── NotProfiling             profiling was not started, or already was
    │   └── ProfilerUnavailable      a library that profiling takes is missing, or in use by somebody else
    ├── TaskError                    the user's code did not succeed
    │   ├── TaskFailed               a task failed in its last attempt
    │   │   └── NotUnpicklable       its function or argument could not be unpickled on the worker
    │   ├── TaskCancelled            a task or its job was cancelled
    │   ├── TaskTimeout              an attempt took longer than its timeout
    │   ├── InputFailed              a task used the result of a task that failed
    │   ├── NowhereToRun             no worker may run a task
    │   ├── ResultTooLarge           a result does not fit where it must go
    │   ├── OutOfMemory              a task needed more memory than its worker may have (also a MemoryError)
    │   └── RemoteException          stands for a user's exception that could not travel
    ├── ClusterError                 the cluster is not as it has to be
    │   ├── NoWorkers                no worker is there
    │   ├── TooFewWorkers            fewer workers than asked for
    │   ├── WorkerLost               a worker ended or went silent
    │   ├── WorkerFailedToStart      a local worker process did not come up
    │   ├── StorageFull              a result or argument fits neither into memory nor on the disk
    │   ├── VersionMismatch          a peer has another Python or bndl version
    │   ├── PeerLost                 the peer of a call is gone
    │   └── CallTimeout              a peer did not answer in time
    └── InternalError                a bug in bndl
        └── ForbiddenTransition      an event that the task's state does not allow

Outside of the tree are ``RemoteTraceback``, ``TaskInterrupted`` and the warnings, which are no errors.
Facts are attributes, the text ends with the next step, and every error is pickled as the keyword arguments it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bndl.attempts import AttemptRecord
from bndl.death import DeathCertificate, LastTask
from bndl.printable import printable, printable_error
from bndl.rendering import render
from bndl.warned import ClusterUnstableWarning, RepeatedNumbersWarning

__all__ = [
    "AttemptRecord",
    "BndlError",
    "CallTimeout",
    "ClusterError",
    "ClusterUnstableWarning",
    "ContextClosed",
    "DeathCertificate",
    "EmptyStage",
    "ForbiddenTransition",
    "ForeignRef",
    "InputFailed",
    "InternalError",
    "InvalidJob",
    "InvalidOption",
    "InvalidSetting",
    "ItemsFailed",
    "JobCycle",
    "JobStarted",
    "LastTask",
    "NoWorkers",
    "NotPicklable",
    "NotProfiling",
    "NotUnpicklable",
    "NowhereToRun",
    "OutOfMemory",
    "PeerLost",
    "ProfilerUnavailable",
    "RemoteException",
    "RemoteTraceback",
    "RepeatedNumbersWarning",
    "ResultTooLarge",
    "StorageFull",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskInterrupted",
    "TaskTimeout",
    "TooFewWorkers",
    "UserError",
    "VersionMismatch",
    "WorkerFailedToStart",
    "WorkerLost",
]


def _rebuild(cls: type[BndlError], facts: dict[str, Any], cause: BaseException | None) -> BndlError:
    error = cls(**facts)
    error.__cause__ = cause
    return error


class BndlError(Exception):
    """The root of all errors of bndl. Its facts are attributes; ``str()`` is a text that ends with the next step."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self._facts = {"message": message, **facts}
        vars(self).update(facts)

    __str__ = printable_error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._facts, self.__cause__)


class UserError(BndlError):
    """What was asked for cannot be done; nothing was run."""


class InvalidOption(UserError, ValueError):
    """An option has a value that makes no sense."""


class InvalidSetting(InvalidOption):
    """A configuration file or an environment variable has a mistake.

    Attributes:
        where: the file with the line, or the variable.
    """

    where: str


class InvalidJob(UserError):
    """The job as a whole makes no sense."""


class EmptyStage(InvalidJob):
    """A stage has no tasks."""


class JobCycle(InvalidJob):
    """A task needs a result that is only made after it."""


class ForeignRef(InvalidJob):
    """A ref names a result of another job."""


class JobStarted(InvalidJob):
    """A job was changed, or executed again, after its execution began."""


class NotPicklable(UserError, TypeError):
    """A function, an argument or a result cannot travel to another process.

    Attributes:
        what: what was to be sent, such as ``argument of task 3 of stage 'parse'``.
        path: where in it the object at fault sits, such as ``parse -> closure variable 'lock'``.
    """

    what: str
    path: str


class ItemsFailed(UserError):
    """The iterable given to ``map`` raised. ``__cause__`` is its exception.

    Attributes:
        pulled: how many items it had given before.
    """

    pulled: int


class ContextClosed(UserError, RuntimeError):
    """The context was stopped, so it cannot run anything."""


class NotProfiling(UserError, RuntimeError):
    """Profiling was not started, or is on already."""


class ProfilerUnavailable(UserError, RuntimeError):
    """A library that profiling takes is missing on a node, or somebody else is using it there."""


class TaskError(BndlError):
    """The user's code did not succeed."""


class RemoteTraceback(Exception):
    """The traceback of an exception as it was in the worker. ``__cause__`` of the exception, ``text`` is all of it."""

    def __init__(self, text: str, shown: str = "") -> None:
        super().__init__(text, shown)
        self.text = text

    def __str__(self) -> str:
        return printable(f"\n{self.args[1] or self.text}")  # without the exception, which is shown after this


class TaskFailed(TaskError):
    """A task failed in its last attempt. ``__cause__`` is the user's exception, or a ``WorkerLost``.

    Attributes:
        task: the task's name, such as ``parse[3]``.
        job: the job's name.
        attempts: all attempts of the task, in order.
    """

    task: str
    job: str
    attempts: Sequence[AttemptRecord]

    _render_traceback_ = render  # IPython and notebooks ask for this


class NotUnpicklable(TaskFailed):
    """A task was not called: its function or argument could not be unpickled on the worker. ``__cause__`` says why."""


class TaskCancelled(TaskError):
    """A task or its job was cancelled before it had a result."""


class TaskTimeout(TaskError, TimeoutError):
    """An attempt took longer than its timeout. The remote traceback shows where it was.

    Attributes:
        task: the task's name, such as ``parse[3]``.
        timeout: in seconds.
    """

    task: str
    timeout: float


class TaskInterrupted(KeyboardInterrupt):
    """Raised by bndl in a task that was cancelled or is out of time and has not ended by itself; let it through.

    It is a ``KeyboardInterrupt``, because code such as asyncio takes that, and no ``Exception``, for an order to stop.
    """


class InputFailed(TaskError):
    """A task used the result of a task that has none: it failed or was cancelled, which its stage tolerates.

    Attributes:
        stage: the name of that task's stage.
        index: which task of the stage it is, counted from 0.
    """

    stage: str
    index: int


class NowhereToRun(TaskError):
    """No worker may run a task: its locality forbids all that are there."""


class ResultTooLarge(TaskError, MemoryError):
    """A result does not fit into the memory of the process that it must go to.

    Attributes:
        size_bytes: the size of the pickled result.
        limit_bytes: what would have fitted.
    """

    size_bytes: int
    limit_bytes: int


class OutOfMemory(TaskError, MemoryError):
    """A task needed more memory than its worker may have. ``__cause__`` is the ``MemoryError`` itself.

    Attributes:
        limit_bytes: what the worker may have.
    """

    limit_bytes: int


class RemoteException(TaskError):
    """Stands for a user's exception that could not be pickled or unpickled.

    Attributes:
        kind: the qualified name of the exception's class.
        text: ``str()`` of the exception.
    """

    kind: str
    text: str


class ClusterError(BndlError):
    """The cluster is not as it has to be."""


class NoWorkers(ClusterError):
    """No worker is there."""


class TooFewWorkers(ClusterError):
    """Fewer workers than asked for came in time.

    Attributes:
        wanted: how many were asked for.
        workers: the names of those that are there.
    """

    wanted: int
    workers: Sequence[str]


class WorkerLost(ClusterError):
    """A worker ended, or was not heard of for too long.

    Attributes:
        worker: its name.
        reason: what is known of its end, in a line.
        certificate: all that is known of its end; None if that is no more, as of a worker on another machine.
    """

    worker: str
    reason: str
    certificate: DeathCertificate | None = None


class WorkerFailedToStart(ClusterError):
    """A local worker process ended before it joined, or keeps crashing.

    Attributes:
        exit_code: of its last process, negative for a signal; None if it never ran.
        output: the last lines it wrote.
        certificate: all that is known of its end; None if it never ran.
    """

    exit_code: int | None
    output: str
    certificate: DeathCertificate | None = None


class StorageFull(ClusterError):
    """A result or an argument fits neither into the memory that is meant for them nor on the disk of its node."""


class VersionMismatch(ClusterError):
    """A peer runs another version of Python or of bndl.

    Attributes:
        here: versions of this node, by what they are of.
        there: versions of the peer.
    """

    here: Mapping[str, str]
    there: Mapping[str, str]


class PeerLost(ClusterError):
    """The peer of a call is gone.

    Attributes:
        peer: its name.
    """

    peer: str


class CallTimeout(ClusterError, TimeoutError):
    """A peer did not answer a call in time.

    Attributes:
        peer: its name.
        timeout: how long was waited, in seconds.
    """

    peer: str
    timeout: float


class InternalError(BndlError):
    """A bug in bndl. Please report it with its text."""


class ForbiddenTransition(InternalError):
    """An event that the task's state does not allow.

    Attributes:
        story: what happened to the task before, one line each.
    """

    story: Sequence[str]
