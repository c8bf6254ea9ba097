"""What is measured: the rows of a run, in the order in which they are done."""

from __future__ import annotations

import itertools

from bench import peers
from bench.norms import suite as norms
from bench.points import SHAPES, Point
from bench.row import FORWARD, STEP, TAPE, TRAIN, UPDATE, Row
from bench.training_points import TrainingPoint
from bench.update_points import UpdatePoint

# What scaling is shown against; compiling or oneDNN at every point takes long and adds little.
SCALING_PEERS = ("normrnn", "torch", "jax", "onnxruntime", "openvino", "numpy")


PUBLIC = [
    *SHAPES,
    Point("lstm", 2000, 8, 256, 256, layers=2),
    Point("lstm", 63, 1, 24, 32, bidirectional=True),
    Point("rnn_tanh", 50, 32, 1760, 1760),
]
# DeepBench's training table; its vanilla network has ReLU.
DEEPBENCH = [
    *[Point("rnn_relu", 50, b, h, h) for h in (1760, 2048, 2560) for b in (16, 32, 64, 128)],
    *[Point("lstm", 25, b, h, h) for h in (512, 1024, 2048, 4096) for b in (16, 32, 64, 128)],
    *[Point("lstm", 50, b, 1536, 1536) for b in (8, 16, 32)],
    *[Point("lstm", 150, b, 256, 256) for b in (16, 32, 64)],
    *[Point("gru", t, 32, h, h) for h, t in ((2816, 1500), (2048, 750), (1536, 375), (2560, 187))],
    *[Point("gru", 1500, b, 1024, 1024) for b in (32, 64)],
]
# A few that stand for the table: small and large batches, wide and narrow, short and long.
DEEPBENCH_SOME = [
    Point("rnn_relu", 50, 16, 1760, 1760),
    Point("rnn_relu", 50, 64, 2048, 2048),
    Point("lstm", 25, 128, 512, 512),
    Point("lstm", 25, 32, 2048, 2048),
    Point("lstm", 50, 8, 1536, 1536),
    Point("lstm", 150, 64, 256, 256),
    Point("gru", 375, 32, 1536, 1536),
]
# Operands in bfloat16, where there is enough to multiply.
BFLOAT16 = [
    *[Point(cell, 100, 32, 64, 128) for cell in ("rnn_tanh", "gru", "lstm")],
    *[Point(cell, 64, 64, 256, 512) for cell in ("rnn_tanh", "gru", "lstm")],
    Point("lstm", 150, 16, 256, 256),
    Point("lstm", 50, 64, 500, 500),
    Point("lstm", 25, 64, 1024, 1024),
    Point("lstm", 50, 8, 1536, 1536),
    Point("gru", 300, 20, 800, 800),
]
TRAINING = [
    TrainingPoint("lstm", 1, 1, 8, 8),
    TrainingPoint("rnn_tanh", 50, 1, 4, 16),
    TrainingPoint("gru", 20, 8, 3, 32),
    TrainingPoint("lstm", 50, 16, 8, 64),
]
SCALING = {
    "scaling T": [Point("lstm", t, 32, 64, 128) for t in (50, 100, 200, 500, 1000, 2000, 5000)],
    "scaling B": [Point("lstm", 100, 1 << k, 64, 128) for k in range(10)],
    "scaling H": [Point("lstm", 50, 32, h, h) for h in (32, 64, 128, 256, 512, 1024, 2048)],
}
COMPLETE = {"public": PUBLIC, "deepbench": DEEPBENCH, "bfloat16": BFLOAT16} | SCALING
THREADS_POINT = Point("lstm", 64, 64, 256, 512)

QUICK = {
    "public": [Point(c, 100, 8, 64, 128) for c in ("rnn_tanh", "rnn_relu", "gru", "lstm")]
    + [Point("lstm", 63, 1, 24, 32, bidirectional=True), Point("gru", 100, 1, 64, 128)],
    "deepbench": [Point("lstm", 10, 16, 512, 512)],
    "bfloat16": [Point("lstm", 25, 16, 64, 128)],
    "scaling T": [Point("lstm", t, 8, 32, 64) for t in (50, 200, 800)],
    "scaling B": [Point("lstm", 50, b, 32, 64) for b in (1, 8, 64)],
    "scaling H": [Point("lstm", 25, 8, h, h) for h in (32, 128, 512)],
}


def rows(threads: int, *, quick: bool, complete: bool) -> list[Row]:
    """List the rows of a run.

    Parameters
    ----------
    threads : int
        For all rows but those that vary it.
    quick : bool
        Small points, to see the whole chain at work.
    complete : bool
        All of DeepBench's table in place of a selection.
    """
    some = {} if complete else {"deepbench": DEEPBENCH_SOME}
    points = QUICK if quick else COMPLETE | some
    all_three = (FORWARD, TAPE, TRAIN)
    scaling = {name: peers.SEQUENCE[name] for name in SCALING_PEERS}
    ragged = (50, 16, 32, 64) if quick else (200, 64, 64, 128)
    size = 1 << 20 if quick else 20_000_000

    def sequences(group: str) -> list[Row]:
        return [Row(group, p, all_three, peers.SEQUENCE, threads) for p in points[group]]

    listed = sequences("public")
    one_call = Point("lstm", 1, 1, 8, 8)
    listed.append(Row("call", one_call, (FORWARD, TRAIN), peers.SEQUENCE, threads))
    listed += [Row("training", p, (STEP,), peers.TRAINING, threads) for p in TRAINING]
    for cell in ("lstm", "gru"):
        point = Point(cell, *ragged, ragged=True)
        listed.append(Row("ragged", point, (TRAIN,), peers.RAGGED, threads))
    for rule, checked in itertools.product(("sgd", "adam"), (True, False)):
        update = UpdatePoint(rule, size, check_finite=checked)
        listed.append(Row("update", update, (UPDATE,), peers.UPDATE, threads))
    listed += sequences("deepbench")
    for rounded in (point._replace(precision="bfloat16") for point in points["bfloat16"]):
        listed.append(Row("bfloat16", rounded, all_three, peers.BFLOAT16, threads))
    for group in SCALING:
        listed += [Row(group, p, (FORWARD, TRAIN), scaling, threads) for p in points[group]]
    point = points["scaling H"][-1] if quick else THREADS_POINT
    for count in thread_counts(threads):
        listed.append(Row("scaling threads", point, (FORWARD, TRAIN), scaling, count))
    return listed + norms.rows(threads, quick=quick)


def thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4, ... and the most."""
    return [1 << k for k in range(most.bit_length()) if 1 << k < most] + [most]
