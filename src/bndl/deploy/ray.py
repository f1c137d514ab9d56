"""Workers on a Ray cluster: one actor for each, spread over its machines, that keeps one worker process running.

Ray sees to cores, memory and GPUs, and starts actors anew that are lost with their machine. All else goes over bndl's
own connections: the workers join through the driver. Actors are placed one by one (the strategy ``SPREAD``) and not as
a placement group, because what a group has reserved can only be given back as a whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.exceptions
import ray.util

from bndl.checks import check_number, check_optional, check_text, check_whole
from bndl.config import MOST_WORKERS
from bndl.deploy.engine import Engine
from bndl.deploy.joining import Joining
from bndl.logs import get_logger

__all__ = ["RayWorkers"]

logger = get_logger(__name__)

_WORKERS = "how many workers Ray runs"
#: More CPUs or GPUs than any machine has.
_MOST = 1e6

#: Seconds after which users are told that workers do not run yet, and between two such warnings.
_PLACING = 4.0
_INTERVAL = 30.0
#: For how many seconds Ray may take to end something.
_TIMEOUT = 10.0


class _Node:
    """A worker on a machine of Ray: what the actor is."""

    def __init__(self, joining: Joining) -> None:
        self._host = joining.run(1, ray.util.get_node_ip_address())

    def leave(self) -> None:
        """Let the worker finish what it runs, and end."""
        self._host.drain()

    def watch(self) -> str:
        """Why the worker was given up. Returns when it was."""
        while not self._host.gave_up.wait(_TIMEOUT):
            pass
        return str(self._host.failure)


class RayWorkers(Engine):
    """Runs workers as actors of Ray. For ``bndl.connect(deploy=...)``.

    Args:
        workers: how many.
        cores: how many of Ray's CPUs each takes.
        memory: how many bytes of Ray's memory each takes; 0 for none.
        gpus: how many of Ray's GPUs each takes.
        address: of the Ray cluster. By default the one that this process is connected to, or the one that Ray finds.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self, workers: int, *, cores: float = 1.0, memory: int = 0, gpus: float = 0.0, address: str | None = None
    ) -> None:
        workers = check_whole("workers", workers, _WORKERS, most=MOST_WORKERS)
        cores = check_number("cores", cores, "how many CPUs of Ray each worker takes", most=_MOST)
        memory = check_whole("memory", memory, "bytes of Ray's memory that each worker takes", least=0, most=1 << 60)
        gpus = check_number("gpus", gpus, "how many GPUs of Ray each worker takes", most=_MOST)
        address = check_optional(check_text, "address", address, "of the Ray cluster, such as 10.0.0.5:6379")
        super().__init__(workers)
        self._cores = max(int(cores), 1)
        self._options: dict[str, Any] = {
            "num_cpus": cores,
            "num_gpus": gpus,
            "memory": memory or None,
            "max_restarts": -1,
            "max_concurrency": 2,  # it is watched all the time, also when it leaves
            "scheduling_strategy": "SPREAD",
        }
        self._address = address
        #: Whether the connection to Ray is ours, to be closed.
        self._is_ours = False
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._joining: Joining | None = None
        self._actors: list[Any] = []
        #: Those that are finishing, each with the thread that waits for it.
        self._leaving: dict[Any, threading.Thread] = {}

    def find_address(self, *, is_safe: bool) -> str:
        """The address of this machine in Ray's cluster; of loopback if it is not safe and Ray has no other machine."""
        if not ray.is_initialized():
            ray.init(address=self._address, log_to_driver=False, logging_level=logging.WARNING)
            self._is_ours = True
        own = str(ray.util.get_node_ip_address())
        others = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]} - {own}
        return own if others or is_safe else "127.0.0.1"

    def launch(self, joining: Joining) -> None:
        """Have Ray start the workers."""
        # Each is the only one of its actor, so it would take all cores of the machine for its own.
        config = replace(joining.config, library_threads=joining.config.library_threads or self._cores)
        with self._lock:
            self._joining = replace(joining, config=config)
            self._add(self._wanted)

    def scale(self, workers: int) -> None:
        """Have more workers, or fewer, while all is running. Returns at once.

        Workers that are too many finish what they run and hand over what is needed, and then give back what they took.

        Raises:
            InvalidOption: ``workers`` is less than 1.
        """
        workers = check_whole("workers", workers, _WORKERS, most=MOST_WORKERS)
        with self._lock:
            self._wanted = workers
            if self._joining is None:
                return
            timeout = self._joining.config.drain_timeout + _TIMEOUT
            for actor in self._actors[workers:]:
                arguments = (actor, actor.leave.remote(), timeout)
                thread = threading.Thread(target=self._dismiss, args=arguments, name="bndl-dismiss", daemon=True)
                self._leaving[actor] = thread
                thread.start()
            del self._actors[workers:]
            self._add(workers - len(self._actors))

    def end(self) -> None:
        """Have Ray end the workers. Idempotent."""
        self._has_ended.set()
        with self._lock:
            actors, self._actors = self._actors, []
            leaving, self._leaving = self._leaving, {}
            self._joining = None
        if ray.is_initialized():
            for actor in (*actors, *leaving):
                ray.kill(actor)
            for thread in leaving.values():  # they use Ray, which would start anew if it had ended
                thread.join(_TIMEOUT)
            if self._is_ours:
                self._is_ours = False
                ray.shutdown()

    def _add(self, count: int) -> None:
        kind = ray.remote(_Node).options(**self._options)
        ready = []
        for _ in range(count):
            actor = kind.remote(self._joining)
            self._actors.append(actor)
            ready.append(actor.__ray_ready__.remote().future())
            actor.watch.remote().future().add_done_callback(partial(self._report, actor))

        if ready:
            threading.Thread(target=self._watch_start, args=(ready,), name="bndl-ray-start", daemon=True).start()

    def _watch_start(self, ready: Sequence[Future[object]]) -> None:
        """Tell users of workers that Ray has not started, and why that may be, until they run."""
        patience = _PLACING
        while not self._has_ended.wait(patience):
            pending = len(wait(ready, timeout=0).not_done)
            if not pending:
                return
            with self._lock:  # or Ray might be shut down meanwhile
                if self._joining is None or not ray.is_initialized():
                    return
                logger.warning("%s", _describe_pending(pending, self._options))
            patience = _INTERVAL

    def _report(self, actor: Any, watched: Future[str]) -> None:
        """A worker is no more. Called in a thread of Ray, which must not wait for a lock."""
        error = watched.exception()
        if isinstance(error, ray.exceptions.ActorUnavailableError):  # its machine is lost, and Ray starts it elsewhere
            return
        if actor in self._actors:  # or we ended it
            logger.warning("a worker on Ray does not run: %s", error or watched.result(timeout=0))

    def _dismiss(self, actor: Any, left: Any, timeout: float) -> None:
        """Wait until a worker has left, and end its actor, unless ``end`` does it first."""
        problem = None
        try:
            ray.get(left, timeout=timeout)
        except ray.exceptions.RayError as error:  # it is gone, or takes too long: it goes either way
            problem = error
        with self._lock:
            if self._leaving.pop(actor, None) is None:
                return
            if ray.is_initialized():  # or it would start anew
                ray.kill(actor)
        if problem is not None:
            logger.warning("a worker on Ray did not leave in order: %s", problem)


def _describe_pending(count: int, options: Mapping[str, Any]) -> str:
    """Why workers do not run yet: what each takes, and what Ray has."""
    names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    total, free = ray.cluster_resources(), ray.available_resources()
    wanted = {name: float(options[option]) for name, option in names.items() if options[option]}
    takes = " and ".join(f"{amount:g} {name}" for name, amount in wanted.items()) or "nothing"
    has = ", ".join(f"{free.get(name, 0.0):g} of {total.get(name, 0.0):g} {name} free" for name in wanted)
    if any(free.get(name, 0.0) < amount for name, amount in wanted.items()):
        advice = (
            "Unless they are starting on what is taken: end what else uses it, add machines to Ray, or ask for fewer "
            "workers, or less for each."
        )
    else:
        advice = "That is enough in total: they may be starting, or no single machine has enough."
    return f"Ray has not started {count} workers yet. Each takes {takes}; Ray has {has}. {advice} Ray goes on trying."
