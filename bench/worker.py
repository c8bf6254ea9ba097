"""A peer at work in a process of its own: prepares a point, checks the results, takes the time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import timeit
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from bench import peers
from bench.peers.contract import Arrays, Call

SAMPLE = 1e-3  # seconds: shorter calls are timed several at once
WARM_UP = 0.01  # seconds: threads wake, and caches hold the point again
MOST_SAMPLES = 50  # of a turn
FEWEST_PAIRS = 5  # of a turn, where one call is timed against another
GLANCE = 5e-3  # seconds between looks at whether the threads sleep
PATIENCE = 2.0  # seconds in which they have to: OpenBLAS's and ONNX Runtime's need about 0.1


class UnableError(Exception):
    """A peer cannot do a row; the message says why, as the report tells it."""


class DiffersError(UnableError):
    """A peer's results are not normrnn's."""


class Engine:
    """What a worker can be asked for, by method name."""

    def __init__(self, place: str, threads: int):
        try:
            self.peer = peers.load(place)
        except peers.NotInstalledError as error:
            raise UnableError(str(error)) from error
        self.threads = threads
        self.calls: dict[str, Call] = {}
        self.estimates: dict[str, float] = {}

    def version(self) -> str:
        """Return the library's version."""
        return self.peer.version

    def prepare(self, point: Any, operations: tuple[str, ...]) -> dict[str, float]:
        """Make ready, compare all results with normrnn's, and return rough seconds of each call."""
        self.calls.clear()  # frees the last point's arrays first
        missing = self.peer.lacks(point)
        if missing:
            raise UnableError(missing)
        calls = self.peer.prepare(point.problem(), self.threads)
        calls = {name: calls[name] for name in operations if name in calls}
        if self.peer.same and self.peer.name != "normrnn":
            true = peers.load(point.ours)
            check(point, calls, true.prepare(point.problem(), self.threads))
        self.estimates = {
            name: min(timeit.repeat(call.run, number=1, repeat=2)) for name, call in calls.items()
        }
        self.calls = calls
        fall_asleep()
        return self.estimates

    def turn(self, operations: Sequence[str], seconds: float) -> dict[str, list[float]]:
        """Time calls for about so many seconds, each operation by turns, after a warm-up.

        As many of one as of another, for what disturbs one call disturbs its neighbours, too; at
        least one, or a few where they are to be compared.
        """
        fewest = FEWEST_PAIRS if len(operations) > 1 else 1
        # A timer switches the garbage collector off.
        timers = {name: timeit.Timer(self.calls[name].run) for name in operations}
        numbers = {name: max(1, round(SAMPLE / self.estimates[name])) for name in operations}
        for name, timer in timers.items():
            if self.estimates[name] < seconds:
                timer.timeit(max(1, round(WARM_UP / self.estimates[name])))
        end = time.perf_counter() + seconds
        samples: dict[str, list[float]] = {name: [] for name in operations}
        for k in range(MOST_SAMPLES):
            if k >= fewest and time.perf_counter() > end:
                break
            for name, timer in timers.items():
                samples[name].append(timer.timeit(numbers[name]) / numbers[name])
        fall_asleep()
        return samples

    def peaks(self, names: Sequence[str]) -> dict[str, float]:
        """Measure float32 operations a second, or bytes a second over a plain update's streams."""
        from normrnn import _core

        measure = {
            "flops": lambda: _core.fma_peak(True, self.threads),
            "bandwidth": lambda: _core.stream_bandwidth(self.threads),
        }
        return {name: measure[name]() for name in names}

    def tape_bytes(self) -> int | None:
        """Return what normrnn's tape occupies, where the tape can tell (an attribute `nbytes`)."""
        return getattr(self.calls["tape"].run().tape, "nbytes", None)


def fall_asleep() -> None:
    """Wait until no thread of this process spins any more, so that the next peer has the machine.

    Raises
    ------
    UnableError
        If some thread never rests.
    """
    end = time.monotonic() + PATIENCE
    used = -1.0
    while time.process_time() - used > 0.1 * GLANCE:
        if time.monotonic() > end:
            raise UnableError(f"its threads still compute {PATIENCE:.0f} s after a call")
        used = time.process_time()
        time.sleep(GLANCE)


def check(point: Any, calls: dict[str, Call], true: dict[str, Call]) -> None:
    """Compare every result of a peer with normrnn's, element by element.

    Raises
    ------
    DiffersError
        If an array is missing, superfluous or different.
    """
    for operation, call in calls.items():
        got, expected = (one.read(one.run()) for one in (call, true[operation]))
        compare(operation, got, expected, point.check)


def compare(
    operation: str, got: Arrays, expected: Arrays, close: Callable[[str, Any, Any], None]
) -> None:
    """Compare arrays by name; `close` of operation, got and expected asserts that they agree."""
    if got.keys() != expected.keys():
        raise DiffersError(f"differs: {operation} gives {sorted(got)}, not {sorted(expected)}")
    for name, array in expected.items():
        try:
            close(operation, got[name], array)
        except AssertionError as error:
            details = " ".join(str(error).split())
            raise DiffersError(f"differs in {name} of {operation}: {details}") from error


def serve(connection: Connection, place: str, threads: int) -> None:
    """Answer requests (method, arguments) with (kind, answer) until the other end closes."""
    if hasattr(os, "sched_setaffinity"):  # JAX has no other way of being given its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        engine = None
        while True:
            method, *arguments = connection.recv()
            try:
                engine = engine or Engine(place, threads)
                answer = ("done", getattr(engine, method)(*arguments))
            except DiffersError as error:
                answer = ("wrong", str(error))
            except UnableError as error:
                answer = ("unable", str(error))
            except Exception as error:  # any library may fail in any way; the report says so
                traceback.print_exc(file=sys.stderr)
                first = str(error).strip().partition("\n")[0]
                answer = ("wrong", f"failed: {type(error).__name__}: {first}")
            connection.send(answer)
