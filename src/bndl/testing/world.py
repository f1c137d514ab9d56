"""A driver and workers on a simulated network in virtual time."""

# ruff: noqa: SLF001 - a world looks into its nodes

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from bndl import _version
from bndl.config import Config
from bndl.driver.driver import Driver
from bndl.driver.jobs import Job
from bndl.driver.preparing import prepare
from bndl.driver.tasks import Task
from bndl.errors import DeathCertificate, LastTask
from bndl.execute.slots import Prepared
from bndl.execute.store import Store
from bndl.execute.worker import Worker
from bndl.net.fabric import Fabric
from bndl.net.memory import MemoryNetwork, VirtualTime
from bndl.net.messages import NodeInfo
from bndl.net.peers import own_versions
from bndl.schedule import invariants
from bndl.schedule.events import Event
from bndl.schedule.instructions import Instruction
from bndl.testing.nodes import NodeLoop, OneLoop, TracedFabric, VirtualParts
from bndl.testing.runs import Growing, Run

__all__ = ["SMALL", "Cluster", "Duration", "SimulatedWorker", "Stuck", "World"]

#: Everything is so small that every path is taken by small tests.
SMALL = Config(lease=2.0, cancel_timeout=60.0, inline_bytes=1000, chunk_bytes=3000, store_bytes=40_000)

#: After how many seconds there is another worker in the place of one that ended itself.
_RESTART = 0.1

#: How many of the last events are shown where something is stuck.
_LAST = 40

#: How many virtual seconds an attempt takes, given the world's generator, the worker's name and the attempt.
Duration = Callable[[random.Random, str, Prepared], float]


def _some_time(generator: random.Random, _worker: str, _prepared: Prepared) -> float:
    return generator.uniform(0.001, 0.1)


class Stuck(TimeoutError):
    """What was waited for did not happen in time. The text says what is outstanding."""


