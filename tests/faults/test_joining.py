"""A node that is not let in says why, within seconds, and goes on trying."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

import bndl
from bndl.cli.check import check_cluster, compare_clocks
from bndl.cli.cluster import init_cluster
from bndl.cluster.authority import Authority
from bndl.cluster.host import WorkerHost
from bndl.config import Config
from bndl.deploy.joining import make_fresh
from bndl.errors import ClusterError, TooFewWorkers
from bndl.net.credentials import Credentials
from bndl.net.diagnosis import LONGEST, diagnose
from bndl.net.refusals import FEWEST, Refusals, read_closed
from bndl.net.session import find_addresses, open_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 30.0
#: Within so many seconds users are told. Without other processes on the machine it takes half of that.
SOON = 5.0
NODE = "h.worker.1.0.0"


def await_true(condition: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {what}")
        time.sleep(0.01)


def open_node(credentials: Credentials, endpoint: str) -> Iterator[str]:
    """A session as nodes have it, with a token of cluster ``default``."""
    session = open_session(credentials, [endpoint], [], 5.0)
    token = session.liveliness().declare_token(f"bndl/default/peer/{NODE}/{session.zid()}")
    yield find_addresses(session)[0]
    token.undeclare()  # type: ignore[no-untyped-call]
    session.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def credentials() -> Credentials:
    return make_fresh()


@pytest.fixture(scope="module")
def other() -> Credentials:
    """Of another cluster."""
    return make_fresh()


@pytest.fixture(scope="module")
def tcp(credentials: Credentials) -> Iterator[str]:
    yield from open_node(Credentials(credentials.secret), "tcp/127.0.0.1:0")


@pytest.fixture(scope="module")
def tls(credentials: Credentials) -> Iterator[str]:
    yield from open_node(credentials, "tls/127.0.0.1:0")


@pytest.fixture
def silent() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def talking() -> Iterator[str]:
    """Answers whatever it is sent as a web server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)


def problem_at(address: str, credentials: Credentials) -> str:
    began = time.monotonic()
    found = diagnose(address, credentials)
    assert time.monotonic() - began < LONGEST
    assert found.problem
    assert found.advice
    assert str(found).startswith(f"{address}: {found.problem}")
    assert not any(part in str(found) for part in (credentials.secret, *credentials.key.splitlines()[1:-1]))
    return found.problem


# One seed


def test_a_node_that_is_let_in_sees_who_is_there(tcp: str, tls: str, credentials: Credentials) -> None:
    for address in (tcp, tls):
        found = diagnose(address, credentials)
        assert found.problem == ""
        assert found.done[-1] == "the secret is right"
        assert found.clusters == {"default": [NODE]}


def test_a_wrong_secret_is_told(tcp: str, tls: str, credentials: Credentials, other: Credentials) -> None:
    assert "refuses this node's secret" in problem_at(tcp, other)
    assert "refuses this node's secret" in problem_at(tls, replace(credentials, secret=other.secret))


def test_another_authority_is_told_from_either_side(tls: str, credentials: Credentials, other: Credentials) -> None:
    assert "the certificate of the node is refused here" in problem_at(tls, other)
    mixed = replace(credentials, certificate=other.certificate, key=other.key)
    assert "it refuses the certificate of this node" in problem_at(tls, mixed)


