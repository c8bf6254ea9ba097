"""What calls say about devices, streams and arrays on them; afterwards all works as before."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from calls import read_only
from devices import BUSY, CAPTURED, COUNT, Shared, needs_device, needs_simulated
from normrnn import _core
from normrnn.device import places

X = np.ones((4, 2, 3), np.float32)
GRU = nr.init_params("gru", 3, 5)
READ_ONLY = {name: read_only(w) for name, w in GRU.items()}
BUILT = _core.cuda_is_built()
NO_CUDA = (
    "device: expected 'cpu', for this normrnn was built without CUDA; build it with "
    "-DNORMRNN_CUDA=ON for NVIDIA GPUs"
    if not BUILT
    else "device: expected an NVIDIA GPU and its driver, found none"
)
GPU_ARRAY = "in the memory of the host"


def refuses(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        call()
    for device in ("cpu", "cuda")[: 1 + (COUNT > 0)]:
        nr.forward("gru", X, GRU, device=device)


def shared(tree: dict[str, np.ndarray] = GRU) -> dict[str, Shared]:
    return {name: Shared(w) for name, w in tree.items()}


def forward(x: Any = None, params: Any = None, **options: Any) -> Any:
    x = Shared(X) if x is None else x
    return nr.forward("gru", x, shared() if params is None else params, **options)


def update(params: Any, grads: Any = None, **options: Any) -> Any:
    grads = params if grads is None else grads
    return nr.update(params, grads, **({"rule": nr.SGD(0.1)} | options))


def test_what_there_is() -> None:
    assert nr.device.device_count() == COUNT
    assert _core.config()["cuda"] == BUILT
    assert COUNT == 0 or BUILT
    for i in range(COUNT):
        assert nr.device.device_name(f"cuda:{i}")


@pytest.mark.skipif(COUNT > 0, reason="there is a GPU")
@pytest.mark.parametrize(
    "call",
    [
        lambda: nr.forward("gru", X, GRU, device="cuda"),
        lambda: nr.forward("gru", X, GRU, device="cuda:1"),
        lambda: forward(),
        lambda: update(GRU, device="cuda"),
        lambda: update(shared()),
        lambda: nr.init_state(nr.Adam(), shared()),
        lambda: nr.device.to_device(X),
        lambda: nr.device.device_name(),
        lambda: nr.device.synchronize(),
        lambda: nr.device.release_memory(),
    ],
)
def test_without_a_gpu(call: Callable[[], Any]) -> None:
    refuses(call, RuntimeError, NO_CUDA)


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("gpu", ValueError, "device: expected 'cpu', 'cuda' or 'cuda:0', got 'gpu'"),
        ("cuda:", ValueError, "device: expected 'cpu', 'cuda' or 'cuda:0', got 'cuda:'"),
        ("cuda:-1", ValueError, "device: expected 'cpu', 'cuda' or 'cuda:0', got 'cuda:-1'"),
        (0, TypeError, "device: expected a string, got int"),
    ],
)
def test_names_of_devices(device: Any, error: type[Exception], message: str) -> None:
    refuses(lambda: nr.forward("gru", X, GRU, device=device), error, message)
    refuses(lambda: update(GRU, device=device), error, message)
    refuses(lambda: nr.device.to_device(X, device), error, message)


def test_host_arrays_have_no_stream() -> None:
    message = "stream: expected None for arrays in the memory of the host, got int"
    refuses(lambda: nr.forward("gru", X, GRU, stream=0), TypeError, message)
    refuses(lambda: nr.backward(nr.forward("gru", X, GRU).tape, stream=0), TypeError, message)
    refuses(lambda: update(GRU, stream=0), TypeError, message)


class Named:
    """A device of another library, as torch.device is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize("device", [None, "cpu", Named("cpu")])
def test_host_arrays_stay_where_they_are(device: Any) -> None:
    assert isinstance(nr.forward("gru", X, GRU, device=device).y, np.ndarray)
    update({name: w.copy() for name, w in GRU.items()}, GRU, device=device)


def test_devices_of_other_libraries() -> None:
    assert [places.index_in("device", Named(name)) for name in ("cuda", "cuda:1")] == [0, 1]
    places.check_device(Named("cuda"), 1)
    places.check_device(Named("cuda:1"), 1)
    for name in ("cpu", "cuda:0"):
        message = f"device: expected 'cuda:1', where the arrays are, got '{name}'"
        refuses(lambda name=name: places.check_device(Named(name), 1), ValueError, message)
    message = "device: expected a string, got Named"
    refuses(lambda: nr.forward("gru", X, GRU, device=Named("mps")), TypeError, message)


