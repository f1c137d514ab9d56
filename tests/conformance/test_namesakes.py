"""Two nodes with one name: one of them is talked to, and the other one follows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bndl.net.fabric import Joined, Left
from tests.conformance.fabrics import ZenohHarness, wait_frames, wait_joined


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
