"""Workers on Ray, against one that only notes what it is told. With a real one: tests/faults/test_ray.py."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bndl.config import Config
from bndl.deploy.joining import Joining, make_fresh

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    exceptions = pytest.importorskip("ray.exceptions", reason="Ray is not installed: pip install 'bndl[ray]'")

from bndl.deploy import ray as bndl_ray
from bndl.deploy.ray import RayWorkers

TIMEOUT = 10.0
OWN = "10.0.0.5"


class Actor:
    """A handle of an actor. What its methods return comes when a test says so, or when it is killed."""

    def __init__(self, joining: Joining) -> None:
        self.joining = joining
        self.calls: dict[str, Future[object]] = {}

    def __getattr__(self, name: str) -> Any:
        def remote() -> Any:
            future: Future[object] = Future()
            self.calls[name] = future
            return SimpleNamespace(future=lambda: future)

        return SimpleNamespace(remote=remote)

    def die(self) -> None:
        for future in self.calls.values():
            if not future.done():
                future.set_exception(exceptions.RayActorError())


class Ray:
    """As much of Ray as is used."""

    exceptions = exceptions

    def __init__(self) -> None:
        self.starts = 0
        self.runs = False
        self.addresses = [OWN]
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.util = SimpleNamespace(get_node_ip_address=lambda: OWN)

    def is_initialized(self) -> bool:
        return self.runs

    def init(self, **_: object) -> None:
        self.runs = True
        self.starts += 1

    def shutdown(self) -> None:
        self.runs = False

    def nodes(self) -> list[dict[str, object]]:
        return [{"NodeManagerAddress": address, "Alive": True} for address in self.addresses]

    def remote(self, _: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, joining: Joining) -> Actor:
        self.actors.append(Actor(joining))
        return self.actors[-1]

    def get(self, ref: Any, timeout: float) -> object:
        return ref.future().result(timeout)

    def kill(self, actor: Actor) -> None:
        if not self.runs:
            self.init()  # as the real one does
        self.killed.append(actor)
        actor.die()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(bndl_ray, "ray", ray)
    return ray


def launch(workers: RayWorkers, config: Config | None = None) -> None:
    workers.find_address(is_safe=True)
    workers.launch(Joining("cluster", (f"tls/{OWN}:5000",), make_fresh(), config or Config()))


def test_machines_that_are_added_later_can_reach_the_driver(ray: Ray) -> None:
    config, _ = RayWorkers(2).prepare(Config())
    assert ray.addresses == [OWN]
    assert config.listen == (f"tls/{OWN}:0",)


def test_in_plain_text_the_driver_listens_on_the_network_only_if_it_must(ray: Ray, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame-5f2c")
    secret.chmod(0o600)
    plain = Config(secret_file=str(secret))
    assert RayWorkers(2).prepare(plain)[0].listen == ("tcp/127.0.0.1:0",)
    assert RayWorkers(2).prepare(replace(plain, insecure_plaintext=True))[0].listen == (f"tcp/{OWN}:0",)
    ray.addresses.append("10.0.0.6")
    assert RayWorkers(2).prepare(plain)[0].listen == (f"tcp/{OWN}:0",)  # which is refused


def dismissals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bndl-dismiss"]


def test_a_worker_that_is_too_many_leaves_and_is_given_back(ray: Ray) -> None:
    workers = RayWorkers(2)
    launch(workers)
    workers.scale(1)
    kept, excess = ray.actors
    (thread,) = dismissals()
    assert ray.killed == []
    excess.calls["leave"].set_result(None)
    thread.join(TIMEOUT)
    assert ray.killed == [excess]
    workers.end()
    assert ray.killed == [excess, kept]
    assert (ray.runs, ray.starts) == (False, 1)


def test_the_end_does_not_wait_for_workers_that_are_leaving_and_ray_stays_down(
    ray: Ray, caplog: pytest.LogCaptureFixture
) -> None:
    workers = RayWorkers(3)
    launch(workers)
    workers.scale(1)
    threads = dismissals()
    workers.end()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(map(id, ray.killed)) == sorted(map(id, ray.actors))
    assert (ray.runs, ray.starts) == (False, 1)
    assert caplog.text == ""


def test_it_is_told_why_workers_do_not_run(ray: Ray, caplog: pytest.LogCaptureFixture) -> None:
    workers = RayWorkers(4)
    launch(workers)
    given_up, not_started, lost, healthy = ray.actors
    given_up.calls["watch"].set_result("it has no memory")
    not_started.calls["watch"].set_exception(exceptions.RayActorError(error_msg="it cannot listen"))
    for reason in ("it has no memory", "it cannot listen"):
        assert caplog.text.count(f"a worker on Ray does not run: {reason}") == 1
    caplog.clear()
    lost.calls["watch"].set_exception(exceptions.ActorUnavailableError("its machine is gone", None))
    workers.end()
    assert healthy.calls["watch"].done()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("cores", "set_to", "threads"),
    [(1, 0, 1), (4.0, 0, 4), (2.5, 0, 2), (0.5, 0, 1), (0, 0, 1), (4, 3, 3)],
)
def test_numeric_libraries_have_the_cores_of_their_worker(ray: Ray, cores: float, set_to: int, threads: int) -> None:
    launch(RayWorkers(2, cores=cores), Config(library_threads=set_to))
    assert [actor.joining.config.library_threads for actor in ray.actors] == [threads] * 2


@pytest.mark.parametrize(
    ("free", "advice"), [({"CPU": 0.0}, "ask for fewer workers"), ({"CPU": 8.0}, "may be starting")]
)
def test_workers_that_do_not_run_are_told_with_what_ray_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free: dict[str, float], advice: str
) -> None:
    fake = Ray()
    fake.runs = True
    monkeypatch.setattr(fake, "cluster_resources", lambda: {"CPU": 8.0}, raising=False)
    monkeypatch.setattr(fake, "available_resources", lambda: free, raising=False)
    monkeypatch.setattr(bndl_ray, "ray", fake)
    monkeypatch.setattr(bndl_ray, "_PLACING", 0.01)
    monkeypatch.setattr(bndl_ray, "_INTERVAL", 0.01)
    workers = RayWorkers(3, cores=2.0)
    ready: Future[object] = Future()
    ready.set_result(None)
    pending: Future[object] = Future()
    workers._joining = Joining("c", (), make_fresh(), Config())  # noqa: SLF001 - what ``launch`` does
    thread = threading.Thread(target=workers._watch_start, args=([ready, pending],))  # noqa: SLF001 - as above
    thread.start()
    deadline = time.monotonic() + TIMEOUT
    while len(caplog.records) < 2:
        assert time.monotonic() < deadline
    pending.set_result(None)
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    text = caplog.records[0].getMessage()
    assert text.startswith("Ray has not started 1 workers yet. Each takes 2 CPU; Ray has ")
    assert f"{free['CPU']:g} of 8 CPU free" in text
    assert advice in text
