"""Strangers: sessions of plain Zenoh that try to get in, be heard, or break something. Nothing of theirs runs."""

from __future__ import annotations

import base64
import json
import os
import pickle
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import zenoh

import bndl
from bndl import _version
from bndl.cli.cluster import init_cluster
from bndl.execute.process import WorkerSettings
from bndl.net import messages
from bndl.net.credentials import AUTHORITY, CERTIFICATE, KEY, SECRET
from bndl.net.peers import own_versions
from bndl.net.session import open_session

pytestmark = pytest.mark.slow

#: By then a stranger, which tries every 0.1 s and slower, would long have been let in.
PATIENCE = 1.0


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("cluster")
    init_cluster(folder, ["node"], 1)
    return folder


@pytest.fixture(params=["tcp", "tls"])
def ctx(request: pytest.FixtureRequest, folder: Path) -> Iterator[bndl.Context]:
    credentials = folder / "node" if request.param == "tls" else None
    with bndl.connect(workers=2, credentials=credentials) as ctx:
        assert ctx.await_workers() == 2
        yield ctx


def open_plain(seeds: Sequence[str], **options: object) -> zenoh.Session:
    """A session that is not of bndl. Slashes of keys are written as double underscores."""
    config = zenoh.Config()
    basic = {
        "mode": "peer",
        "listen__endpoints": ["tcp/127.0.0.1:0"],
        "connect__endpoints": list(seeds),
        "connect__timeout_ms": -1,
        "connect__exit_on_failure": False,
        "connect__retry": {"period_init_ms": 100, "period_max_ms": 200, "period_increase_factor": 2},
        "open__return_conditions__connect_scouted": False,
        "scouting__multicast__enabled": False,
    }
    for key, value in (basic | options).items():
        config.insert_json5(key.replace("__", "/"), json.dumps(value))
    return zenoh.open(config)


def password(secret: str) -> dict[str, object]:
    return {"transport__auth__usrpwd__user": "bndl", "transport__auth__usrpwd__password": secret}


def certificates(authority: Path, own: Path | None) -> dict[str, object]:
    options: dict[str, object] = {
        "transport__link__tls__root_ca_certificate": str(authority / AUTHORITY),
        "transport__link__tls__verify_name_on_connect": False,
    }
    if own is not None:
        options |= {
            "transport__link__tls__enable_mtls": True,
            "transport__link__tls__connect_certificate": str(own / CERTIFICATE),
            "transport__link__tls__connect_private_key": str(own / KEY),
        }
    return options


def settings_of(ctx: bndl.Context) -> WorkerSettings:
    """What the context tells its workers. An attacker may have guessed or stolen some of it."""
    return ctx._node._settings  # noqa: SLF001 - not for users


def attack(ctx: bndl.Context, session: zenoh.Session, bomb: Path) -> None:
    """Do what a member could do, and see that nothing came of it."""
    cluster = settings_of(ctx).cluster
    victims = [ctx.name, *(worker.name for worker in ctx.workers)]
    known = [*victims, "stranger.driver.1.0.0"]
    seen = session.liveliness().declare_subscriber("**", zenoh.handlers.FifoChannel(100), history=True)
    token = session.liveliness().declare_token(f"bndl/{cluster}/peer/stranger.driver.1.0.0/-")
    frame = messages.encode(messages.Call(1, pickle.dumps(Bomb(bomb))))
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for victim in victims:
            for sender in known:
                session.put(f"bndl/{cluster}/to/{victim}/*/{sender}/-", frame)
        time.sleep(0.05)
    assert session.info.peers_zid() == []
    names = {str(sample.key_expr).split("/")[3] for sample in iter(seen.try_recv, None)}
    assert names <= {"stranger.driver.1.0.0"}
    assert not bomb.exists()
    token.undeclare()  # type: ignore[no-untyped-call]
    assert sorted(ctx.map(abs, range(-50, 0))) == list(range(1, 51))
    assert [worker.name for worker in ctx.workers] == victims[1:]


def addresses(ctx: bndl.Context) -> list[str]:
    return [*ctx.addresses, *(address for worker in ctx.workers for address in worker.addresses)]


