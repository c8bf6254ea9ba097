"""Forward and backward passes on a GPU, or on a simulated one, against the CPU core."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from devices import (
    BUSY,
    PLACES,
    Place,
    Shared,
    each_place,
    host_view,
    needs_device,
    needs_simulated,
)
from normrnn import _core
from runs import assert_close, assert_same_bits, in_float64, outcome
from strategies import Problem, everything, problems

pytestmark = needs_device

RAGGED = (5, 0, 3, 5, 1)
SMALL = Problem("lstm", 5, 5, 3, 9, 2, True, True, False, RAGGED, True, "float32", seed=0)
STATE_PENALTIES = [nr.ActivityL1(0.3), nr.ActivityL2(0.2), nr.AR(0.3), nr.TAR(0.2)]
# Operands of 8 significant bits may be rounded either way; those of 11 are near float32's 24.
ROUNDED = {"bfloat16": 2e-2, "tf32": 5e-3, "float16": 5e-3}


def check(place: Place, problem: Problem, forward: Any = None, backward: Any = None) -> None:
    arrays = problem.arrays()
    expected = outcome(nr, problem, in_float64(arrays), forward, backward or {})
    found = outcome(place, problem, arrays, forward, backward or {})
    assert_close(found, expected, problem.dtype, 3 * problem.amplification)


@each_place
@given(problem=problems(), dropped=st.booleans(), data=st.data())
def test_agrees_with_the_cpu(
    place: Place, problem: Problem, dropped: bool, data: st.DataObject
) -> None:
    """Every cell, ragged or not, stacked, in both directions, with dropout and state penalties."""
    forward = everything(problem.cell) if dropped else {}
    penalties = data.draw(st.lists(st.sampled_from(STATE_PENALTIES), unique=True))
    if penalties:  # in float32 a state near 0 may take the other side of |h|
        problem = replace(problem, dtype="float64")
    check(place, problem, forward, {"state_penalty": penalties} if penalties else {})


@pytest.mark.parametrize("cell", sorted(_core.cells()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dropped", [False, True])
def test_agrees_for_every_cell(cell: str, dtype: str, dropped: bool) -> None:
    problem = replace(SMALL, cell=cell, dtype=dtype, hidden=17)
    omega = [nr.Omega(0.1)] if cell in nr.Omega.cells else []
    for place in PLACES[:1]:  # what a library brings is told apart elsewhere
        for clip in (None, 0.5):
            options = {"state_penalty": [*STATE_PENALTIES, *omega], "clip_state": clip}
            check(place, problem, everything(cell) if dropped else {}, options)


@each_place
@pytest.mark.parametrize("empty", ["times", "batch", "inputs", "times and batch"])
def test_agrees_on_empty_dimensions(place: Place, empty: str) -> None:
    problem = replace(SMALL, lengths=None)
    check(place, replace(problem, **dict.fromkeys(empty.split(" and "), 0)))


@each_place
@pytest.mark.parametrize("precision", sorted(ROUNDED))
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_rounded_operands(place: Place, cell: str, precision: str) -> None:
    problem = replace(SMALL, cell=cell, inputs=128, hidden=128)
    arrays = problem.arrays()
    expected = outcome(nr, problem, arrays, {}, {})
    rounded = outcome(place, problem, arrays, {"precision": precision}, {})
    plain = outcome(place, problem, arrays, {"precision": "float32"}, {})
    assert_same_bits(plain, outcome(place, problem, arrays, {}, {}))
    for name, array in rounded.items():
        scale = max(1.0, np.abs(expected[name]).max())
        assert np.abs(array - expected[name]).max() <= ROUNDED[precision] * scale, name
    if precision != "tf32":  # of which cuBLAS makes use where it likes: see the next test
        assert not np.array_equal(rounded["y"], plain["y"])


@each_place
def test_tf32_is_used(place: Place) -> None:
    """By matrices so large that cuBLAS does not multiply them in full, whatever it may."""
    problem = replace(SMALL, times=2, batch=32, inputs=512, hidden=512, layers=1, lengths=None)
    arrays = problem.arrays()
    rounded, plain = (
        place.forward("lstm", arrays.x, arrays.params, need_grad=False, precision=precision)
        for precision in ("tf32", "float32")
    )
    assert not np.array_equal(rounded.y, plain.y)
    assert np.abs(rounded.y - plain.y).max() <= ROUNDED["tf32"]


@each_place
@settings(max_examples=20)
@given(problem=problems())
def test_the_same_bits_again(place: Place, problem: Problem) -> None:
    arrays = problem.arrays()
    first, again = (outcome(place, problem, arrays, {}, {}) for _ in range(2))
    assert_same_bits(again, first)


@each_place
def test_no_tape_without_gradients(place: Place) -> None:
    arrays = SMALL.arrays()
    out = place.forward("lstm", arrays.x, arrays.params, need_grad=False, lengths=RAGGED)
    assert out.tape is None
    kept = place.forward("lstm", arrays.x, arrays.params, lengths=RAGGED)
    np.testing.assert_array_equal(out.y, kept.y)
    assert (kept.tape.cell, kept.tape.layers, kept.tape.directions) == ("lstm", 2, 2)
    assert kept.tape.device == "cuda:0"
    assert kept.tape.nbytes > arrays.x.nbytes
    assert kept.tape.lengths.tolist() == list(RAGGED)


@each_place
def test_results_are_of_the_library(place: Place) -> None:
    arrays = SMALL.arrays()
    x, params = place.put_all(arrays.x), place.put_all(arrays.params)
    out = nr.forward("lstm", x, params, **place.options)
    grads = nr.backward(out.tape, out.y)
    kind = nr.device.DeviceArray if place.name == "shared" else type(x)
    for array in (out.y, out.h_n, out.c_n, grads.x, grads.h0, grads.h_norm, *grads.params.values()):
        assert type(array) is kind
    assert grads.h_norm_clipped is grads.h_norm
    assert type(grads.penalty) is float


def test_the_penalty_is_read_when_looked_at() -> None:
    arrays = SMALL.arrays()
    own = {name: nr.device.to_device(w) for name, w in arrays.params.items()}
    out = nr.forward("lstm", nr.device.to_device(arrays.x), own)
    grads = nr.backward(out.tape, state_penalty=nr.AR(1.0))
    assert "penalty" not in vars(grads)
    assert grads.penalty > 0
    assert "penalty" in vars(grads)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        grads.nothing  # noqa: B018


# --- arrays of our own


def test_arrays_go_there_and_back() -> None:
    host = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    there = nr.device.to_device(host.transpose(1, 0, 2))
    assert (there.shape, there.ndim, there.size, there.nbytes) == ((3, 2, 4), 3, 24, 96)
    assert (there.dtype, there.device, len(there)) == (np.float32, "cuda:0", 3)
    assert repr(there) == "DeviceArray(shape=(3, 2, 4), dtype=float32, device='cuda:0')"
    np.testing.assert_array_equal(there.to_host(), host.transpose(1, 0, 2))
    facts = there.__cuda_array_interface__
    assert (facts["version"], facts["stream"], facts["strides"]) == (3, 1, None)
    several = nr.device.to_device({"a": host, "b": np.zeros((), np.float64)})
    assert several["b"].to_host().shape == ()
    nr.device.synchronize()
    nr.device.release_memory()


@needs_simulated
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_dlpack_says_what_the_array_is(version: tuple[int, int] | None) -> None:
    """NumPy reads the capsule, once its device is said to be the host."""
    host = np.arange(6.0).reshape(2, 3)
    there = nr.device.to_device(host)
    assert there.__dlpack_device__() == (2, 0)
    seen = host_view(there.__dlpack__(stream=-1, max_version=version), version)
    del there
    np.testing.assert_array_equal(seen, host)


@needs_simulated
@pytest.mark.parametrize("knows_versions", [True, False])
def test_arrays_by_dlpack(knows_versions: bool) -> None:
    class Exporter:
        """Has DLPack alone, of the old kind or the new."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = nr.device.to_device(array)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

        def __dlpack__(self, *, stream: int, **more: Any) -> object:
            if more and not knows_versions:
                raise TypeError("unexpected keyword argument 'max_version'")
            assert stream in (-1, 7)  # -1: to look at its facts
            return self.array.__dlpack__(stream=stream, **more)

    arrays = SMALL.arrays()
    params = {name: Exporter(w) for name, w in arrays.params.items()}
    out = nr.forward("lstm", Exporter(arrays.x), params, lengths=RAGGED, stream=7)
    expected = nr.forward("lstm", arrays.x, arrays.params, lengths=RAGGED)
    np.testing.assert_allclose(out.y.to_host(), expected.y, atol=1e-5)


