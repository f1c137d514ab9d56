"""What every fabric promises, on each implementation: ``memory`` in virtual time, ``zenoh`` on loopback sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bndl.errors import ClusterError, InvalidOption
from bndl.net.credentials import Credentials
from bndl.net.fabric import MAX_FRAME_BYTES, Joined, Left
from bndl.net.zenoh import ZenohFabric
from tests.conformance.fabrics import (
    SECRET,
    TIMEOUT,
    Harness,
    Log,
    MemoryHarness,
    ZenohHarness,
    start_pair,
    wait_frames,
    wait_joined,
    wait_left,
)


@pytest.fixture
def zenoh() -> Iterator[ZenohHarness]:
    harness = ZenohHarness()
    yield harness
    harness.close()


@pytest.fixture(params=[MemoryHarness, ZenohHarness], ids=["memory", "zenoh"])
def net(request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness: MemoryHarness | ZenohHarness = request.param()
    yield harness
    harness.close()


def test_three_nodes_find_each_other_through_one_seed(net: Harness) -> None:
    a, a_log = net.start("a")
    _, b_log = net.start("b", a.addresses)
    _, c_log = net.start("c", a.addresses)
    wait_joined(net, a_log, "b", "c")
    wait_joined(net, b_log, "a", "c")
    wait_joined(net, c_log, "a", "b")


def test_a_node_that_comes_late_sees_all_and_is_seen_by_all(net: Harness) -> None:
    a, a_log, _b, b_log = start_pair(net)
    c, c_log = net.start("c", a.addresses)
    wait_joined(net, c_log, "a", "b")
    wait_joined(net, a_log, "c")
    wait_joined(net, b_log, "c")
    c.send("b", b"hello")
    assert wait_frames(net, b_log, "c", 1) == [b"hello"]


def test_a_node_does_not_see_itself_and_sees_a_peer_once(net: Harness) -> None:
    _, a_log, b, b_log = start_pair(net)
    b.close()
    wait_left(net, a_log, "b")
    assert a_log.comings_and_goings() == [Joined("b"), Left("b")]
    assert b_log.comings_and_goings() == [Joined("a")]


@pytest.mark.parametrize("bulk", [False, True])
def test_frames_arrive_in_the_order_they_were_sent_in(net: Harness, *, bulk: bool) -> None:
    a, _, _b, b_log = start_pair(net)
    frames = [b"%d" % number for number in range(3000)]
    for frame in frames:
        a.send("b", frame, bulk=bulk)
    assert wait_frames(net, b_log, "a", len(frames)) == frames


def test_the_frame_sent_when_a_peer_joins_arrives(net: Harness) -> None:
    a, a_log = net.start("a")
    for number in range(10):
        b, b_log = net.start(f"b{number}", a.addresses)
        wait_joined(net, a_log, b.name)
        a.send(b.name, b"welcome")
        assert wait_frames(net, b_log, "a", 1) == [b"welcome"]


def test_an_empty_frame_arrives(net: Harness) -> None:
    a, _, _b, b_log = start_pair(net)
    a.send("b", b"")
    assert wait_frames(net, b_log, "a", 1) == [b""]


def test_a_large_frame_arrives_whole_beside_a_control_frame(net: Harness) -> None:
    a, _, _b, b_log = start_pair(net)
    large = bytes(range(256)) * (64 * 2**20 // 256)
    a.send("b", large, bulk=True)
    a.send("b", b"control")
    frames = wait_frames(net, b_log, "a", 2)
    assert b"control" in frames
    assert large in frames


def test_a_frame_to_oneself_arrives(net: Harness) -> None:
    a, a_log = net.start("a")
    a.send("a", b"one")
    a.send("a", b"two")
    assert wait_frames(net, a_log, "a", 2) == [b"one", b"two"]


def test_a_frame_to_an_unknown_node_is_dropped(net: Harness) -> None:
    a, _, _b, b_log = start_pair(net)
    a.send("nobody", b"lost")
    a.send("b", b"kept")
    assert wait_frames(net, b_log, "a", 1) == [b"kept"]


def test_a_frame_to_a_node_that_left_is_dropped(net: Harness) -> None:
    a, a_log, b, _ = start_pair(net)
    a.send("b", b"first")
    b.close()
    wait_left(net, a_log, "b")
    a.send("b", b"lost")
    a.send("a", b"kept")
    assert wait_frames(net, a_log, "a", 1) == [b"kept"]


def test_frames_sent_just_before_close_arrive(net: Harness) -> None:
    _, a_log, b, _ = start_pair(net)
    frames = [b"%d" % number for number in range(100)]
    for frame in frames:
        b.send("a", frame)
    b.close()
    assert wait_frames(net, a_log, "b", 100) == frames


def test_close_can_be_called_again_and_ends_all_events(net: Harness) -> None:
    a, a_log, b, b_log = start_pair(net)
    b.close()
    b.close()
    seen = len(b_log.events)
    b.send("a", b"too late")
    a.send("b", b"too late")
    wait_left(net, a_log, "b")
    assert len(b_log.events) == seen
    assert a_log.frames("b") == []


def test_a_closed_fabric_cannot_be_started_again(net: Harness) -> None:
    a, _ = net.start("a")
    with pytest.raises(RuntimeError, match="make a new one"):
        a.start(Log("a"))
    a.close()
    with pytest.raises(RuntimeError, match="make a new one"):
        a.start(Log("a"))


def test_the_listener_may_close_the_fabric(net: Harness) -> None:
    a, a_log, b, b_log = start_pair(net)
    b_log.on_frame = b.close
    a.send("b", b"the last")
    a.send("b", b"one too many")
    wait_left(net, a_log, "b")
    assert b_log.frames("a") == [b"the last"]


def test_a_name_can_be_used_again(net: Harness) -> None:
    a, a_log, b, _ = start_pair(net)
    b.close()
    wait_left(net, a_log, "b")
    _, again_log = net.start("b", a.addresses)
    net.wait("b did not come back", a_log, lambda: a_log.comings_and_goings() == [Joined("b"), Left("b"), Joined("b")])
    a.send("b", b"again")
    assert wait_frames(net, again_log, "a", 1) == [b"again"]


def test_two_clusters_side_by_side_do_not_see_each_other(net: Harness) -> None:
    a, a_log = net.start("a", cluster="one")
    other, other_log = net.start("b", a.addresses, cluster="two")
    net.start("c", a.addresses, cluster="one")
    net.start("d", a.addresses, cluster="two")
    wait_joined(net, a_log, "c")
    wait_joined(net, other_log, "d")
    other.send("a", b"stray")
    a.send("a", b"own")
    assert wait_frames(net, a_log, "a", 1) == [b"own"]
    assert a_log.comings_and_goings() == [Joined("c")]
    assert other_log.comings_and_goings() == [Joined("d")]


# What only real sockets have.


def test_the_last_frames_of_a_node_come_before_its_end(zenoh: ZenohHarness) -> None:
    """On the memory network it may come first: nodes must live with that as well."""
    one, log = zenoh.start("one")
    never = threading.Event()

    def pile_up() -> None:
        never.wait(0.001)

    log.on_frame = pile_up
    two, other = zenoh.start("two", one.addresses)
    zenoh.wait("sees one", other, lambda: Joined("one") in other.events)
    for number in range(300):
        two.send("one", b"%d" % number)
    two.close()
    zenoh.wait("sees it leave", log, lambda: Left("two") in log.events)
    assert log.frames("two") == [b"%d" % number for number in range(300)]
    assert log.events[-1] == Left("two")
    three, _ = zenoh.start("two", one.addresses)
    zenoh.wait("sees it come back", log, lambda: log.events[-1] == Joined("two"))
    three.close()


def test_a_wrong_secret_sees_nobody(zenoh: ZenohHarness) -> None:
    a, a_log = zenoh.start("a")
    _, stranger_log = zenoh.start("stranger", a.addresses, secret="guess")  # noqa: S106 - guards nothing
    zenoh.start("b", a.addresses)
    wait_joined(zenoh, a_log, "b")
    # By now the stranger, which tries every 0.1 s and slower, would long have been let in.
    with stranger_log.changed:
        assert not stranger_log.changed.wait_for(lambda: bool(stranger_log.events), 1.0), stranger_log.events
    assert a_log.comings_and_goings() == [Joined("b")]


def test_a_seed_that_comes_up_late_is_found(zenoh: ZenohHarness) -> None:
    a, _ = zenoh.start("a")
    addresses = a.addresses
    a.close()
    _, b_log = zenoh.start("b", addresses)
    late = ZenohFabric("late", f"one-{zenoh.run}", credentials=Credentials(SECRET), listen=addresses)
    try:
        late.start(Log("late"))
        wait_joined(zenoh, b_log, "late")
    finally:
        late.close()


def test_the_port_is_a_real_one(zenoh: ZenohHarness) -> None:
    a, _ = zenoh.start("a")
    (address,) = a.addresses
    assert address.startswith("tcp/127.0.0.1:")
    assert int(address.rpartition(":")[2]) > 0


def test_an_address_that_cannot_be_listened_on_is_an_error_without_the_secret() -> None:
    listen = ["tcp/192.0.2.1:0"]
    fabric = ZenohFabric("a", "c", credentials=Credentials(SECRET), listen=listen, insecure_plaintext=True)
    with pytest.raises(ClusterError, match="could not listen") as raised:
        fabric.start(Log("a"))
    assert SECRET not in str(raised.value)
    assert SECRET not in repr(fabric)
    assert ".rs" not in str(raised.value)
    assert not any(mark in str(raised.value) for mark in ("Json5", "..", "cargo"))


@pytest.mark.parametrize("name", ["", "a/b", "a*", "$a", "a?", "#", "@a", "a\n", "\ud800"])
def test_a_name_that_is_not_legal_in_a_key_is_refused(zenoh: ZenohHarness, name: str) -> None:
    with pytest.raises(InvalidOption, match="cannot name a node"):
        ZenohFabric(name, "c", credentials=Credentials(SECRET))
    with pytest.raises(InvalidOption, match="cannot name a cluster"):
        ZenohFabric("a", name, credentials=Credentials(SECRET))
    a, _ = zenoh.start("a")
    with pytest.raises(InvalidOption, match="cannot name a node"):
        a.send(name, b"")


@pytest.mark.parametrize("secret", ["", "se:same", "se same", "sesame\n"])
def test_a_secret_that_zenoh_cannot_read_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(InvalidOption, match="the secret must be") as raised:
        ZenohFabric("a", "c", credentials=Credentials(secret))
    assert not secret or secret not in str(raised.value)


def test_a_frame_over_the_limit_is_refused(zenoh: ZenohHarness) -> None:
    a, _ = zenoh.start("a")
    with pytest.raises(ValueError, match="send it in parts"):
        a.send("b", bytes(MAX_FRAME_BYTES + 1))


UNCLOSED = """
import sys, threading
from bndl.net.credentials import Credentials
from bndl.net.zenoh import ZenohFabric

def send_on():
    while True:
        fabric.send("a", b"on and on")

received = threading.Event()
fabric = ZenohFabric("child", sys.argv[1], credentials=Credentials(sys.argv[2]), seeds=sys.argv[3:])
fabric.start(lambda event: received.set())
assert received.wait(20), "the parent was not seen"
threading.Thread(target=send_on, daemon=True).start()
received.clear()
assert received.wait(20), "the parent sent nothing"
"""


def test_a_process_that_ends_amid_traffic_without_closing_its_fabric_exits_with_0(zenoh: ZenohHarness) -> None:
    a, a_log = zenoh.start("a")
    a_log.on_frame = lambda: a.send("child", b"echo")
    command = [sys.executable, "-c", UNCLOSED, f"one-{zenoh.run}", SECRET, *a.addresses]
    assert subprocess.run(command, timeout=TIMEOUT, check=False).returncode == 0
    wait_left(zenoh, a_log, "child")
