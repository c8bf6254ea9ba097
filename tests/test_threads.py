"""Threads: good manners towards the process, and the same bits (see test_bitwise.py, too).

One file of 400 lines, for most of it are short programs that share how they are run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from normrnn import _core
from runs import assert_same_bits, outcome, run_python
from strategies import Problem, problems

CELLS = sorted(_core.cells())
COUNTS = (1, 2, 3, 7, 16)
# Large enough for a team, in each of the ways to share out work: sequences, units, ragged lengths.
RAGGED = tuple(range(30))
SHARED_OUT = [
    Problem("lstm", 8, 60, 20, 40, 1, False, True, False, None, True, "float32", seed=0),
    Problem("lstm", 8, 2, 30, 400, 2, True, True, True, None, True, "float32", seed=1),
    Problem("lstm", 30, 30, 9, 33, 2, True, False, False, RAGGED, False, "float32", seed=2),
]


@pytest.fixture
def keep_num_threads() -> Iterator[None]:
    before = nr.get_num_threads()
    yield
    nr.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("keep_num_threads")
def test_head_losses_and_update_for_any_number_of_threads(dtype: str) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    h, dy = normal(40, 50, 97), normal(40, 50, 65)
    head = {"weight_hy": normal(65, 97), "bias_hy": normal(65)}
    target, classes = rng.uniform(size=dy.shape).astype(dtype), rng.integers(65, size=(40, 50))
    weights, gradients = {"w": normal(300, 301)}, {"w": normal(300, 301)}

    def everything() -> dict[str, np.ndarray]:
        dh, grads = nr.head_backward(h, dy, head)
        results = {"y": nr.head_forward(h, head), "dh": dh} | grads
        for loss, wanted in [
            (nr.squared_error, target),
            (nr.sigmoid_cross_entropy, target),
            (nr.softmax_cross_entropy, classes),
        ]:
            value, results[f"d {loss.__name__}"] = loss(dy, wanted)
            results[loss.__name__] = np.array(value)
        params = {"w": weights["w"].copy()}
        rule = nr.Adam(0.1)
        state = nr.init_state(rule, params)
        info = nr.update(
            params, gradients, state, rule=rule, penalty=nr.ElasticNet(0.1, 0.1), clip_norm=1.0
        )
        return results | params | {name: np.array(x) for name, x in vars(info).items()}

    nr.set_num_threads(1)
    expected = everything()
    for count in COUNTS:
        nr.set_num_threads(count)
        assert_same_bits(everything(), expected)


@settings(max_examples=150)
@given(problem=problems(cells=CELLS, min_batch=1, max_batch=20, max_layers=2), data=st.data())
def test_a_sequence_does_not_feel_its_neighbours(problem: Problem, data: st.DataObject) -> None:
    """Any part of the batch, in any order, has the same rows of y, h_n, c_n, dx, dh0 and dc0."""
    rows = data.draw(st.lists(st.integers(0, problem.batch - 1), min_size=1, max_size=20), "rows")
    arrays = problem.arrays()
    axis = 0 if problem.batch_first else 1

    def part(array: np.ndarray | None, axis: int = 1) -> np.ndarray | None:
        return None if array is None else np.take(array, rows, axis)

    lengths = problem.lengths and tuple(problem.lengths[row] for row in rows)
    smaller = replace(problem, batch=len(rows), lengths=lengths)
    states = {name: part(getattr(arrays, name)) for name in ("h0", "c0", "dh_n", "dc_n")}
    sequences = {name: part(getattr(arrays, name), axis) for name in ("x", "dy")}
    whole = outcome(nr, problem, arrays)
    actual = outcome(nr, smaller, replace(arrays, **states, **sequences))
    by_row = [name for name in whole if name != "h_norm" and not name.startswith("d ")]
    expected = {n: part(whole[n], axis if n in ("y", "dx") else 1) for n in by_row}
    assert_same_bits({n: actual[n] for n in by_row}, expected)


def test_many_callers_at_once_get_what_one_gets() -> None:
    """One of them has the pool at a time; the others work alone."""
    tasks = [
        replace(problem, cell=cell, seed=seed)
        for seed, problem in enumerate(SHARED_OUT)
        for cell in CELLS
    ]
    arrays = [task.arrays() for task in tasks]
    expected = [outcome(nr, *pair, num_threads=2) for pair in zip(tasks, arrays, strict=True)]
    with ThreadPoolExecutor(8) as executor:
        for _ in range(3):
            found = executor.map(lambda *pair: outcome(nr, *pair, num_threads=2), tasks, arrays)
            for actual, wanted in zip(found, expected, strict=True):
                assert_same_bits(actual, wanted)


def long_calls() -> dict[str, Callable[[], Any]]:
    """Calls of some tenths of a second each, on one thread."""
    params = nr.init_params("lstm", 8, 512, output_size=64)
    x = np.ones((300, 8, 8), np.float32)
    out = nr.forward("lstm", x, params)
    h, dy = np.ones((60000, 512), np.float32), np.ones((60000, 64), np.float32)
    return {
        "forward": lambda: nr.forward("lstm", x, params, num_threads=1),
        "backward": lambda: nr.backward(out.tape, out.y, num_threads=1),
        "head_forward": lambda: nr.head_forward(h, params, num_threads=1),
        "head_backward": lambda: nr.head_backward(h, dy, params, num_threads=1),
    }


def test_other_threads_run_meanwhile() -> None:
    """Without the GIL a ticking thread never stands still for as long as a call takes."""
    pauses = []
    done = threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not done.is_set():
            now = time.perf_counter()
            if now - last > 1e-3:
                pauses.append((last, now))
            last = now

    calls = long_calls()
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            end = time.perf_counter()
            # Of a pause, what lies within the call; a busy machine makes short ones.
            within = [min(b, end) - max(a, start) for a, b in pauses if b > start]
            assert max(within, default=0) < 0.5 * (end - start), name
    finally:
        done.set()
        ticker.join()


def denormals_survive() -> bool:
    small = np.full(100, 1e-38, np.float32)
    return bool((small * np.float32(0.1) != 0).all() and np.float32(1e-38) * np.float32(0.1) != 0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("count", [1, 4])
def test_denormal_numbers_are_taken_and_the_floating_point_mode_comes_back(
    cell: str, count: int
) -> None:
    assert denormals_survive()
    problem = replace(SHARED_OUT[0], cell=cell)
    arrays = problem.arrays()
    small = replace(arrays, x=arrays.x * np.float32(1e-39), dy=arrays.dy * np.float32(1e-39))
    found = outcome(nr, problem, small, num_threads=count)
    assert all(np.isfinite(array).all() for array in found.values())
    assert denormals_survive()
    with ThreadPoolExecutor(1) as executor:  # a thread that is not the main one
        executor.submit(outcome, nr, problem, small, num_threads=count).result()
        assert executor.submit(denormals_survive).result()


def test_update_keeps_denormal_numbers() -> None:
    params = {"w": np.full(10, 1e-40, np.float32)}
    nr.update(params, {"w": np.zeros(10, np.float32)}, rule=nr.SGD(0.1))
    assert (params["w"] == np.float32(1e-40)).all()


CHILDREN = """
import multiprocessing, sys, threading, warnings
import numpy as np
import normrnn as nr