class Past(datetime):
    """Ten days ago."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) - timedelta(10)


def test_a_certificate_that_has_expired_is_told_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create(100)
    fresh, fresh_key = authority.issue("node", 1)
    monkeypatch.setattr("bndl.cluster.authority.datetime", Past)
    old, old_key = authority.issue("node", 1)
    base = replace(Credentials.fresh(), authority=authority.certificate_pem.decode())
    nodes = open_node(replace(base, certificate=old.decode(), key=old_key.decode()), "tls/127.0.0.1:0")
    found = diagnose(next(nodes), replace(base, certificate=fresh.decode(), key=fresh_key.decode()))
    assert "not valid now" in found.problem
    assert "clocks" in found.advice
    assert list(nodes) == []


def test_the_wrong_protocol_is_told(tcp: str, tls: str, credentials: Credentials) -> None:
    assert "it speaks TLS" in problem_at(tls.replace("tls/", "tcp/"), credentials)
    assert "TLS handshake" in problem_at(tcp.replace("tcp/", "tls/"), credentials)


def test_an_address_where_no_node_is_is_told(credentials: Credentials, silent: str, talking: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = server.getsockname()[1]
    assert "refused" in problem_at(f"tcp/127.0.0.1:{dead}", credentials)
    assert "refused" in problem_at(f"tls/127.0.0.1:{dead}", credentials)
    assert "host name" in problem_at("tcp/no.such.host.invalid:1", credentials)
    assert "says nothing" in problem_at(f"tcp/{silent}", credentials)
    assert "TLS handshake" in problem_at(f"tls/{silent}", credentials)
    assert "as a node of bndl" in problem_at(f"tcp/{talking}", credentials)
    assert "TLS handshake" in problem_at(f"tls/{talking}", credentials)


# The driver


@pytest.fixture
def secret(tmp_path: Path, credentials: Credentials) -> Path:
    return write_secret(tmp_path / "secret", credentials)


def write_secret(path: Path, credentials: Credentials) -> Path:
    path.touch(mode=0o600)
    path.write_text(credentials.secret)
    return path


def test_a_driver_says_why_it_has_not_joined_and_goes_on(
    tmp_path: Path, secret: Path, other: Credentials, tcp: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = write_secret(tmp_path / "wrong", other)
    began = time.monotonic()
    with bndl.connect(seeds=[tcp], secret_file=wrong, progress=False) as ctx:
        await_true(lambda: "Trying goes on" in caplog.text, "a word on why")
        assert time.monotonic() - began < SOON
        assert f"Seed {tcp}: it refuses this node's secret" in caplog.text
        with pytest.raises(TooFewWorkers, match="it refuses this node's secret"):
            ctx.await_workers(1, connect_timeout=0.1, stable_timeout=0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    seed = f"tcp/127.0.0.1:{port}"
    caplog.clear()
    with bndl.connect(seeds=[seed], secret_file=secret, progress=False):
        await_true(lambda: "the connection was refused" in caplog.text, "a word on why")
        nodes = open_node(Credentials(secret.read_text()), seed)
        assert next(nodes)
        await_true(lambda: f"joined through {seed} after" in caplog.text, "it joins in the end")
    assert list(nodes) == []


def test_a_driver_of_another_cluster_is_told_which_there_are(
    secret: Path, tcp: str, caplog: pytest.LogCaptureFixture
) -> None:
    with bndl.connect(seeds=[tcp], secret_file=secret, cluster="other", workers=1, progress=False) as ctx:
        await_true(lambda: "none is of 'other'" in caplog.text, "a word on the clusters")
        assert "are of cluster 'default' (1 nodes)" in caplog.text
        assert ctx.await_workers(1) == 1
    caplog.clear()
    with bndl.connect(seeds=[tcp], secret_file=secret, progress=False):
        time.sleep(1.0)
    assert caplog.records == [], "there is nothing to say to a driver that has joined"


def test_a_driver_without_a_router_is_told_why(
    secret: Path, tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = open_session.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", 2.0)
    init_cluster(tmp_path / "credentials", ["node"], 1)
    with pytest.raises(ClusterError, match="the certificate of the node is refused here"):
        bndl.connect(seeds=[tls], mesh=False, credentials=tmp_path / "credentials" / "node", secret_file=secret)


# bndl worker


def test_workers_are_there_only_when_their_machine_has_joined(
    tcp: str, credentials: Credentials, other: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(seeds=(tcp,), cluster="default")
    host = WorkerHost(1, config, Credentials(other.secret))
    try:
        host.start()
        await_true(lambda: len(host._joined) == 1, "the worker reaches its own host")  # noqa: SLF001 - no event for it
        await_true(lambda: "it refuses this node's secret" in caplog.text, "a word on why")
        assert not host.are_there.is_set()
    finally:
        host.stop()
    host = WorkerHost(1, config, Credentials(credentials.secret))
    try:
        host.start()
        assert host.are_there.wait(TIMEOUT)
    finally:
        host.stop()
    host = WorkerHost(1, Config(), Credentials(credentials.secret))
    try:
        host.start()
        assert host.are_there.wait(TIMEOUT), "without seeds there is nothing to join"
    finally:
        host.stop()


# bndl cluster check


@pytest.fixture(scope="module")
def cluster(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a cluster of one worker, and its secret file."""
    host = WorkerHost(1, Config(), Credentials(credentials.secret))
    try:
        host.start()
        assert host.are_there.wait(TIMEOUT)
        yield host.addresses[0], write_secret(tmp_path_factory.mktemp("secret") / "secret", credentials)
    finally:
        host.stop()


