"""Times by CUDA events, and what the device can do at most."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
WARM_UP, LEAST = 3, 10  # calls, measurements
ROW = 10  # calls


def side_by_side(
    calls: Mapping[str, Callable[[], Any]], seconds: float, row: int = 1
) -> dict[str, list[float]]:
    """Time calls in turns, so many of each in a row between two events on the current stream.

    Of one call alone the device waits at first for the host to prepare it, and of some small ones
    that is most of the time. In a row the host prepares a call while the device does those before.

    Returns
    -------
    dict of str to list of float
        Milliseconds a call; at least ten numbers each, more within the time.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    while True:
        for name, call in calls.items():
            found[name].append(_one(call, row))
        spent = row * sum(map(sum, found.values())) / 1e3
        if min(map(len, found.values())) >= LEAST and spent > seconds:
            return found


def row_of(times: Mapping[str, list[float]]) -> int:
    """Return how many calls to take in a row: ten, fewer where they take long by themselves."""
    longest = max(map(statistics.median, times.values()))
    return min(ROW, max(2, int(20 / longest)))


def _one(call: Callable[[], Any], row: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(row):
        kept = call()
    end.record()
    end.synchronize()
    del kept  # freed after the clock, as a caller who uses it would
    return float(begin.elapsed_time(end)) / row


def set_precision(precision: str) -> None:
    """Let PyTorch round operands to tf32 where that is asked for, and nowhere else."""
    allowed = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def peaks(size: int = 8192) -> dict[str, float]:
    """Measure the device: bytes/s of a large copy, flop/s of a large product by precision."""
    found = {"bandwidth": bandwidth(1 << 28)}
    for precision, dtype in DTYPES.items():
        set_precision(precision)
        side = size // 2 if precision == "float32" else size
        a, b = (torch.randn(side, side, device="cuda").to(dtype) for _ in range(2))
        times = side_by_side({"product": lambda a=a, b=b: a @ b}, 0.2, ROW)["product"]
        found[precision] = 2.0 * side**3 / statistics.median(times) * 1e3
    return found


def bandwidth(size: int) -> float:
    """Measure bytes/s, read and written, of a copy of so many float32 numbers."""
    source = torch.randn(size, device="cuda")
    target = torch.empty_like(source)
    times = side_by_side({"copy": lambda: target.copy_(source)}, 0.2, ROW)["copy"]
    return 2 * 4 * size / statistics.median(times) * 1e3
