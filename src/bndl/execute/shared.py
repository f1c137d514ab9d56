"""Values that tasks share with the program that runs them.

A ``Broadcast`` goes from the driver to every worker that asks for it, once: it is pickled as its number, and fetched
from the driver's store when a task first uses it. What tasks add to an ``Accumulator`` goes the other way: it travels
with the result of the attempt, and is only counted when that is the attempt that counts.

::

    ctx.broadcast(value) --> driver's store ~~Fetch~~> Broadcast.value, in the first task that uses it on a worker
    Accumulator.add(x) in a task --> Prepared.additions --> Result.additions ~~~> Accumulator.value on the driver
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from bndl.errors import InvalidOption, UserError
from bndl.execute.current import running
from bndl.execute.payloads import Pinned, unpack
from bndl.reprs import safe_str, type_name

__all__ = ["Accumulator", "Broadcast", "Fetcher", "begin", "forget", "forget_all", "keep", "provide"]

T = TypeVar("T")

#: Gets a broadcast from its driver, given the driver's name and the number; None if it is not to be had.
Fetcher = Callable[[str, int], bytes | None]

_Key = tuple[str, int]
_UNSET: Any = object()

_lock = threading.Lock()
#: How each worker of this process gets broadcasts, by its name.
_fetchers: dict[str, Fetcher] = {}
#: The drivers of this process.
_drivers: set[str] = set()
#: The broadcasts that came from drivers of other processes. They are kept, as each is to come once.
_broadcasts: dict[_Key, Broadcast[Any]] = {}
#: What was made here, as long as somebody has it.
_homes: WeakValueDictionary[_Key, Broadcast[Any] | Accumulator[Any]] = WeakValueDictionary()


class Broadcast(Pinned, Generic[T]):
    """A value that tasks read. Made by ``Context.broadcast``; refer to it in functions, items and arguments.

    On a worker all tasks see the same object, so they must not change it. bndl releases it when neither the program nor
    work under way refers to it any more.
    """

    def __init__(self, driver: str, number: int, value: T = _UNSET, release: Callable[[], None] | None = None) -> None:
        self._key = (driver, number)
        self._value = value
        self._release = release
        self._fetching = threading.Lock()

    @property
    def value(self) -> T:
        """The value. On a worker it is fetched when it is first used.

        Raises:
            UserError: it was released, or its driver is gone.
        """
        if self._value is _UNSET:
            with self._fetching:
                if self._value is _UNSET:
                    self._value = self._fetch()
        return self._value

    def release(self) -> None:
        """Let go of the value here and on all workers; to be called on the driver. Tasks cannot use it afterwards."""
        if self._release is None:
            text = "a broadcast is released where it was made, on the driver"
            raise UserError(text)
        forget(*self._key)
        self._value = _UNSET
        self._release()

    def _fetch(self) -> T:
        driver, number = self._key
        prepared = running()
        fetcher = None
        if self._release is None:  # not on the driver
            with _lock:
                names = [prepared.tenancy.worker] if prepared is not None else list(_fetchers)
                fetcher = next((_fetchers[name] for name in names if name in _fetchers), None)
        payload = fetcher(driver, number) if fetcher is not None else None
        if payload is None:
            text = (
                "the value of a broadcast is not to be had: it was released, or its driver is gone. Make a new one "
                "with ctx.broadcast(value), and release it when no task uses it any more."
            )
            raise UserError(text)
        value: T = unpack(payload)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_broadcast, self._key

    def __repr__(self) -> str:
        return f"<Broadcast {self._key[1]}>"


def _find_broadcast(driver: str, number: int) -> Broadcast[Any]:
    key = (driver, number)
    with _lock:
        home = _homes.get(key)
        if isinstance(home, Broadcast):
            return home
        if driver in _drivers:  # it was released
            return Broadcast(driver, number)
        return _broadcasts.setdefault(key, Broadcast(driver, number))


class Accumulator(Generic[T]):
    """A value that tasks add to. Made by ``Context.accumulator``; its value is known on the driver.

    What a task adds counts exactly once: when the task has succeeded, and only what the attempt added whose result it
    is that counts.

    Args:
        driver: the name of the driver.
        number: with that driver.
        combine: of two values makes one, whatever their order.
        value: the first value, on the driver.
        is_home: whether this is on the driver.
    """

    def __init__(
        self,
        driver: str,
        number: int,
        combine: Callable[[T, T], T] = operator.add,
        value: T = _UNSET,
        *,
        is_home: bool = False,
    ) -> None:
        self._key = (driver, number)
        self._combine = combine
        self._value = value
        self._is_home = is_home
        #: Why the value is not known: what is wrong with something that was added, and the exception.
        self._error: tuple[str, BaseException] | None = None
        self._lock = threading.Lock()
        #: What tasks added that counts, and was not looked at yet, pickled: it is unpickled where somebody asks.
        self._pending: deque[bytes] = deque()

    def add(self, value: T) -> None:
        """Add a value, in a task or on the driver.

        Raises:
            InvalidOption: the caller is neither in a task nor on the driver, such as in a thread that a task started.
        """
        prepared = running()
        if prepared is None:
            if not self._is_home:
                text = "add() has a meaning in a task, in its own thread, or on the driver; return the value instead"
                raise InvalidOption(text)
            self.count(value)
            return
        if prepared.additions is None:
            prepared.additions = {}
        number = self._key[1]
        before = prepared.additions.get(number, _UNSET)
        prepared.additions[number] = value if before is _UNSET else self._combine(before, value)

    @property
    def value(self) -> T:
        """All that was added by tasks that have succeeded, and on the driver.

        Raises:
            UserError: the caller is not on the driver, or something that was added cannot be combined with the rest.
        """
        if not self._is_home:
            text = "the value of an accumulator is known on the driver only; tasks can add() to it"
            raise UserError(text)
        while self._pending:
            with contextlib.suppress(IndexError):  # another thread took the last one
                self._count_pickled(self._pending.popleft())
        with self._lock:
            if self._error is not None:
                problem, error = self._error
                text = f"something that a task added to {self!r} {problem}: {type_name(error)}: {safe_str(error)}"
                raise UserError(f"{text}. Add values of one kind, of classes that are importable here.") from error
            return self._value

    def count(self, value: T) -> None:
        """Take something into account, on the driver. What cannot be is told to whoever asks for the value."""
        with self._lock:
            try:
                self._value = self._combine(self._value, value)
            except Exception as error:  # noqa: BLE001 - the user's function; it goes to whoever asks for the value
                self._error = "cannot be combined with the rest", error

    def note(self, payload: bytes) -> None:
        """A task added something that counts, pickled. Runs nothing of the user's."""
        self._pending.append(payload)

    def _count_pickled(self, payload: bytes) -> None:
        try:
            value = unpack(payload)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's class; it goes to whoever asks for the value
            with self._lock:
                self._error = "cannot be unpickled here", error
        else:
            self.count(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_accumulator, (*self._key, self._combine)

    def __repr__(self) -> str:
        return f"<Accumulator {self._key[1]}>"


def _find_accumulator(driver: str, number: int, combine: Callable[[Any, Any], Any]) -> Accumulator[Any]:
    with _lock:
        home = _homes.get((driver, number))
    return home if isinstance(home, Accumulator) else Accumulator(driver, number, combine)


def begin(driver: str) -> None:
    """This process is the home of what a driver shares."""
    with _lock:
        _drivers.add(driver)


def keep(shared: Broadcast[Any] | Accumulator[Any]) -> None:
    """Let what comes back to its home, such as in a result, be the original."""
    with _lock:
        _homes[shared._key] = shared  # noqa: SLF001 - of this module


def provide(worker: str, fetcher: Fetcher) -> None:
    """Say how tasks of a worker of this process get broadcasts."""
    with _lock:
        _fetchers[worker] = fetcher


def forget(driver: str, number: int) -> None:
    """Let go of one thing."""
    with _lock:
        _broadcasts.pop((driver, number), None)
        _homes.pop((driver, number), None)


def forget_all(driver: str) -> None:
    """Let go of all that is shared with a driver."""
    with _lock:
        _drivers.discard(driver)
        for known in (_broadcasts, _homes):
            for key in [key for key in list(known) if key[0] == driver]:
                known.pop(key, None)