warnings.simplefilter("ignore", DeprecationWarning)  # that fork and threads are a risky pair
params = nr.init_params("lstm", 20, 100)
x = np.random.default_rng(0).standard_normal((20, 30, 20), dtype=np.float32)

def work(_=None):
    out = nr.forward("lstm", x, params, num_threads=4)
    return nr.backward(out.tape, out.y, num_threads=4).params["weight_hh_l0"].tobytes()

if __name__ == "__main__":
    expected = work()
    done = threading.Event()
    def keep_busy():
        while not done.is_set():
            work()
    busy = threading.Thread(target=keep_busy)  # so that the pool is at work when a child is made
    busy.start()
    try:
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            found = pool.map_async(work, range(8)).get(timeout=60)
    finally:
        done.set()
        busy.join()
    assert found == [expected] * 8
    assert work() == expected
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(method: str, tmp_path: Path) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    run_python(str(script), method, timeout=120)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import normrnn as nr

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
params = nr.init_params("lstm", 8, 1024)
x = np.ones((6000, 1, 8), np.float32)  # each step reads all weights, so a pass takes seconds
before = {name: w.copy() for name, w in params.items()}
tape = nr.forward("lstm", x[:1500], params).tape if sys.argv[1] == "backward" else None
call = {
    "forward": lambda: nr.forward("lstm", x, params, need_grad=False),
    "backward": lambda: nr.backward(tape, dh_n=np.ones((1, 1, 1024), np.float32)),
}[sys.argv[1]]

delays = []
for _ in range(3):
    sent = []
    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.3, interrupt)
    try:
        timer.start()
        call()
        timer.join()
        sys.exit("the call was over too soon")
    except KeyboardInterrupt:
        delays.append(time.perf_counter() - sent[0])
for name, w in params.items():
    assert (w == before[name]).all()