def test_host_and_device_arrays_do_not_mix() -> None:
    got = "weight_ih_l0: expected a numpy.ndarray, got Shared"
    refuses(lambda: nr.forward("gru", X, shared()), TypeError, got)


@needs_device
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: forward(nr.device.to_device(X), GRU),
            TypeError,
            f"weight_ih_l0: expected an array on cuda:0, where x is, got ndarray {GPU_ARRAY}",
        ),
        (
            lambda: nr.forward("gru", X, GRU | {"bias_hh_l0": [1.0]}, device="cuda"),
            TypeError,
            "bias_hh_l0: expected a numpy.ndarray, got list",
        ),
        (
            lambda: forward(nr.device.to_device(X), nr.freeze("gru", GRU)),
            TypeError,
            "params: expected a dict on a device, got FrozenParams",
        ),
        (
            lambda: nr.device.to_device(X, "cuda:99"),
            ValueError,
            f"device: expected 'cuda:0' to 'cuda:{COUNT - 1}', got 'cuda:99'",
        ),
        (
            lambda: nr.device.to_device(X.astype(np.float16)),
            TypeError,
            "arrays: expected dtype float32 or float64, got float16",
        ),
        (
            lambda: nr.forward("gru", X, GRU, device="cuda", stream=-1),
            ValueError,
            "stream: expected a handle of 64 bits, got -1",
        ),
        (
            lambda: nr.forward("gru", X, GRU, device="cuda", stream="1"),
            TypeError,
            "stream: expected an integer handle or an object with __cuda_stream__, cuda_stream or "
            "ptr, got str",
        ),
        (
            lambda: nr.forward("gru", X, GRU, device="cuda", precision="float8"),
            ValueError,
            "precision: expected one of 'float32', 'tf32', 'bfloat16', 'float16', got 'float8'",
        ),
        (
            lambda: update(GRU, device="cuda", penalty=nr.NuclearNorm(0.1)),
            ValueError,
            "penalty: expected penalties of weights or groups on a device, got NuclearNorm, which "
            "looks at whole matrices",
        ),
        (
            lambda: nr.update(READ_ONLY, GRU, rule=nr.SGD(0.1), device="cuda"),
            ValueError,
            "params['weight_ih_l0']: expected a writeable array, got a read-only one",
        ),
    ],
)
def test_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    refuses(call, error, message)


@needs_device
def test_a_tape_of_a_device_is_for_backward_alone() -> None:
    tape = nr.forward("gru", X, GRU, device="cuda").tape
    message = "tape: expected the tape of a forward pass on the CPU, got one on cuda:0"
    refuses(lambda: nr.diagnostics.saturation(tape), TypeError, message)
    with pytest.raises(TypeError, match=r"\Adc_n: expected None for the cell 'gru'"):
        nr.backward(tape, dc_n=np.ones((1, 2, 5), np.float32))


# --- what only a simulated device can be asked, for its arrays may lie anywhere


class Closed:
    ptr = None


class Gone:
    @property
    def cuda_stream(self) -> int:
        raise RuntimeError("the stream was destroyed")


class Elsewhere:
    cuda_stream, device_index = 5, 1


class NeedsGrad:
    """As PyTorch's tensors refuse."""

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("use detach")


MIXED = GRU | {"weight_hh_l0": GRU["weight_hh_l0"].astype(np.float64)}


