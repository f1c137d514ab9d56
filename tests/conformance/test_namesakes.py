"""Two nodes with one name: one of them is talked to, and the other one follows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bndl.net.fabric import Joined, Left, Received
from tests.conformance.fabrics import TIMEOUT, ZenohHarness, wait_frames, wait_joined


@pytest.fixture
def zenoh() -> Iterator[ZenohHarness]:
    harness = ZenohHarness()
    yield harness
    harness.close()


def test_of_two_nodes_with_one_name_the_first_is_talked_to_and_then_the_second(
    zenoh: ZenohHarness, caplog: pytest.LogCaptureFixture
) -> None:
    driver, log = zenoh.start("driver")
    first, first_log = zenoh.start("twin", driver.addresses)
    wait_joined(zenoh, log, "twin")
    second, second_log = zenoh.start("twin", driver.addresses)
    wait_joined(zenoh, second_log, "driver")
    driver.send("twin", b"for the first")
    wait_frames(zenoh, first_log, "driver", 1)
    second.send("driver", b"of the second")
    first.send("driver", b"of the first")
    wait_frames(zenoh, log, "twin", 1)
    assert log.comings_and_goings() == [Joined("twin")]
    first.close()
    zenoh.wait("the second did not follow", log, lambda: len(log.comings_and_goings()) >= 3)
    assert log.comings_and_goings() == [Joined("twin"), Left("twin"), Joined("twin")]
    driver.send("twin", b"for the second")
    assert wait_frames(zenoh, second_log, "driver", 1) == [b"for the second"]
    second.send("driver", b"of the second again")
    assert wait_frames(zenoh, log, "twin", 2) == [b"of the first", b"of the second again"]
    second.close()
    zenoh.wait("the second did not leave", log, lambda: log.events[-1] == Left("twin"))
    assert "two nodes with the name twin" in caplog.text


def test_the_last_words_of_the_first_come_before_its_end_and_nothing_of_the_second_does(zenoh: ZenohHarness) -> None:
    driver, log = zenoh.start("driver")
    busy, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        busy.set()
        go_on.wait(TIMEOUT)

    first, first_log = zenoh.start("twin", driver.addresses)
    wait_joined(zenoh, first_log, "driver")
    third, third_log = zenoh.start("third", driver.addresses)
    wait_joined(zenoh, third_log, "driver", "twin")
    second, second_log = zenoh.start("twin", driver.addresses)
    wait_joined(zenoh, second_log, "driver", "third")
    log.on_frame = hold_up
    first.send("driver", b"1")
    assert busy.wait(TIMEOUT)
    first.send("driver", b"2")
    first.close()
    # When another one sees the end of the first, the driver's thread that reads tokens has most likely seen it, too.
    zenoh.wait("the second did not follow", third_log, lambda: third_log.events[-2:] == [Left("twin"), Joined("twin")])
    second.send("driver", b"too early, or in time")
    driver.send("twin", b"for the first")
    go_on.set()
    zenoh.wait("the second did not follow", log, lambda: log.comings_and_goings().count(Joined("twin")) == 2)
    second.send("driver", b"in time")
    zenoh.wait("no frame of the second came", log, lambda: log.frames("twin")[-1] == b"in time")
    twins = [event for event in log.events if event != Joined("third")]
    of_first = [Received("twin", b"1", bulk=False), Received("twin", b"2", bulk=False)]
    assert twins[:5] == [Joined("twin"), *of_first, Left("twin"), Joined("twin")]
    assert second_log.frames("driver") == []
    third.close()