print(min(delays))
"""


@pytest.mark.parametrize("function", ["forward", "backward"])
def test_ctrl_c(function: str) -> None:
    """The best of three, for a machine that has other things to do."""
    assert float(run_python("-c", INTERRUPTED, function)) < 0.2


INTERRUPTED_UPDATE = """
import os, signal, threading
import numpy as np
import normrnn as nr

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

def start():
    params = {"w": np.ones(2**21, np.float32)}
    return params, nr.init_state(rule, params)

rule, grads = nr.Adam(0.01), {"w": np.linspace(-1, 1, 2**21, dtype=np.float32)}
params, state = start()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        nr.update(params, grads, state, rule=rule)
except KeyboardInterrupt:
    pass
again, again_state = start()
for _ in range(state["step"]):
    nr.update(again, grads, again_state, rule=rule)
assert (again["w"] == params["w"]).all(), "the weights are not those of state['step'] updates"
assert (again_state["exp_avg"]["w"] == state["exp_avg"]["w"]).all()
"""


def test_ctrl_c_between_updates() -> None:
    """Weights, slots and the number of steps belong together, wherever the interrupt comes."""
    for _ in range(3):
        run_python("-c", INTERRUPTED_UPDATE)


NO_MORE_THREADS = """
import resource
import numpy as np
import normrnn as nr

params = nr.init_params("lstm", 300, 300)
x = np.ones((5, 64, 300), np.float32)
expected = nr.forward("lstm", x, params, num_threads=1).y
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29,) * 2)  # room for the stacks of some threads
for count in (1000, *range(1, 150)):
    try:
        assert (nr.forward("lstm", x, params, num_threads=count).y == expected).all()
    except (RuntimeError, MemoryError) as error:
        print(count, error)
"""


NO_THREADS_FOR_AN_UPDATE = """
import resource
import numpy as np
import normrnn as nr

params = {"few": np.ones((16, 100), np.float32), "many": np.ones((300, 300), np.float32)}
grads, state = {n: w.copy() for n, w in params.items()}, nr.init_state(nr.SGD(0.1), params)
penalty = {"few": nr.Prox(nr.GroupLasso(1e-4, groups="columns")), "many": None}
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20,) * 2)
try:
    nr.update(params, grads, state, rule=nr.SGD(0.1), penalty=penalty, num_threads=64)
except (RuntimeError, MemoryError):
    assert state["step"] == 0 and all((w == 1).all() for w in params.values())
    print("refused")
"""


def test_an_update_whose_threads_cannot_be_made_changes_nothing() -> None:
    """The columns alone would not want any: their step must not come before the refusal."""
    assert run_python("-c", NO_THREADS_FOR_AN_UPDATE) == "refused\n"


def test_threads_that_cannot_be_made() -> None:
    """An error or fewer threads, but no call waits for a thread that is not there."""
    run_python("-c", NO_MORE_THREADS, timeout=20)


DAEMON = """
import sys, threading, time
import numpy as np
import normrnn as nr

params, x = nr.init_params("lstm", 64, 256), np.ones((int(sys.argv[1]), 8, 64), np.float32)
inside = threading.Event()

def work():
    while True:
        inside.set()
        nr.forward("lstm", x, params)

threading.Thread(target=work, daemon=True).start()
inside.wait()
end = time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:  # in Python, so that the thread has to ask for the GIL
    pass
"""


def test_python_ends_while_a_daemon_thread_is_in_a_call() -> None:
    """Python ends threads that ask for the GIL then, and nothing of ours may unwind."""
    for steps, pause in ((50, 0.05), (50, 0.07), (1, 0.05), (1, 0.051), (1, 0.052), (1, 0.053)):
        run_python("-c", DAEMON, str(steps), str(pause))


LAST_CALLS = """
import numpy as np
import normrnn as nr

class Model:
    def __init__(self):  # globals may be gone by the time
        self.forward, self.params = nr.forward, nr.init_params("gru", 3, 5)
        self.x = np.ones((4, 2, 3), np.float32)
        self.forward("gru", self.x, self.params)

    def __del__(self):
        print(self.forward("gru", self.x, self.params, need_grad=False).y.shape)

model = Model()
"""


def test_calls_while_python_ends() -> None:
    """The thread that ends it still runs destructors, which may use the core."""
    assert run_python("-c", LAST_CALLS) == "(4, 2, 5)\n"


FORKED = """
import os
import normrnn as nr

cpus = sorted(os.sched_getaffinity(0))
assert nr.get_num_threads() == len(cpus)
child = os.fork()
if child == 0:
    os.sched_setaffinity(0, cpus[:1])
    os._exit(0 if nr.get_num_threads() == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_counts_its_own_cpus() -> None:
    run_python("-c", FORKED)