def test_a_bomb_does_go_off_when_a_member_sends_it(ctx: bndl.Context, tmp_path: Path) -> None:
    """That the attacks below can fail at all."""
    bomb = tmp_path / "bomb"
    assert ctx.submit(type, Bomb(bomb)).result(timeout=10) is type(None)
    assert bomb.exists()


@pytest.mark.parametrize("ctx", ["tcp"], indirect=True)
@pytest.mark.parametrize("options", [{}, password("guess")], ids=["no secret", "wrong secret"])
def test_who_has_not_the_secret_is_not_heard(ctx: bndl.Context, options: dict[str, object], tmp_path: Path) -> None:
    with open_plain(addresses(ctx), **options) as session:
        attack(ctx, session, tmp_path / "bomb")


@pytest.mark.parametrize("ctx", ["tls"], indirect=True)
@pytest.mark.parametrize("kind", ["plain text", "no certificate", "own certificate", "other authority", "wrong secret"])
def test_who_has_not_a_certificate_and_the_secret_is_not_heard(
    ctx: bndl.Context, folder: Path, kind: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    init_cluster(other, ["node"], 1)
    secret = (folder / SECRET).read_text().strip()
    seeds = addresses(ctx)
    assert all(seed.startswith("tls/") for seed in seeds)
    if kind == "plain text":
        seeds, options = [seed.replace("tls/", "tcp/") for seed in seeds], password(secret)
    else:
        options = {
            "no certificate": certificates(folder, None) | password(secret),
            "own certificate": certificates(folder, other / "node") | password(secret),
            "other authority": certificates(other, other / "node") | password(secret),
            "wrong secret": certificates(folder, folder / "node") | password("guess"),
        }[kind]
    with open_plain(seeds, **options) as session:
        attack(ctx, session, tmp_path / "bomb")


def test_who_is_let_in_and_has_not_greeted_is_not_unpickled(ctx: bndl.Context, tmp_path: Path) -> None:
    """Frames of a session that is let in are messages of a node only after greetings; garbage among them is dropped."""
    cluster = settings_of(ctx).cluster
    bomb = tmp_path / "bomb"
    frames = [
        b"",
        os.urandom(1000),
        bytes(50 << 20),
        b"\x9a\x0c\x01\xc3\xc4\x00" + b"\x91" * 100_000 + b"\xc0",
        messages.encode(messages.Call(1, pickle.dumps(Bomb(bomb)))),
        messages.encode(messages.Answer(1, True, pickle.dumps(Bomb(bomb)))),  # noqa: FBT003
    ]
    session = open_session(settings_of(ctx).credentials, [], ctx.addresses, 5.0)
    try:
        end = time.monotonic() + 30
        while len(session.info.peers_zid()) < 3:
            assert time.monotonic() < end, "it was not let in"
            time.sleep(0.01)
        for frame in frames:
            for victim in (ctx.name, *(worker.name for worker in ctx.workers)):
                session.put(f"bndl/{cluster}/to/{victim}/*/stranger.driver.1.0.0/-", frame)
        time.sleep(PATIENCE)
    finally:
        session.close()  # type: ignore[no-untyped-call]
    assert not bomb.exists()
    assert sorted(ctx.map(abs, range(-50, 0))) == list(range(1, 51))
    assert ctx.worker_count == 2


@pytest.mark.parametrize("ctx", ["tcp"], indirect=True)
def test_a_member_that_sends_noise_fills_no_log_and_breaks_nothing(
    ctx: bndl.Context, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = settings_of(ctx).cluster
    name = "mad.worker.1.0.0"
    info = messages.NodeInfo(name, "driver", "1", own_versions(_version.__version__))
    session = open_session(settings_of(ctx).credentials, [], ctx.addresses, 5.0)
    liveliness = session.liveliness()
    with session:
        odd = [liveliness.declare_token(f"bndl/{cluster}/peer/{each}/-") for each in ("*", "x", "-", "ä.b", "a" * 9000)]
        own = liveliness.declare_token(f"bndl/{cluster}/peer/{name}/{session.zid()}")
        key = f"bndl/{cluster}/to/{ctx.name}/*/{name}/{session.zid()}"
        end = time.monotonic() + 30
        while name not in ctx._node.driver.peers.names:  # noqa: SLF001 - drivers are not for users to see
            session.put(key, messages.encode(messages.Hello(info, 1, asks=False)))
            assert time.monotonic() < end, "it was not greeted"
            time.sleep(0.05)
        for _ in range(2000):
            session.put(key, b"\xc1" * 100)
        assert sorted(ctx.map(abs, range(-50, 0))) == list(range(1, 51))
        while name in ctx._node.driver.peers.names:  # noqa: SLF001 - as above
            assert time.monotonic() < end, "it was not refused"
            time.sleep(0.05)
        assert len(odd) == 5
        own.undeclare()  # type: ignore[no-untyped-call]
    lines = [record for record in caplog.records if record.name == "bndl.net.misconduct"]
    assert 2 <= len(lines) < 10
    assert sorted(ctx.map(abs, range(-50, 0))) == list(range(1, 51))


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100_000], ids=["none", "HTTP", "noise"])
def test_garbage_on_the_sockets_breaks_nothing(ctx: bndl.Context, garbage: bytes) -> None:
    sockets = []
    for address in addresses(ctx):
        host, _, port = address.partition("/")[2].rpartition(":")
        for _ in range(20):
            sockets.append(socket.create_connection((host, int(port)), 5))
            try:
                sockets[-1].sendall(garbage)
            except OSError:  # it hung up already
                continue
    assert sorted(ctx.map(abs, range(-50, 0))) == list(range(1, 51))
    for each in sockets:
        each.close()