@dataclass
class Cluster:
    """The ``ClusterListener`` of a simulated driver: it takes notes.

    Attributes:
        connected: the peers that are there.
        lost: who was lost and why, in order.
        refused: who was refused.
        reasons: what the certificates of dead workers are to say.
        executing: what workers that were killed were executing.
        end: ends a worker.
    """

    connected: dict[str, NodeInfo] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)
    refused: list[NodeInfo] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    executing: dict[str, tuple[LastTask, ...]] = field(default_factory=dict)
    end: Callable[[str], bool] = lambda _: False

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer is there."""
        self.connected[info.name] = info

    def peer_lost(self, name: str, reason: str) -> None:
        """A peer is gone."""
        self.connected.pop(name, None)
        self.lost.append((name, reason))

    def peer_refused(self, info: NodeInfo) -> None:
        """A node takes no part."""
        self.refused.append(info)

    def describe_refusals(self) -> str:
        """Nothing: the tests look at ``refused``."""
        return ""

    def death_certificate(self, name: str) -> DeathCertificate | None:
        """What is known of the end of a worker."""
        reason = self.reasons.get(name)
        tasks = self.executing.pop(name, None)
        if reason is None and tasks is None:
            return None
        return DeathCertificate(name, reason or "it was killed", pid=0 if tasks is None else 1, last_tasks=tasks or ())

    @property
    def workers(self) -> list[NodeInfo]:
        """The workers that are there."""
        return [info for _, info in sorted(self.connected.items()) if info.node_type == "worker"]

    def end_worker(self, name: str, reason: str) -> bool:
        """End a worker."""
        ended = self.end(name)
        if ended:
            self.reasons[name] = f"bndl ended it: {reason}"
        return ended


@dataclass
class SimulatedWorker:
    """A worker with what it is made of."""

    worker: Worker
    loop: NodeLoop
    parts: VirtualParts
    fabric: Fabric


class World:
    """A driver and workers, from one seed.

    Args:
        seed: of all that is random.
        workers: how many there are at first.
        concurrency: slots of each.
        config: settings of all nodes.
        duration: how long attempts take.
        is_stubborn: whether an attempt does not end when an exception is raised in it.
        delay: the shortest and the longest time that a frame takes, in virtual seconds.
        checked: whether the scheduler's invariants are checked after each event.
        together: whether all nodes hear of a new one at the same time, as behind a router.

    Attributes:
        trace: what happened: (virtual time, what, details...).
        workers: those that are alive, by name.
        cluster: what the driver said of its peers.
        last_end: when a worker ended itself for the last time.
    """

    DRIVER = "driver"

    def __init__(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        seed: int,
        *,
        workers: int = 3,
        concurrency: int = 2,
        config: Config = SMALL,
        duration: Duration = _some_time,
        is_stubborn: Callable[[Prepared], bool] = lambda _: False,
        delay: tuple[float, float] = (0.0001, 0.002),
        checked: bool = True,
        together: bool = False,
    ) -> None:
        self.seed = seed
        self.config = config
        self.random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self.time = VirtualTime()
        network_seed = self.random.getrandbits(32)
        self.network = MemoryNetwork(self.time, network_seed, delay=delay, lease=config.lease, together=together)
        self.trace: list[tuple[float, str, Any]] = []
        self.workers: dict[str, SimulatedWorker] = {}
        self.cluster = Cluster(end=self._end)
        self.last_end = 0.0
        self._concurrency = concurrency
        self._duration = duration
        self._is_stubborn = is_stubborn
        self._numbers = count(1)
        self._runs: list[Run] = []
        self.driver_loop = NodeLoop(self.time)
        info = self.node_info(self.DRIVER, "driver")
        loop = self.driver_loop
        loops = OneLoop(loop, loop, loop, loop)
        self.driver = Driver(self._fabric(self.DRIVER), info, loops, config, self.cluster)
        if checked:
            self._check_invariants()
        self.driver.start()
        for _ in range(workers):
            self.add_worker()

    # Nodes

    def node_info(self, name: str, node_type: str, concurrency: int = 0) -> NodeInfo:
        """What a new node says of itself."""
        incarnation = f"{self.random.getrandbits(64):016x}"
        return NodeInfo(name, node_type, incarnation, own_versions(_version.__version__), concurrency)

    def add_worker(self, name: str | None = None, info: NodeInfo | None = None) -> str:
        """Start a worker; returns its name, which is a new one unless it is given."""
        name = name or f"worker-{next(self._numbers)}"
        loop = NodeLoop(self.time)
        parts = VirtualParts(
            loop, partial(self._duration, self.random, name), partial(self._end_worker, name), self._is_stubborn
        )
        fabric = self._fabric(name)
        info = info or self.node_info(name, "worker", self._concurrency)
        worker = Worker(fabric, info, parts, self.config, Store(self.config.store_bytes))
        self.workers[name] = SimulatedWorker(worker, loop, parts, fabric)
        worker.peers.start()
        self._note("started", name)
        return name

    def _fabric(self, name: str) -> TracedFabric:
        return TracedFabric(self.network.fabric(name), lambda *sent: self.trace.append((self.time.now(), "sent", sent)))

    def _check_invariants(self) -> None:
        scheduler = self.driver._scheduler
        handle = scheduler.handle

        def handle_and_check(event: Event, now: float) -> Sequence[Instruction]:
            out = handle(event, now)
            invariants.check(scheduler)
            return out

        scheduler.handle = handle_and_check  # type: ignore[method-assign]

    def _note(self, what: str, details: Any) -> None:
        self.trace.append((self.time.now(), what, details))

    def _end_worker(self, name: str, reason: str, _where: str) -> None:
        """A worker ends itself, in order, and soon another one takes its place."""
        self._note("ended itself", (name, reason))
        self.last_end = self.time.now()
        node = self.workers.pop(name)
        node.fabric.close()
        node.loop.kill()
        node.worker.store.drop_where(lambda _: True)
        self.time.call_later(_RESTART, self.add_worker)

    # Faults

    def kill(self, name: str) -> None:
        """End a worker like SIGKILL: nothing of it runs any more."""
        self._note("killed", name)
        node = self.workers.pop(name)
        self.cluster.executing[name] = tuple(
            LastTask(slot, "", "", each.attempt.number, running=True, seconds=0.0, task=each.attempt.task)
            for slot, each in enumerate(node.parts.slots.running)
        )
        node.loop.kill()
        self.network.kill(name)
        node.worker.store.drop_where(lambda _: True)  # its files go with its process

    def _end(self, name: str) -> bool:
        if name in self.workers:
            self.kill(name)
            return True
        return False

    def freeze(self, name: str) -> None:
        """Stop a node like SIGSTOP."""
        self._note("frozen", name)
        self._loop(name).freeze()
        self.network.freeze(name)

    def thaw(self, name: str) -> None:
        """Let a frozen node go on."""
        self._note("thawed", name)
        self._loop(name).thaw()
        self.network.thaw(name)

    def cut(self, names: AbstractSet[str], others: AbstractSet[str] | None = None) -> None:
        """Cut nodes off from others, or from all others."""
        self._note("cut off", (sorted(names), others and sorted(others)))
        self.network.cut(names, others)

    def heal(self) -> None:
        """Undo all cuts."""
        self._note("healed", None)
        self.network.heal()

    def _loop(self, name: str) -> NodeLoop:
        return self.driver_loop if name == self.DRIVER else self.workers[name].loop

    # Work

    def submit(self, job: Job) -> Run:
        """Have a job executed."""
        run = Run(self._settled)
        run.execution, spec = prepare(self.driver, job, run)
        self._runs.append(run)
        self.driver.submit(run.execution, spec)
        return run

    def grow(self, function: Callable[[Any], Any], attempts: int = 1) -> Growing:
        """Begin a job that tasks can be added to."""
        run = Growing(self.driver, function, attempts, self._settled)
        self._runs.append(run)
        return run

    def _settled(self, task: Task) -> None:
        self._note("settled", (task.name, str(task.outcome)))

    def run(self, job: Job, limit: float = 120.0) -> Run:
        """Have a job executed, to its end and until everything of it is dropped."""
        run = self.submit(job)
        self.finish(run, limit)
        return run

    def finish(self, run: Run, limit: float = 120.0) -> None:
        """Run until a job ends, let go of its results, and let messages about that arrive."""
        self.wait(lambda: run.ended, limit, f"the end of {run!r}")
        run.execution.release()
        self.sleep(0.1)

    def wait(self, condition: Callable[[], bool], limit: float = 60.0, what: str = "the condition") -> None:
        """Run until a condition holds.

        Raises:
            Stuck: it does not hold after ``limit`` virtual seconds, or never will.
        """
        try:
            self.time.run_until(condition, limit)
        except TimeoutError as error:
            raise Stuck(f"{error}\nwaited for {what}\n{self.describe()}") from None

    def wait_connected(self) -> None:
        """Run until all nodes that are alive see each other, and the driver is connected with all others."""
        names = {self.DRIVER, *self.workers}
        peers = {name: node.worker.peers for name, node in self.workers.items()}
        self.wait(
            lambda: (
                len(self.cluster.connected) == len(peers)
                and set(self.driver.peers.names) == set(peers)
                and all(set(each.seen) == names - {name} for name, each in peers.items())
                and all(each.is_connected(self.DRIVER) for each in peers.values())
            ),
            what="all to be connected",
        )

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.time.run_until(self.time.now() + seconds)

    # Looking at it

    def describe(self) -> str:
        """What is outstanding, on the driver and on each worker."""
        lines = [f"seed {self.seed}, at {self.time.now():.6f} s"]
        lines += [f"the driver sees {self.driver.peers.names}, {len(self.driver._calls._open)} calls are open"]
        for number, task in self.driver._scheduler.tasks.items():
            where = task.worker.name if task.worker is not None else "nowhere"
            if str(task.state) != "done" or (task.available and not task.stage.spec.kept):
                lines.append(f"  task {number >> 32}[{number & 0xFFFFFFFF}] is {task.state} ({task.number}) at {where}")
        lines += [f"left over: {line}" for line in self.leftovers()]
        for name, node in self.workers.items():
            lines.append(f"{name}{', frozen' if node.loop.is_frozen else ''} sees {node.worker.peers.names}")
            lines += [f"  {line}" for line in self.holdings(name)]
        lines += [f"  {when:.6f} {what} {details}" for when, what, details in self.trace if what != "sent"][-_LAST:]
        return "\n".join(lines)

    def holdings(self, name: str) -> list[str]:
        """What a worker holds: one line for each thing, none if it holds nothing."""
        node = self.workers[name]
        lines = []
        for driver, tenancy in node.worker._tenancies.items():
            for what in ("definitions", "gathering", "attempts"):
                held = list(getattr(tenancy, what))
                if held:
                    lines.append(f"{what} of {driver}: {held}")
        for what, attempts in (("queued", node.parts.slots.queue), ("executing", node.parts.slots.running)):
            if attempts:
                lines.append(f"{what}: {[(each.attempt.task, each.attempt.number) for each in attempts]}")
        if len(node.worker.store):
            lines.append(f"store: {[*node.worker.store._memory, *node.worker.store._disk]}")
        if node.worker._calls._open:
            lines.append(f"waits for answers of {[call.peer for call in node.worker._calls._open.values()]}")
        return lines

    def leftovers(self) -> list[str]:
        """What is left of work anywhere; nothing should be once all jobs are over and released."""
        driver = self.driver
        left = [f"{name}: {line}" for name in self.workers for line in self.holdings(name)]
        states: dict[str, Collection[object]] = {
            "executions": driver._executions,
            "stages": driver._stages,
            "tasks": driver._scheduler.tasks,
            "jobs": driver._scheduler.jobs,
            "calls": driver._calls._open,
            "causes": driver._settling._causes,
            "store": [*driver._store._memory, *driver._store._disk],
        }
        left += [f"driver: {what}: {list(state)}" for what, state in states.items() if state]
        for name, worker in driver._scheduler.workers.items():
            if worker.load or worker.kept or worker.taking_back:
                left.append(f"driver: {name} has {worker.load} attempts, {len(worker.kept)} results")
        for run in self._runs:
            for stage in run.execution.report().stages:
                if stage.pending:
                    left.append(f"report: {stage.pending} attempts of {stage.name} are pending")
        return left
