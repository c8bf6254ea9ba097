"""The workers of a run, one process for each peer, of which one works at a time.

Why processes: the runtimes' threads spin for a while after a call (ONNX Runtime's, OpenMP's, XLA's
and normrnn's own), each wants its number of threads before it is loaded, and two OpenMP runtimes
in one process disturb each other. So each peer keeps the settings it is fastest with, spinning
included, nobody else computes during its turn, and its turn is over when its threads sleep.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.worker import DiffersError, UnableError, serve

LIMIT = 300.0  # seconds that a peer may take to compile, to check and to get going
PATIENCE = 5.0  # seconds that a peer may take to end
POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM", "BLIS")


class Worker:
    """One process with one peer in it."""

    def __init__(self, place: str, threads: int):
        context = multiprocessing.get_context("spawn")  # fork would inherit loaded libraries
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, place, threads), daemon=True)
        with environment(threads):
            self.process.start()
        theirs.close()

    def ask(self, method: str, *arguments: Any, limit: float = LIMIT) -> Any:
        """Call a method of the worker's `Engine`.

        Raises
        ------
        UnableError
            If the peer is not installed, lacks something, or had to be stopped.
        DiffersError
            If its results differ from normrnn's, or it failed.
        """
        try:
            self.connection.send((method, *arguments))
            if not self.connection.poll(limit):
                self.close()
                raise UnableError(f"took longer than {limit:.0f} s to {method}")
            kind, answer = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.close()
            raise DiffersError(f"failed: the process ended while asked to {method}") from error
        if kind == "done":
            return answer
        raise {"wrong": DiffersError, "unable": UnableError}[kind](answer)

    def close(self) -> None:
        """End the process: it goes by itself when the pipe is closed, unless it is busy."""
        self.connection.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Team:
    """Workers by name, started when first needed; a context manager that ends them."""

    def __init__(self, threads: int):
        self.threads = threads
        self.workers: dict[str, tuple[str, Worker]] = {}
        self.versions: dict[str, str] = {}  # or why there is none

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for _, worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def worker(self, name: str, place: str) -> Worker:
        """Return a peer's worker, a new one where there is none or it has ended.

        Raises
        ------
        UnableError
            If the peer is not installed.
        """
        if self.versions.get(name, "").startswith("not installed"):
            raise UnableError(self.versions[name])
        known, worker = self.workers.get(name, ("", None))
        if worker is None or known != place or not worker.process.is_alive():
            if worker is not None:
                worker.close()
            worker = Worker(place, self.threads)
            self.workers[name] = (place, worker)
            try:
                self.versions[name] = worker.ask("version")
            except UnableError as error:
                self.versions[name] = str(error)
                raise
        return worker


@contextmanager
def environment(threads: int) -> Iterator[None]:
    """Set what libraries read when they are loaded, for the processes started meanwhile."""
    before = dict(os.environ)
    os.environ.update({f"{pool}_NUM_THREADS": str(threads) for pool in POOLS})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