@needs_simulated
@pytest.mark.parametrize(("given", "expected"), [(None, 1), (7, 7)])
def test_an_interface_without_streams_is_not_believed_where_there_is_dlpack(
    given: int | None, expected: int
) -> None:
    """JAX's arrays have one, and are in the order of streams of JAX's."""
    asked: list[int] = []

    class Jaxlike(Shared):
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

        def __dlpack__(self, *, stream: int, **more: Any) -> object:
            asked.append(stream)
            return nr.device.to_device(self.array).__dlpack__(stream=-1, **more)

    class Tensorlike(Jaxlike):
        """As PyTorch's: in the order of the stream that the call is on."""

        def record_stream(self, stream: object) -> None: ...

    arrays = SMALL.arrays()
    params = {name: Shared(w) for name, w in arrays.params.items()}
    out = nr.forward("lstm", Jaxlike(arrays.x, version=2), params, lengths=RAGGED, stream=given)
    wanted = nr.forward("lstm", arrays.x, arrays.params, lengths=RAGGED)
    np.testing.assert_allclose(out.y.to_host(), wanted.y, atol=1e-5)
    assert out.y.__cuda_array_interface__["stream"] == expected
    assert asked == [expected]
    for kind, version in ((Jaxlike, 3), (Tensorlike, 2)):
        nr.forward("lstm", kind(arrays.x, version=version), params, lengths=RAGGED, stream=given)
    assert asked == [expected]


