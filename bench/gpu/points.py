"""What is measured on a GPU, and the least time that it can take."""

from __future__ import annotations

from bench.points import Point
from bench.suite import DEEPBENCH, PUBLIC

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
POINTS = {"public": [*PUBLIC, Point("lstm", 1024, 16, 768, 768)], "deepbench": DEEPBENCH}
QUICK = {"public": [Point("lstm", 25, 16, 64, 64), Point("gru", 50, 8, 32, 64)]}
UPDATE_SIZE = 200_000_000  # so many that nothing but the bandwidth counts
# Arrays of float32 that an update reads or writes: weights twice, gradients once, slots twice.
UPDATE_STREAMS = {"sgd": 3, "adam": 7}


def floor(
    point: Point, operation: str, precision: str, peaks: dict[str, float]
) -> dict[str, float]:
    """Return the two numbers that nothing can beat, in milliseconds.

    Parameters
    ----------
    point, operation, precision
        A row.
    peaks : dict
        Of the device, as measured: "bandwidth" in bytes/s, and flop/s by precision.

    Returns
    -------
    dict
        "bytes", for reading each input once and writing each result once, and "flops", for the
        products at the rate of a large product of that precision.
    """
    directions = 1 + point.bidirectional
    gates_of = {"lstm": 4, "gru": 3}
    rows = gates_of.get(point.cell, 1) * point.hidden
    columns = point.inputs + (point.layers - 1) * directions * point.hidden
    weights = 4 * directions * rows * (columns + point.layers * (point.hidden + 2))
    x = 4 * point.rows * point.inputs
    y = 4 * point.rows * directions * point.hidden
    moved = x + weights + y
    if operation != "forward":
        moved += point.tape_bytes
    if operation == "train":  # reads that again, x, y's gradient and the weights, and writes theirs
        moved += point.tape_bytes + 2 * x + y + 2 * weights
    flops = point.flops * (3 if operation == "train" else 1)
    return {"bytes": 1e3 * moved / peaks["bandwidth"], "flops": 1e3 * flops / peaks[precision]}
