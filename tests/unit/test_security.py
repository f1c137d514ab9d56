"""What lets a node in, where it may listen, and what `bndl cluster` makes."""

from __future__ import annotations

import logging
import pickle
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from bndl.cli.main import app
from bndl.cluster.authority import Authority
from bndl.config import Config
from bndl.errors import InvalidOption
from bndl.net import messages
from bndl.net.credentials import Credentials, find_credentials, require_credentials
from bndl.net.endpoints import Endpoint, check_listen, check_seeds, without_ports

SECRET = "sesame-5f2c"  # noqa: S105 - guards nothing


# Endpoints


@pytest.mark.parametrize("text", ["tcp/127.0.0.1:0", "tls/node-1.example.org:65535", "tcp/[::1]:5000"])
def test_an_endpoint_is_taken_apart_and_put_together(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["", "bogus", "udp/a:1", "tcp/a", "tcp/a:70000", "tcp/:1", "tcp/a:1#if=e0", "a:1"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="is no address of a node"):
        Endpoint.parse(text)


@pytest.mark.parametrize("text", ["tcp/127.0.0.1:0", "tcp/127.1.2.3:0", "tcp/[::1]:0", "tcp/localhost:0"])
def test_loopback_may_be_listened_on(text: str) -> None:
    assert Endpoint.parse(text).is_loopback
    check_listen([text], tls=False, insecure_plaintext=False)


@pytest.mark.parametrize(
    "text", ["tcp/0.0.0.0:0", "tcp/[::]:0", "tcp/192.0.2.1:1", "tcp/no.such.host.invalid:1", "tcp/a..b:1"]
)
def test_the_network_takes_tls_or_an_explicit_wish(text: str) -> None:
    for tls in (False, True):
        with pytest.raises(InvalidOption, match="--insecure-plaintext"):
            check_listen(["tcp/127.0.0.1:0", text], tls=tls, insecure_plaintext=False)
    check_listen([text], tls=False, insecure_plaintext=True)
    check_listen([text.replace("tcp", "tls")], tls=True, insecure_plaintext=False)


def test_tls_takes_certificates() -> None:
    with pytest.raises(InvalidOption, match="bndl cluster init"):
        check_listen(["tls/127.0.0.1:0"], tls=False, insecure_plaintext=True)
    with pytest.raises(InvalidOption, match="bndl cluster init"):
        check_seeds(["tls/127.0.0.1:1"], tls=False)


def test_a_seed_has_a_port() -> None:
    with pytest.raises(InvalidOption, match="has no port"):
        check_seeds(["tcp/127.0.0.1:0"], tls=False)


def test_the_workers_of_a_node_listen_where_it_does_on_ports_of_their_own() -> None:
    assert without_ports(["tls/10.0.0.5:5000", "tcp/[::1]:7"]) == ("tls/10.0.0.5:0", "tcp/[::1]:0")


# Credentials


def write_secret(folder: Path, text: str = SECRET) -> str:
    path = folder / "cluster.secret"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def test_the_secret_comes_from_its_file_and_is_not_shown(tmp_path: Path) -> None:
    credentials = require_credentials(Config(secret_file=write_secret(tmp_path)))
    assert credentials == Credentials(SECRET)
    assert SECRET not in repr(credentials)


def test_without_a_file_there_is_a_fresh_secret_each_time() -> None:
    one, other = require_credentials(Config()), require_credentials(Config(listen=("tcp/127.0.0.1:0",)))
    assert one.secret != other.secret
    assert len(one.secret) >= 40


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(listen=("tcp/0.0.0.0:0",), insecure_plaintext=True), "so it takes a secret"),
        (Config(seeds=("tcp/127.0.0.1:5000",)), "joining a cluster takes its secret"),
    ],
)
def test_what_others_have_to_share_needs_a_secret(config: Config, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        require_credentials(config)


def test_a_secret_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="No such file"):
        find_credentials(Config(secret_file=str(tmp_path / "none")))
    with pytest.raises(InvalidOption, match="is empty"):
        find_credentials(Config(secret_file=write_secret(tmp_path, "")))
    binary = tmp_path / "binary"
    binary.write_bytes(b"hunter\xff2")
    with pytest.raises(InvalidOption, match="it is no text") as raised:
        find_credentials(Config(secret_file=str(binary)))
    assert "hunter" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_secret_that_others_can_read_is_complained_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(write_secret(tmp_path))
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        find_credentials(Config(secret_file=str(path)))
    assert "can be read by other users" in caplog.text
    assert SECRET not in caplog.text