@needs_simulated
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: forward(nr.device.to_device(X, "cuda:1")),
            ValueError,
            "weight_ih_l0: expected an array on cuda:1, where x is, got one on cuda:0",
        ),
        (
            lambda: forward(device="cuda:1"),
            ValueError,
            "device: expected 'cuda:0', where the arrays are, got 'cuda:1'",
        ),
        (
            lambda: forward(device="cpu"),
            ValueError,
            "device: expected 'cuda:0', where the arrays are, got 'cpu'",
        ),
        (
            lambda: forward(Shared(X.astype(np.float64))),
            TypeError,
            "x: expected dtype float32, got float64",
        ),
        (
            lambda: forward(Shared(X.astype(np.int32))),
            TypeError,
            "x: expected dtype float32, got int32",
        ),
        (
            lambda: forward(params=shared(MIXED)),
            TypeError,
            "weight_hh_l0: expected dtype float32, got float64",
        ),
        (
            lambda: forward(Shared(X[0])),
            ValueError,
            "x: expected 3 dimensions, [T, B, I] (T = 1 for one step), got shape (2, 3)",
        ),
        (
            lambda: forward(Shared(X, strides=(4, 24, 8))),
            ValueError,
            "x: expected a C-contiguous, aligned array, got another layout",
        ),
        (
            lambda: forward(Shared(X, mask=1)),
            TypeError,
            "x: expected an array without a mask, got Shared",
        ),
        (
            lambda: forward(params=GRU | {"weight_ih_l0": NeedsGrad()}),
            TypeError,
            "weight_ih_l0: expected an array that shares its memory, got NeedsGrad: use detach",
        ),
        (
            lambda: forward(lengths=Shared(np.array([1, 2]))),
            TypeError,
            "lengths: expected integers in the memory of the host, got a device's",
        ),
        (
            lambda: forward(precision="tf32", params=shared(GRU), x=Shared(X), stream=Elsewhere()),
            ValueError,
            "stream: expected one of cuda:0, got one of cuda:1",
        ),
        (
            lambda: forward(stream=0xDEAD),
            RuntimeError,
            "cudaStreamIsCapturing: context is destroyed",
        ),
        (
            lambda: forward(stream=CAPTURED),
            ValueError,
            "stream: expected one that is not being captured, got one that is",
        ),
        (
            lambda: nr.device.to_device(X).__dlpack__(stream=CAPTURED),
            ValueError,
            "stream: expected one that is not being captured, got one that is",
        ),
        (
            lambda: nr.device.synchronize(stream=BUSY),
            RuntimeError,
            "cudaStreamSynchronize: it would be for ever",
        ),
        (
            lambda: nr.forward(
                "gru",
                X.astype(np.float64),
                {name: w.astype(np.float64) for name, w in GRU.items()},
                device="cuda",
                precision="tf32",
            ),
            ValueError,
            "precision: expected None for float64 parameters, got 'tf32'",
        ),
        (
            lambda: nr.backward(forward().tape, dy=np.ones((4, 2, 5), np.float32)),
            TypeError,
            f"dy: expected an array on cuda:0, where the tape is, got ndarray {GPU_ARRAY}",
        ),
        (
            lambda: update(shared(), GRU),
            TypeError,
            "grads['weight_ih_l0']: expected an array on cuda:0, where params['weight_ih_l0'] is, "
            f"got ndarray {GPU_ARRAY}",
        ),
        (
            lambda: update({"a": X, "b": Shared(X)}),
            TypeError,
            "params['b']: expected an array in the memory of the host, as the first is, got Shared "
            "on a device",
        ),
        (
            lambda: update({"a": Shared(X, data=(X.ctypes.data, True))}, {"a": Shared(X)}),
            ValueError,
            "params['a']: expected a writeable array, got a read-only one",
        ),
        (
            lambda: update({"a": Shared(X)}, {"a": Shared(X[:1])}),
            ValueError,
            "grads['a']: expected shape (4, 2, 3), got (1, 2, 3)",
        ),
        (
            lambda: update({"a": (same := Shared(X))}, {"a": same}),
            ValueError,
            "grads['a']: expected memory of its own, got an overlap with params['a']",
        ),
    ],
)
def test_arrays(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    refuses(call, error, message)


@needs_simulated
@pytest.mark.parametrize("stream", [Closed(), Gone()])
def test_closed_streams(stream: Any) -> None:
    with pytest.raises(ValueError, match=r"\Astream: expected an open stream, got <"):
        forward(stream=stream)


@needs_simulated
def test_too_little_memory() -> None:
    x = np.zeros((1 << 17, 1, 1), np.float32)  # y would have 4 GiB
    params = nr.init_params("indrnn_tanh", 1, 1 << 13)
    for _ in range(2):
        with pytest.raises(MemoryError, match=r"\Adevice 0: 4294967296 bytes needed, and \d+ are"):
            nr.forward("indrnn_tanh", x, params, device="cuda")
    assert nr.forward("gru", X, GRU, device="cuda").y.shape == (4, 2, 5)