@pytest.mark.parametrize("ctx", ["tls"], indirect=True)
def test_what_travels_is_encrypted(ctx: bndl.Context) -> None:
    host, _, port = ctx.addresses[0].partition("/")[2].rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, int(port)), 5) as plain, context.wrap_socket(plain) as wrapped:
        assert wrapped.version() == "TLSv1.3"


def look_for_secret(secret: str) -> list[str]:
    """Where a task could come across the secret without looking into bndl itself."""
    found = [f"variable {name}" for name, value in os.environ.items() if secret in value]
    found += ["arguments" for part in psutil.Process().cmdline() if secret in part]
    return found


def test_the_secret_is_in_no_argument_list_environment_or_log(
    ctx: bndl.Context, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(ctx)
    key = settings.credentials.key.encode()
    secrets = [settings.credentials.secret]
    if key:  # a part of it, as it is and as zenoh gets it
        secrets += [key.splitlines()[1].decode(), base64.b64encode(key).decode()[40:80]]
    for secret in secrets:
        assert list(ctx.map(look_for_secret, [secret] * 4)) == [[]] * 4
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            assert secret not in " ".join(process.cmdline())
            assert all(secret not in value for value in process.environ().values())
        # Its own repr is what would be in an error.
        assert secret not in repr((ctx, settings, settings.credentials))
    written = capfd.readouterr()
    assert [secret for secret in secrets if secret in written.out + written.err + caplog.text] == []


#: More than zenoh's own limit on connections that have shown nothing yet.
MANY = 300


@pytest.fixture
def half_open(ctx: bndl.Context) -> Iterator[list[socket.socket]]:
    """Connections to the driver that say nothing."""
    host, _, port = ctx.addresses[0].partition("/")[2].rpartition(":")
    sockets = [socket.create_connection((host, int(port)), 5) for _ in range(MANY)]
    yield sockets
    for each in sockets:
        each.close()


def test_half_open_connections_keep_nobody_from_joining(
    ctx: bndl.Context, half_open: list[socket.socket], folder: Path, tmp_path: Path
) -> None:
    """Those that know the secret join long before the strangers are hung up on."""
    assert len(half_open) == MANY
    settings = settings_of(ctx)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(settings.credentials.secret)
    credentials = folder / "node" if settings.credentials.has_tls else None
    began = time.monotonic()
    with bndl.connect(
        seeds=ctx.addresses, cluster=settings.cluster, secret_file=secret, credentials=credentials
    ) as other:
        assert other.await_workers(2) == 2
        assert time.monotonic() - began < 4.0, "they waited for the strangers to be hung up on"
        assert list(other.map(abs, [-1])) == [1]


@pytest.mark.parametrize("ctx", ["tcp"], indirect=True)
def test_a_connection_that_shows_nothing_is_closed(ctx: bndl.Context, half_open: list[socket.socket]) -> None:
    """So strangers hold no more connections than they open within a few seconds."""
    del ctx
    half_open[-1].settimeout(30.0)
    assert half_open[-1].recv(1000) == b""