def test_a_check_tells_each_step(cluster: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    address, secret = cluster
    check_cluster(address, {"secret_file": secret})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["reachable", "TLS", "secret", "cluster", "versions", "clock"]
    assert lines[1].startswith("TLS        no")
    assert "'default', with 1 nodes" in lines[3]
    assert "at most 0." in lines[5]


def test_a_check_tells_the_first_step_that_fails(
    cluster: tuple[str, Path], tmp_path: Path, other: Credentials, capsys: pytest.CaptureFixture[str]
) -> None:
    address, secret = cluster
    with pytest.raises(ClusterError, match="refuses this node's secret"):
        check_cluster(address, {"secret_file": write_secret(tmp_path / "wrong", other)})
    assert capsys.readouterr().out.splitlines() == ["reachable  yes"]
    with pytest.raises(ClusterError, match="is of cluster 'another'; they are of 'default'"):
        check_cluster(address, {"secret_file": secret, "cluster": "another"})


def test_a_check_tells_of_other_versions(cluster: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, secret = cluster
    monkeypatch.setattr("bndl._version.__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"worker.* runs bndl .*, this node bndl 0\.0\.1"):
        check_cluster(address, {"secret_file": secret})


class Clock:
    """A worker's."""

    name = "h.worker.1.0.0"

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def execute(self, clock: Callable[[], float]) -> Future[float]:
        future: Future[float] = Future()
        future.set_result(clock() + self.ahead)
        return future


def test_clocks_that_differ_much_are_pointed_out() -> None:
    workers: list[Any] = [Clock(0.0), Clock(-60.0)]
    text = compare_clocks(workers)
    assert text.startswith("at most 60.0 s from that of this machine")
    assert "is behind" in text
    assert "NTP" not in compare_clocks(workers[:1])
    assert "not known" in compare_clocks([])


# Those who are refused, as the other side sees it


def test_a_node_tells_whom_it_refuses_and_not_whom_it_lets_in(
    credentials: Credentials, other: Credentials, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bndl.net.refusals._INTERVAL", 1e6)  # the test says when to look

    def lines() -> list[str]:
        """Written in this thread: the worker host of other tests may refuse somebody, too."""
        return [record.getMessage() for record in caplog.records if record.thread == threading.get_ident()]

    session = open_session(Credentials(credentials.secret), ["tcp/127.0.0.1:0"], [], 5.0)
    (address,) = find_addresses(session)
    port = int(address.rpartition(":")[2])
    refusals = Refusals(session, [address])
    friends = [open_session(Credentials(credentials.secret), (), [address], 5.0) for _ in range(4)]
    await_true(lambda: len(session.info.peers_zid()) == 4, "all are let in")
    refusals.look(0.0)
    for friend in friends:
        friend.close()  # type: ignore[no-untyped-call]
    await_true(lambda: not session.info.peers_zid(), "all have left")
    refusals.look(10.0)
    assert lines() == []
    before = len(list(read_closed({port})))
    stranger = open_session(other, (), [address], 5.0)
    await_true(lambda: len(list(read_closed({port}))) >= before + FEWEST, "it is refused again and again")
    refusals.look(20.0)
    (line,) = lines()
    assert "connections from 127.0.0.1 were refused" in line
    before = len(list(read_closed({port})))
    await_true(lambda: len(list(read_closed({port}))) >= before + FEWEST, "it goes on")
    refusals.look(30.0)
    assert len(lines()) == 1, "a minute has not passed"
    stranger.close()  # type: ignore[no-untyped-call]
    refusals.close(TIMEOUT)
    session.close()  # type: ignore[no-untyped-call]


def test_the_table_of_connections_is_read_for_both_versions_of_ip(tmp_path: Path) -> None:
    lines = [
        "  sl  local_address rem_address   st",
        "   0: 0100007F:1388 0100007F:A97D 06 00000000:00000000",
        "   1: 0100007F:1388 0500000A:A97E 01 00000000:00000000",
        "   2: 0100007F:1389 0500000A:A97F 06 00000000:00000000",
    ]
    (tmp_path / "tcp").write_text("\n".join(lines))
    six = "0000000000000000FFFF00000500000A"
    (tmp_path / "tcp6").write_text(f"head\n   0: {six}:1388 {six}:0001 06 0\n")
    tables = [tmp_path / "tcp", tmp_path / "tcp6"]
    assert list(read_closed({0x1388}, tables)) == [("127.0.0.1", 0xA97D), ("::ffff:10.0.0.5", 1)]
    with pytest.raises(OSError, match="none"):
        list(read_closed({1}, [tmp_path / "none"]))
