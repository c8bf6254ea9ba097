"""Shared by all benchmarks: the machine's peaks, measured in the same run, and how rows name them.

Run with ``nox -s bench``, or ``python -m pytest bench -o python_files=bench_*.py``. Every benchmark
checks the core's result against the NumPy reference before it times anything.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import normrnn as nr
from bench.points import SHAPES, Problem, make_problem
from normrnn import _core


@dataclass(frozen=True)
class Machine:
    """What this machine can do at best with the threads in use."""

    flops: float  # float32 operations a second, a multiply-add counting two
    bandwidth: float  # bytes a second over the three streams of a plain update


MACHINE = pytest.StashKey[Machine]()


@pytest.fixture(scope="session")
def machine(pytestconfig: pytest.Config) -> Machine:
    threads = nr.get_num_threads()
    measured = Machine(_core.fma_peak(True, threads), _core.stream_bandwidth(threads))
    pytestconfig.stash[MACHINE] = measured
    return measured


@pytest.fixture(
    params=SHAPES, ids=lambda p: f"{p.cell}-T{p.times}-B{p.batch}-I{p.inputs}-H{p.hidden}"
)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(request.param)


@pytest.fixture(params=["core", "numpy"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def timed(benchmark: Any, machine: Machine) -> Callable[..., None]:
    """Time a call, and write down which fraction of the machine's peak it reached."""

    def run(
        call: Callable[[], object], *, flops: float = 0, bytes_: float = 0, slow: bool = False
    ) -> None:
        if slow:
            benchmark.pedantic(call, rounds=3, iterations=1, warmup_rounds=1)
        else:
            benchmark(call)
        if benchmark.disabled:  # --benchmark-disable: called once, to see that it works
            return
        seconds = benchmark.stats.stats.median
        if flops:
            benchmark.extra_info["fraction of FMA peak"] = round(flops / seconds / machine.flops, 3)
        if bytes_:
            fraction = bytes_ / seconds / machine.bandwidth
            benchmark.extra_info["fraction of streaming bandwidth"] = round(fraction, 3)

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """List every row's median and fractions; for pairs, how much faster the core is."""
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    rows: dict[tuple[str, str], Any] = {}
    for bench in session.benchmarks:
        if not bench.has_error:
            test, _, parameters = bench.name.partition("[")
            points = parameters.rstrip("]").split("-")
            engine = next((p for p in points if p in ("core", "numpy", "torch")), "core")
            point = "-".join(p for p in points if p != engine)
            rows[test.removeprefix("test_"), point, engine] = bench
    terminalreporter.section("fractions of the peaks measured in this run")
    machine = config.stash[MACHINE]
    terminalreporter.write_line(
        f"target {_core.config()['target']}, {nr.get_num_threads()} threads, FMA peak "
        f"{machine.flops / 1e9:.0f} GFLOP/s, streams {machine.bandwidth / 1e9:.0f} GB/s"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    terminalreporter.write_line(f"peak memory of this process {peak:.0f} MiB")
    for (test, point, engine), bench in rows.items():
        if engine == "core":
            peaks = ", ".join(
                f"{v:.0%} of {k.split('of ')[1]}" if k.startswith("fraction") else f"{v} x {k}"
                for k, v in bench.extra_info.items()
            )
            others = {name: rows.get((test, point, name)) for name in ("numpy", "torch")}
            ratio = " ".join(
                f"{other.stats.median / bench.stats.median:7.1f} x {name}"
                for name, other in others.items()
                if other
            )
            terminalreporter.write_line(
                f"{test:18} {point:30} {bench.stats.median * 1e3:10.3f} ms {ratio}  {peaks}"
            )