# bndl cluster


def run(*arguments: str) -> None:
    app(["cluster", *arguments], standalone_mode=False)


def test_cluster_init_makes_private_files_that_a_node_can_use(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cluster"
    run("init", str(folder), "--host", "a", "--host", "b")
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    a = require_credentials(Config(credentials=str(folder / "a")))
    b = require_credentials(Config(credentials=str(folder / "b")))
    assert a.has_tls
    assert a.secret == b.secret == (folder / "secret").read_text().strip()
    assert a.certificate != b.certificate
    assert a.key == (folder / "a" / "node.key").read_text()
    assert a.key[40:80] not in repr(a)
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["ca.pem", "node.key", "node.pem", "secret"]


def test_cluster_init_does_not_touch_what_is_there(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InvalidOption, match="bndl cluster add"):
        run("init", str(tmp_path))
    with pytest.raises(InvalidOption, match="is there already"):
        run("add", str(tmp_path), "other", "node")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_cluster_add_makes_credentials_of_the_same_cluster(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    run("add", str(tmp_path), "late")
    late = find_credentials(Config(credentials=str(tmp_path / "late")))
    node = find_credentials(Config(credentials=str(tmp_path / "node")))
    assert late is not None
    assert node is not None
    assert late.secret == node.secret
    assert late.authority == node.authority


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the name of a folder"):
        run("init", str(tmp_path / "new"), f"--host={name}")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "a", "--host", "a"], "'a' is named 2 times"),
        (["--host", "a", "--host", "b" * 65], "too long for a certificate"),
        (["--host", "secret"], "is the name of a file"),
        (["--days", "9999999"], "cannot be valid for 9999999 days"),
        (["--days", "99999999999"], "cannot be valid for 99999999999 days"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(tmp_path: Path, options: list[str], message: str) -> None:
    folder = tmp_path / "new"
    with pytest.raises(InvalidOption, match=message):
        run("init", str(folder), *options)
    assert not folder.exists()
    run("init", str(folder), "--host", "a")
    assert (folder / "a" / "node.key").is_file()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidOption, match="name a new folder"):
        run("init", str(tmp_path / "file"))


def test_what_is_damaged_or_missing_is_told_before_anything_is_added(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    (tmp_path / "secret").rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidOption, match="secret' cannot be read"):
        run("add", str(tmp_path), "late")
    (tmp_path / "elsewhere").rename(tmp_path / "secret")
    (tmp_path / "ca.key").write_bytes(b"hunter2")
    with pytest.raises(InvalidOption, match=r"ca\.key in .* is damaged") as raised:
        run("add", str(tmp_path), "late")
    assert "hunter2" not in str(raised.value)
    assert not (tmp_path / "late").exists()


def test_a_certificate_is_signed_by_the_authority_and_signs_nothing_itself() -> None:
    authority = Authority.create(10)
    again = Authority.load(authority.certificate_pem, authority.key_pem)
    pem, key_pem = again.issue("node", 10)
    certificate = x509.load_pem_x509_certificate(pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 10
    key = serialization.load_pem_private_key(key_pem, None)
    assert key.public_key() == certificate.public_key()


# Frames


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("something was unpickled",)


@given(st.binary(max_size=300))
def test_a_frame_that_is_no_message_is_told_from_one_that_is(frame: bytes) -> None:
    try:
        message = messages.decode(frame)
    except msgspec.DecodeError:
        return
    assert messages.decode(messages.encode(message)) == message


@given(st.data())
def test_a_frame_that_was_changed_is_a_message_or_refused(data: st.DataObject) -> None:
    frame = bytearray(messages.encode(messages.Call(7, pickle.dumps(Bomb()))))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    try:
        messages.decode(cut)
    except msgspec.DecodeError:
        return


@given(st.recursive(st.none() | st.integers(0, 30) | st.binary(max_size=9), lambda inner: st.lists(inner, max_size=6)))
def test_a_frame_of_another_shape_is_a_message_or_refused(shape: object) -> None:
    frame = msgspec.msgpack.encode(shape)
    try:
        messages.decode(frame)
    except msgspec.DecodeError:
        return


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x9a\x0c\x01\xc3\xc4\x00" + b"\x91" * 100_000 + b"\xc0", id="deep"),
        pytest.param(messages.encode(messages.Adopt(1, "abc", ())).replace(b"abc", b"\xff\xfe\xfd"), id="no UTF-8"),
    ],
)
def test_what_the_decoder_stumbles_on_is_refused_too(frame: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        messages.decode(frame)
