"""``ctx.options(...)``: a context with options for what it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from bndl.driver.naming import check_name
from bndl.driver.options import JobOptions, TaskOptions, make_options, merge_options
from bndl.errors import InvalidOption

if TYPE_CHECKING:
    from bndl.context.iterating import Iteration
from bndl.context.work import Work

__all__ = ["View", "ViewOptions"]

R = TypeVar("R")


class ViewOptions(TaskOptions, total=False):
    """The options of a view of a context, as keywords."""

    name: str | None
    resources: None


class View:
    """A context with options for its ``submit`` and ``map``. Made by ``Context.options``."""

    def __init__(self, check_ready: Callable[[], None], work: Work, given: ViewOptions) -> None:
        own: dict[str, Any] = dict(given)
        name = own.pop("name", None)
        if own.pop("resources", None) is not None:
            text = "resources= is not supported yet; concurrency= of bndl.connect bounds what a worker runs at a time."
            raise InvalidOption(text)
        self._check_ready = check_ready
        self._work = work
        self._name = check_name("the calls", name) if name is not None else None
        self._given = own
        self._options = make_options("ctx.options", TaskOptions, own, ("name", "resources"))

    def options(self, **options: Unpack[ViewOptions]) -> View:
        """Return a view with these options; the others stay as they are in this view.

        Raises:
            InvalidOption: a value makes no sense.
        """
        given: dict[str, Any] = self._given if self._name is None else {**self._given, "name": self._name}
        return View(self._check_ready, self._work, merge_options(given, options))  # type: ignore[arg-type]

    def map(
        self,
        function: Callable[..., R],
        *iterables: Iterable[Any],
        ordered: bool = True,
        **options: Unpack[JobOptions],
    ) -> Iteration[R]:
        """``Context.map`` with these options, unless the call gives others."""
        self._check_ready()
        own = make_options("map", JobOptions, merge_options(self._given, options))
        return self._work.map(function, iterables, ordered=ordered, options=own, name=self._name)

    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """``Context.submit`` with these options."""
        self._check_ready()
        return self._work.submit(function, args, kwargs, self._options, self._name)

    def __repr__(self) -> str:
        given = self._given if self._name is None else {**self._given, "name": self._name}
        return f"<Context with {', '.join(given) or 'no options'}>"
