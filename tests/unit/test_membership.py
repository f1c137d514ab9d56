"""What is said of workers whose hashes differ."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bndl.cluster.membership import Membership
from bndl.net.greetings import NodeInfo


def test_workers_whose_hashes_differ_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    membership = Membership({}, lambda: 0, lambda _: None, lambda _: None, lambda _, __: False)
    membership.bind(cast("Any", SimpleNamespace(requests=None)))
    with caplog.at_level(logging.WARNING):
        membership.peer_connected(NodeInfo("driver", "driver", "1", {}, text_hash=5))
        for name, text_hash in (("a", 1), ("b", 1)):
            membership.peer_connected(NodeInfo(name, "worker", "1", {}, text_hash=text_hash))
        assert caplog.records == []
        for name in ("c", "d"):
            membership.peer_connected(NodeInfo(name, "worker", "1", {}, text_hash=2))
    (record,) = caplog.records
    assert "differs between a and c" in record.getMessage()
    assert "PYTHONHASHSEED" in record.getMessage()
