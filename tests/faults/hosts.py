"""Machines in network namespaces: each has a network interface of its own, all are on one switch.

A cut is silent, as on a real network: what is sent is lost, and no error comes back.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["Hosts", "Program", "why_not"]

#: A hardware address that nobody has.
_NOWHERE = "02:00:00:00:00:fe"


_IP = shutil.which("ip") or "ip"


def _ip(*arguments: str) -> None:
    subprocess.run([_IP, *arguments], check=True, capture_output=True, timeout=30)


def why_not() -> str:
    """Why there can be no such machines here; empty if there can."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    if os.geteuid() != 0:
        return "network namespaces take root"
    if shutil.which("ip") is None:
        return "network namespaces take the command ip (iproute2)"
    name = f"bndl-{uuid4().hex[:6]}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.decode().strip()}"
    _ip("netns", "del", name)
    return ""


class Program:
    """A process on a machine, whose lines can be waited for."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_line(self, start: str, timeout: float = 40.0) -> str:
        """The rest of the next line that begins with ``start``."""
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except queue.Empty:
                line = None
            assert line is not None, f"no line {start!r} came; it wrote:\n{''.join(self.output)}"
            if line.startswith(start):
                return line[len(start) :]

    def wait_said(self, what: str, timeout: float = 40.0) -> Any:
        """What the program gave to ``say(what, ...)``."""
        return json.loads(self.wait_line(f"{what} ", timeout))

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(timeout)

    def close(self) -> None:
        """End it and what is in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError, ValueError):
                stream.close()


class Hosts:
    """Machines that are called 1, 2, 3, ...

    Args:
        count: how many.
        folder: where their programs run.
        variables: of their environment.
    """

    def __init__(self, count: int, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = {"HOME": str(folder), **variables}
        self._prefix = f"bndl-{uuid4().hex[:6]}"
        self._numbers = range(1, count + 1)
        self._programs: list[Program] = []
        self._switch = f"{self._prefix}-s"
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for number in self._numbers:
                self._add(number)
        except BaseException:
            self.close()
            raise

    def _add(self, number: int) -> None:
        space = self._space(number)
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")
        peer = ("peer", "name", f"port{number}", "netns", self._switch)
        _ip("link", "add", "eth0", "netns", space, "type", "veth", *peer)
        _ip("-n", self._switch, "link", "set", f"port{number}", "master", "switch", "up")
        _ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")

    def _space(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def address(self, number: int) -> str:
        """The IP address of a machine."""
        return f"10.99.0.{number}"

    def run(self, number: int, *command: str) -> Program:
        """Start a program on a machine."""
        program = Program([_IP, "netns", "exec", self._space(number), *command], self._folder, self._variables)
        self._programs.append(program)
        return program

    def run_worker(self, number: int, *options: str, workers: int = 1) -> Program:
        """Run ``bndl worker`` on a machine, listening on its port 5000."""
        bndl = str(Path(sys.executable).with_name("bndl"))
        listen = ("--listen", f"tls/{self.address(number)}:5000", "--workers", str(workers))
        program = self.run(number, bndl, "worker", *listen, *options)
        program.wait_line("listening on ")
        return program

    def run_python(self, number: int, code: str) -> Program:
        """Run code on a machine. It has ``say(what, value)`` for the test to hear, and ``hear()`` for its lines."""
        return self.run(number, sys.executable, "-W", "error", "-c", PRELUDE + code)

    def cut_off(self, number: int) -> None:
        """Pull the plug of a machine."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "down")

    def plug_in(self, number: int) -> None:
        """The end of ``cut_off``."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "up")

    def cut_way(self, sender: int, receiver: int) -> None:
        """Lose all that one machine sends to another."""
        neighbour = (self.address(receiver), "lladdr", _NOWHERE, "dev", "eth0", "nud", "permanent")
        _ip("-n", self._space(sender), "neigh", "replace", *neighbour)

    def heal_way(self, sender: int, receiver: int) -> None:
        """The end of ``cut_way``."""
        _ip("-n", self._space(sender), "neigh", "del", self.address(receiver), "dev", "eth0")

    def slow_down(self, number: int, rate: str) -> None:
        """Let no more than so much through from and to a machine, such as ``8mbit`` per second.

        Raises:
            subprocess.CalledProcessError: the kernel cannot do it.
        """
        for space, device in ((self._space(number), "eth0"), (self._switch, f"port{number}")):
            limit = ("root", "tbf", "rate", rate, "burst", "32kbit", "latency", "200ms")
            command = [_IP, "netns", "exec", space, "tc", "qdisc", "add", "dev", device, *limit]
            subprocess.run(command, check=True, capture_output=True, timeout=30)

    def close(self) -> None:
        """End all programs and remove the machines."""
        for program in self._programs:
            program.close()
        for space in (*map(self._space, self._numbers), self._switch):
            subprocess.run([_IP, "netns", "del", space], check=False, capture_output=True, timeout=30)


PRELUDE = """
import json, sys

def say(what, value=None):
    print(what, json.dumps(value), flush=True)

def hear():
    return sys.stdin.readline().strip()

"""
