"""The faults of the memory network, that they keep the promises of a fabric, and that a seed repeats a run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from bndl.net.fabric import FabricEvent, Joined, Left, Received
from bndl.net.memory import MemoryFabric, MemoryNetwork, VirtualTime

LEASE = 5.0
NAMES = ("a", "b", "c")


class World:
    """Three started nodes that see each other, and what each heard when."""

    def __init__(self, seed: int = 1) -> None:
        self.time = VirtualTime()
        self.net = MemoryNetwork(self.time, seed, lease=LEASE)
        self.nodes: dict[str, MemoryFabric] = {}
        self.trace: list[tuple[float, str, FabricEvent]] = []
        #: How long the trace was when the node was started last.
        self.started: dict[str, int] = {}
        for name in NAMES:
            self.start(name)
        self.time.run(1.0)

    def start(self, name: str) -> None:
        fabric = self.nodes[name] = self.net.fabric(name)
        self.started[name] = len(self.trace)
        fabric.start(lambda event: self.trace.append((self.time.now(), name, event)))

    def peers(self, name: str) -> list[str]:
        """Whom the node sees, by its events."""
        seen: list[str] = []
        for event in self.heard(name):
            if isinstance(event, Joined):
                assert event.name not in seen, "joined twice"
                seen.append(event.name)
            elif isinstance(event, Left):
                seen.remove(event.name)
        return sorted(seen)

    def heard(self, name: str, since: float = 0.0) -> list[FabricEvent]:
        """What the node heard since it was started last."""
        trace = self.trace[self.started[name] :]
        return [event for when, who, event in trace if who == name and when > since]

    def frames(self, receiver: str, sender: str) -> list[bytes]:
        events = self.heard(receiver)
        return [event.frame for event in events if isinstance(event, Received) and event.sender == sender]

    def when(self, name: str, event: FabricEvent) -> float:
        return next(when for when, who, heard in self.trace if who == name and heard == event)


def test_a_killed_node_is_seen_to_leave_soon() -> None:
    world = World()
    killed = world.time.now()
    world.net.kill("b")
    world.time.run(1.0)
    assert world.peers("a") == ["c"]
    assert world.peers("c") == ["a"]
    assert world.when("a", Left("b")) - killed <= 0.002
    assert world.heard("b", killed) == []


def test_a_killed_node_can_be_started_again_at_once() -> None:
    world = World()
    world.net.kill("b")
    world.start("b")
    world.time.run(1.0)
    assert [event for event in world.heard("a") if event in (Joined("b"), Left("b"))] == [
        Joined("b"),
        Left("b"),
        Joined("b"),
    ]
    assert world.peers("b") == ["a", "c"]


def test_of_the_last_frames_of_a_killed_node_the_first_ones_may_arrive() -> None:
    sent = [b"%d" % number for number in range(50)]
    arrived = []
    for seed in range(20):
        world = World(seed)
        for frame in sent:
            world.nodes["b"].send("a", frame)
            world.time.run_until(world.time.now() + 0.00005)
        world.net.kill("b")
        world.time.run(1.0)
        frames = world.frames("a", "b")
        assert frames == sent[: len(frames)]
        arrived.append(len(frames))
    assert min(arrived) < len(sent)
    assert len(set(arrived)) > 1


def test_a_frozen_node_that_is_thawed_within_the_lease_was_never_away() -> None:
    world = World()
    world.net.freeze("b")
    world.nodes["a"].send("b", b"one")
    world.nodes["a"].send("b", b"two")
    world.time.run_until(world.time.now() + 0.9 * LEASE)
    assert world.frames("b", "a") == []
    world.net.thaw("b")
    assert world.time.run(1.0)
    assert world.frames("b", "a") == [b"one", b"two"]
    assert [type(event) for event in world.heard("a")] == [Joined, Joined]


def test_a_frozen_node_is_lost_after_the_lease_and_joins_again_when_thawed() -> None:
    world = World()
    frozen = world.time.now()
    world.net.freeze("b")
    world.nodes["a"].send("b", b"lost")
    world.time.run_until(frozen + 2 * LEASE)
    assert LEASE <= world.when("a", Left("b")) - frozen <= 1.25 * LEASE
    assert world.heard("b", frozen) == []
    world.net.thaw("b")
    assert world.time.run(10.0)
    assert world.frames("b", "a") == []
    assert [world.peers(name) for name in NAMES] == [["b", "c"], ["a", "c"], ["a", "b"]]
    assert world.heard("b", frozen).count(Left("a")) == 1
    world.nodes["a"].send("b", b"again")
    world.time.run(1.0)
    assert world.frames("b", "a") == [b"again"]


def test_what_came_and_went_while_a_node_was_frozen_it_hears_when_thawed() -> None:
    world = World()
    world.net.freeze("b")
    world.net.kill("c")
    world.start("d")
    world.time.run_until(world.time.now() + 1.0)
    assert world.peers("b") == ["a", "c"]
    world.net.thaw("b")
    assert world.time.run(1.0)
    assert world.peers("b") == ["a", "d"]


def test_both_sides_of_a_cut_lose_each_other_each_at_its_own_time() -> None:
    world = World()
    cut = world.time.now()
    world.net.cut({"c"})
    world.nodes["a"].send("c", b"lost")
    world.nodes["a"].send("b", b"kept")
    assert world.time.run(10 * LEASE)
    assert [world.peers(name) for name in NAMES] == [["b"], ["a"], []]
    times = [world.when("a", Left("c")), world.when("b", Left("c")), world.when("c", Left("a"))]
    assert len(set(times)) == 3
    assert all(0.9 * LEASE <= when - cut <= 2.25 * LEASE for when in times)
    world.net.heal()
    assert world.time.run(10 * LEASE)
    assert [world.peers(name) for name in NAMES] == [["b", "c"], ["a", "c"], ["a", "b"]]
    assert world.frames("c", "a") == []
    assert world.frames("b", "a") == [b"kept"]


def test_a_cut_that_is_healed_within_the_lease_only_delays() -> None:
    world = World()
    world.net.cut({"c"})
    world.nodes["a"].send("c", b"one")
    world.time.run_until(world.time.now() + 0.5 * LEASE)
    world.nodes["a"].send("c", b"two")
    world.net.heal()
    assert world.time.run(1.0)
    assert world.frames("c", "a") == [b"one", b"two"]
    assert [type(event) for event in world.heard("c") if not isinstance(event, Received)] == [Joined, Joined]


def test_if_one_side_of_a_healed_cut_had_given_up_both_see_the_other_leave_and_join() -> None:
    for seed in range(10):
        world = World(seed)
        world.net.cut({"c"})
        world.nodes["c"].send("a", b"lost")
        world.time.run_until(lambda world=world: Left("c") in world.heard("a"), 10 * LEASE)  # type: ignore[misc]
        world.net.heal()
        assert world.time.run(10.0)
        assert world.heard("c").count(Left("a")) == 1
        assert world.peers("c") == ["a", "b"]
        assert "c" in world.peers("a")
        assert world.frames("a", "c") == []


def test_a_node_that_dies_behind_a_cut_is_lost_after_the_lease() -> None:
    world = World()
    cut = world.time.now()
    world.net.cut({"c"})
    world.net.kill("c")
    assert world.time.run(10 * LEASE)
    assert world.when("a", Left("c")) - cut >= 0.9 * LEASE
    world.net.heal()
    assert world.time.run(10 * LEASE)
    assert world.peers("a") == ["b"]


def test_a_node_that_starts_behind_a_cut_joins_when_it_is_healed() -> None:
    world = World()
    world.net.cut({"d", "c"})
    world.start("d")
    world.time.run(10 * LEASE)
    assert world.peers("d") == ["c"]
    world.net.heal()
    world.time.run(10 * LEASE)
    assert world.peers("d") == ["a", "b", "c"]


def test_two_nodes_cannot_have_one_name() -> None:
    world = World()
    with pytest.raises(ValueError, match="a node called 'a' is on the air"):
        world.start("a")


def stormy_run(seed: int) -> World:
    """Frames all over, and one fault after the other."""
    world = World(seed)
    faults: list[Callable[[], None]] = [
        lambda: world.net.freeze("b"),
        lambda: world.net.cut({"a"}),
        lambda: world.net.thaw("b"),
        world.net.heal,
        lambda: world.net.kill("c"),
        lambda: world.start("c"),
        lambda: world.net.cut({"c"}),
        world.net.heal,
    ]
    for number, fault in enumerate(faults):
        for sender in NAMES:
            for receiver in NAMES:
                for k in range(20):
                    world.nodes[sender].send(receiver, b"%d" % (100 * number + k), bulk=bool(seed % 2))
        world.time.run_until(world.time.now() + 0.001)
        fault()
        world.time.run_until(world.time.now() + (0.001, 1.0, 6.0)[(seed + number) % 3])
    assert world.time.run(10 * LEASE)
    return world


@pytest.mark.parametrize("seed", range(12))
def test_after_a_storm_all_see_each_other_and_no_frame_came_out_of_order(seed: int) -> None:
    world = stormy_run(seed)
    for name in NAMES:
        assert world.peers(name) == [peer for peer in NAMES if peer != name]
        for sender in NAMES:
            numbers = [int(frame) for frame in world.frames(name, sender)]
            assert all(before < after for before, after in pairwise(numbers))


def test_the_same_seed_gives_the_same_events_at_the_same_times() -> None:
    assert stormy_run(7).trace == stormy_run(7).trace
    assert stormy_run(7).trace != stormy_run(10).trace


def test_virtual_time_runs_callbacks_in_the_order_of_their_times() -> None:
    time, ran = VirtualTime(), list[str]()
    time.call_later(2.0, lambda: ran.append("later"))
    time.call_later(1.0, lambda: ran.append("sooner"))
    time.post(ran.append, "first")
    time.post(ran.append, "second")
    time.call_later(1.5, lambda: ran.append("never")).cancel()
    assert time.run(10.0)
    assert ran == ["first", "second", "sooner", "later"]
    assert time.now() == 2.0


def test_virtual_time_stops_at_its_limit() -> None:
    time = VirtualTime()
    time.call_later(5.0, lambda: None)
    assert not time.run(4.0)
    time.run_until(4.5)
    assert time.now() == 4.5
    with pytest.raises(TimeoutError, match=r"the limit of 0.1 s is reached"):
        time.run_until(lambda: False, 0.1)
    with pytest.raises(TimeoutError, match="nothing is left to run"):
        time.run_until(lambda: False, 1.0)
    time.run_until(lambda: True, 0.0)


def test_an_exception_of_a_callback_ends_the_run_in_virtual_time() -> None:
    time = VirtualTime()
    time.post(int, "not a number")
    with pytest.raises(ValueError, match="not a number"):
        time.run(1.0)
    assert time.run(1.0)
