"""What can be set, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Config"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a context and of the workers that it starts.

    Attributes:
        lease: after how many seconds of silence a peer counts as lost.
        hello_interval: seconds between greetings to a peer that has not answered.
        start_timeout: how many seconds a local worker process may take to come up.
        stop_timeout: how many seconds a local worker process may take to end before it is killed.
        no_workers_timeout: for how many seconds work waits when no worker is left.
        fetch_timeout: how many seconds a peer may take to answer a request for results.
        cancel_timeout: after how many seconds a worker that does not stop a cancelled attempt is ended from outside.
        inline_bytes: up to which size arguments and results travel in messages; larger ones are fetched.
        chunk_bytes: how much of a large result is asked for at a time.
        store_bytes: how much memory a node's kept results may take before they are moved to disk.
        max_result_bytes: how large a result may be that goes to the driver; larger ones can only stay on workers.
        cancel_grace: a task that is cancelled, or out of time, is told so at once. After so many seconds an exception
            is raised in it, and after as many more its worker's process ends.
        max_restarts: how many times in a row a local worker that does not stay up is started again.
    """

    lease: float = 5.0
    hello_interval: float = 0.1
    start_timeout: float = 30.0
    stop_timeout: float = 3.0
    no_workers_timeout: float = 60.0
    fetch_timeout: float = 30.0
    cancel_timeout: float = 5.0
    inline_bytes: int = 64 << 10
    chunk_bytes: int = 4 * MEBIBYTE
    store_bytes: int = 1024 * MEBIBYTE
    max_result_bytes: int = 16 * 1024 * MEBIBYTE
    cancel_grace: float = 1.0
    max_restarts: int = 5
