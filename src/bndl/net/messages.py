"""The messages that nodes exchange, and how they become frames.

Each is a msgspec structure, encoded as a MessagePack array with its tag in front. Bulk data is in ``Fetched`` only; all
other messages are small, because what is larger than ``Config.inline_bytes`` is fetched rather than sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from bndl.net.bounds import MANY, SOME, Amount, Attempts, Count, Name, Number, Numbers, Seconds, Size, Timeout
from bndl.net.credits import Credit
from bndl.net.greetings import Hello, NodeInfo

__all__ = [
    "Abandon",
    "Adopt",
    "Adopted",
    "Answer",
    "Attempt",
    "Call",
    "Define",
    "Dismiss",
    "Fetch",
    "Fetched",
    "Finished",
    "Forget",
    "Hello",
    "Launch",
    "Leaving",
    "Line",
    "Lost",
    "Message",
    "NodeInfo",
    "Part",
    "Release",
    "Result",
    "Returned",
    "Said",
    "Space",
    "TakeBack",
    "Watch",
    "decode",
    "encode",
]


class Define(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A stage whose tasks will be launched. Sent once to a worker, before the first ``Launch``.

    Attributes:
        stage: its number.
        job_name: for ``current_task()`` and tracebacks.
        stage_name: for ``current_task()`` and tracebacks.
        function: the pickled function; empty if it is to be fetched from the sender.
        calls: whether each task brings its own function, so that ``function`` is not used.
        kept: whether results are to be kept on the worker.
    """

    stage: Number
    job_name: str
    stage_name: str
    function: bytes
    calls: bool
    kept: bool


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One execution of a task.

    Attributes:
        task: the task's number.
        number: which attempt, counted from 1.
        arguments: pickled; empty if they are to be fetched from the sender.
        sources: where the results are that the arguments refer to: each node with tasks' numbers. With an empty name
            in the place of a node: tasks that have no result, because they failed or were cancelled for good, which
            their stage tolerates.
        timeout: seconds that it may execute; 0 for no limit.
        name: the task's name, if its options gave it one.
    """

    task: Number
    number: Count
    arguments: bytes
    sources: Annotated[Sequence[tuple[Name, Numbers]], Meta(max_length=SOME)] = ()
    timeout: Timeout = 0.0
    name: str = ""


class Launch(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Execute these, in this order."""

    stage: Number
    attempts: Annotated[Sequence[Attempt], Meta(max_length=SOME)]


class TakeBack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Give back those of these attempts, as (task, number), that are not started. Answered by ``Returned``."""

    attempts: Attempts


class Abandon(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Nobody waits for these attempts any more. Each is answered in a ``Finished``, whenever it is over."""

    attempts: Attempts