@needs_simulated
def test_dlpack_alone_means_the_default_stream() -> None:
    """Which x is in the order of then; that a weight names another one comes too late."""

    class Exporter:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

        def __dlpack__(self, **options: Any) -> object:
            return nr.device.to_device(arrays.x).__dlpack__(**options)

    arrays = SMALL.arrays()
    params = {name: Shared(w, stream=5) for name, w in arrays.params.items()}
    out = nr.forward("lstm", Exporter(), params, lengths=RAGGED)
    assert out.y.__cuda_array_interface__["stream"] == 1


@needs_simulated
def test_results_on_a_threads_own_stream_are_waited_for_on_another_thread() -> None:
    """Handle 2 is another stream on each; the simulated device refuses to read too early."""
    arrays = SMALL.arrays()

    def pass_() -> Any:
        return nr.forward("lstm", Shared(arrays.x), params, lengths=RAGGED, stream=2)

    params = {name: Shared(w) for name, w in arrays.params.items()}
    with ThreadPoolExecutor(1) as other:
        out = other.submit(pass_).result()
        mine = pass_()
        expected = nr.forward("lstm", arrays.x, arrays.params, lengths=RAGGED)
        for y in (out.y, mine.y):
            np.testing.assert_allclose(y.to_host(), expected.y, atol=1e-5)


@needs_simulated
def test_streams() -> None:
    """Whatever says its handle; the default is what x says."""

    class Protocol:
        def __cuda_stream__(self) -> tuple[int, int]:
            return (0, 21)

    class Torchlike:
        cuda_stream, device_index = 22, 0

    class Cupylike:
        ptr, device_id = 23, -1

    arrays = SMALL.arrays()

    def handle(stream: Any = None, /, **changes: Any) -> int:
        params = {name: Shared(w) for name, w in arrays.params.items()}
        out = nr.forward("lstm", Shared(arrays.x, **changes), params, stream=stream)
        return out.y.__cuda_array_interface__["stream"]

    streams = [handle(s) for s in (None, 0, 5, Protocol(), Torchlike(), Cupylike())]
    assert streams == [1, 1, 5, 21, 22, 23]
    assert handle(stream=9) == 9
    assert handle(5, stream=9) == 5
    assert _core.device_facts("x", Shared(arrays.x, stream=9))[:2] == (0, 9)


@needs_simulated
def test_the_host_waits_for_no_stream() -> None:
    """Not for the call's, nor where an input or a consumer names another."""
    arrays = SMALL.arrays()
    params = {name: Shared(w, stream=BUSY) for name, w in arrays.params.items()}
    out = nr.forward("lstm", Shared(arrays.x, stream=BUSY), params, stream=5)
    assert out.y.__cuda_array_interface__["stream"] == 5
    out = nr.forward("lstm", Shared(arrays.x), params, stream=BUSY)
    grads = nr.backward(out.tape, out.y)
    assert out.y.__dlpack__(stream=7) is not None
    nr.update(params, grads.params, rule=nr.SGD(0.1), penalty=nr.L2(0.1))
    with pytest.raises(RuntimeError, match="it would be for ever"):
        out.y.to_host()


@needs_simulated
def test_a_tape_goes_back_on_its_stream() -> None:
    arrays = SMALL.arrays()
    params = {name: Shared(w) for name, w in arrays.params.items()}

    def streams(dy: Any = None, **options: Any) -> list[int]:
        grads = nr.backward(out.tape, dy, state_penalty=nr.AR(0.1), **options)
        return [
            a.__cuda_array_interface__["stream"] for a in (grads.x, grads.params["weight_ih_l0"])
        ]

    out = nr.forward("lstm", Shared(arrays.x), params, stream=5)
    assert streams() == [5, 5]
    assert streams(Shared(out.y.to_host(), stream=8)) == [5, 5]
    assert streams(stream=9) == [9, 9]
    assert streams() == [9, 9]  # where the tape is now


def test_copies_of_lazy_results_are_plain() -> None:
    params = {"w": nr.device.to_device(np.ones(3))}
    grads = {"w": nr.device.to_device(np.ones(3))}
    info = nr.update(params, grads, rule=nr.SGD(0.1))
    for one in (pickle.loads(pickle.dumps(info)), copy.copy(info)):
        assert type(one) is nr.results.UpdateInfo
        assert one.grad_norm == info.grad_norm == pytest.approx(3**0.5)