class Release(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Drop the results of these tasks."""

    tasks: Numbers


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Drop all that belongs to these stages."""

    stages: Numbers


class Result(msgspec.Struct, frozen=True, array_like=True):
    """How an attempt ended.

    Attributes:
        task: the task's number.
        number: which attempt of it.
        kind: 0 succeeded, 1 failed, 2 inputs missing, 3 abandoned: it did not begin, or it ended because nobody waits
            for it any more.
        seconds: how long the slot was taken.
        payload: the pickled result, unless it is stored; or the description of the error.
        stored: whether the result is in the worker's store.
        size: of the pickled result, in bytes.
        fetched: how many bytes of inputs came from other nodes.
        missing: inputs that were not found, as (task, node asked).
        additions: what it added to accumulators, pickled; empty if nothing.
        notes: what was seen of the attempt, if the driver asked for that with ``Watch``.
    """

    task: Number
    number: Count
    kind: Annotated[int, Meta(ge=0, le=3)]
    seconds: Seconds
    payload: bytes = b""
    stored: bool = False
    size: Amount = 0
    fetched: Amount = 0
    missing: Annotated[Sequence[tuple[Number, Name]], Meta(max_length=SOME)] = ()
    additions: bytes = b""
    notes: bytes = b""


class Finished(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Attempts that ended."""

    results: Annotated[Sequence[Result], Meta(max_length=SOME)]


class Returned(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The attempts that a ``TakeBack`` found not started; they will not be."""

    attempts: Attempts


class Space(IntEnum):
    """What kind of thing a number names in a store."""

    #: The result of a task.
    RESULT = 0
    #: The arguments of a task.
    ARGUMENTS = 1
    #: The function of a stage.
    FUNCTION = 2
    #: A value that is shared with all tasks.
    SHARED = 3


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Send me things out of your store: as many as fit into ``limit`` bytes, at least a part of the first.

    Attributes:
        call: to be repeated in the answer.
        owner: the driver that the numbers are of.
        space: a ``Space``.
        numbers: which things, in this order.
        offset: where to begin in the first of them.
        limit: in bytes.
    """

    call: Number
    owner: Name
    space: Number
    numbers: Numbers
    offset: Amount
    limit: Amount


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a thing in a store.

    Attributes:
        number: which thing.
        size: of the whole thing, in bytes; -1 if it is not there.
        data: from the offset asked for, or from the start.
    """

    number: Number
    size: Size
    data: bytes


class Fetched(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The answer to a ``Fetch``."""

    call: Number
    parts: Annotated[Sequence[Part], Meta(max_length=MANY)]


class Call(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Call a function, at once and beside the tasks.

    Attributes:
        call: to be repeated in the answer.
        function: pickled, with its arguments.
    """

    call: Number
    function: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """What a ``Call`` came to: a pickled result, or the description of an error."""

    call: Number
    succeeded: bool
    payload: bytes


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Something that a task printed or logged.

    Attributes:
        task: the task's number.
        attempt: which attempt of it.
        source: ``stdout``, ``stderr``, or the name of the logger.
        level: as in ``logging``; ``INFO`` for stdout, ``WARNING`` for stderr.
        text: one line, without its end; what was logged may have several.
    """

    task: Number
    attempt: Count
    source: str
    level: int
    text: str


class Said(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """What tasks printed and logged, in order. A result comes after all that its task said.

    Attributes:
        lines: what was said.
        dropped: how many lines more there were since the last of these messages, over what a worker may send.
    """

    lines: Annotated[Sequence[Line], Meta(max_length=SOME)]
    dropped: Amount = 0


class LookIn(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Look for modules in these places from now on. For the workers that the sender started."""

    path: Annotated[Sequence[str], Meta(max_length=SOME)]


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """I am about to leave: launch nothing more here, and fetch or make elsewhere what you need of me.

    Attributes:
        is_ending: whether I do not wait for that: I end because of an attempt that nothing stops, which was reported or
            abandoned before.
    """

    is_ending: bool = False


class Dismiss(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """The answer to ``Leaving``, once nothing of me is on you that I need."""


class Adopt(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """Fetch the results of these tasks of mine from a worker that leaves, and keep them.

    Attributes:
        call: to be repeated in the answer.
        source: the worker that leaves.
        tasks: whose results.
    """

    call: Number
    source: Name
    tasks: Numbers


class Adopted(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """The answer to an ``Adopt``: the tasks whose results are kept here now."""

    call: Number
    tasks: Numbers


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """Watch the attempts of the sender that begin from now on.

    Attributes:
        maker: pickled; called without arguments it gives the ``Watcher``. Empty: no more.
    """

    maker: bytes


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """I have lost a worker, so what it kept for me is void: do not wait for it.

    Attributes:
        worker: its name.
    """

    worker: Name


Message = (
    Hello
    | Define
    | Launch
    | TakeBack
    | Abandon
    | Release
    | Forget
    | Finished
    | Returned
    | Fetch
    | Fetched
    | Call
    | Answer
    | Said
    | LookIn
    | Leaving
    | Dismiss
    | Adopt
    | Adopted
    | Watch
    | Credit
    | Lost
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The frame of a message."""
    return _encoder.encode(message)


def decode(frame: bytes) -> Message:
    """The message in a frame.

    Raises:
        msgspec.DecodeError: there is no message in it.
    """
    try:
        message: Message = _decoder.decode(frame)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these two through
        raise msgspec.DecodeError(str(error)) from None
    return message
