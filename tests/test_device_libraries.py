"""What is asked of PyTorch and CuPy, by stand-ins for them on the simulated device."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from devices import Shared, host_view, needs_simulated

pytestmark = needs_simulated

X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
PARAMS = nr.init_params("lstm", 3, 5)


class Tensor(Shared):
    """Has what PyTorch's tensors and CuPy's arrays both have."""

    def record_stream(self, stream: SimpleNamespace) -> None:
        self.lent = stream.handle

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        return f"torch.{self.array.dtype}"


class Stand:
    """A library: notes on which stream results were asked for, and what its own one is."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []
        self.device = 0

    def keep(self, array: np.ndarray) -> Tensor:
        self.given.append(array)
        return Tensor(array)

    def torch(self) -> SimpleNamespace:
        return SimpleNamespace(
            Tensor=Tensor,
            contiguous_format="contiguous",
            from_dlpack=lambda capsule: self.keep(host_view(capsule)),
            zeros_like=lambda a, memory_format: Tensor(np.zeros_like(a.array)),
            cuda=SimpleNamespace(
                current_stream=lambda device: SimpleNamespace(cuda_stream=31, device_index=device),
                default_stream=lambda device: SimpleNamespace(handle=0),
                ExternalStream=lambda handle, device: SimpleNamespace(handle=handle or "new"),
            ),
        )

    def cupy(self) -> SimpleNamespace:
        @contextmanager
        def device(index: int) -> Iterator[None]:
            self.device += 1
            yield
            self.device -= 1

        def from_dlpack(array: Any) -> Tensor:
            assert self.device == 1  # within its device
            assert array.__dlpack_device__() == (2, 0)
            # CuPy says which stream it would wait for; there is nothing to wait for.
            return self.keep(host_view(array.__dlpack__(stream=99, max_version=(1, 0)), (1, 0)))

        return SimpleNamespace(
            ndarray=Tensor,
            from_dlpack=from_dlpack,
            zeros_like=lambda a, order: Tensor(np.zeros_like(a.array)),
            cuda=SimpleNamespace(
                Device=device, get_current_stream=lambda: SimpleNamespace(ptr=31, device_id=-1)
            ),
        )


@pytest.fixture(params=["torch", "cupy"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand()
    for name in ("torch", "cupy"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, request.param, getattr(stand, request.param)())
    return stand


def test_a_training_step(library: Stand) -> None:
    """Tensors in, tensors out, the same numbers as on the CPU."""
    params = {name: Tensor(w) for name, w in PARAMS.items()}
    out = nr.forward("lstm", Tensor(X), params)
    grads = nr.backward(out.tape, out.y)
    for array in (out.y, out.h_n, out.c_n, grads.x, grads.h0, grads.c0, grads.h_norm):
        assert type(array) is Tensor
    expected = nr.forward("lstm", X, PARAMS)
    host = nr.backward(expected.tape, expected.y)
    np.testing.assert_allclose(out.y.array, expected.y, atol=1e-5)
    np.testing.assert_allclose(grads.x.array, host.x, atol=1e-5)
    assert len(library.given) == 3 + 4 + len(PARAMS)

    state = nr.init_state(nr.Momentum(0.1), params)
    assert all(type(v) is Tensor for v in state["velocity"].values())
    info = nr.update(params, grads.params, state, rule=nr.Momentum(0.1), penalty=nr.L2(0.1))
    own, rule = {name: w.copy() for name, w in PARAMS.items()}, nr.Momentum(0.1)
    own_state = nr.init_state(rule, own)
    wanted = nr.update(own, host.params, own_state, rule=rule, penalty=nr.L2(0.1))
    assert info.penalty == pytest.approx(wanted.penalty, rel=1e-5)
    for name, w in own.items():
        np.testing.assert_allclose(params[name].array, w, atol=1e-5)


@pytest.mark.usefixtures("library")
def test_work_is_on_the_current_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole = nr.device.libraries.Library.stream

    def noted(self: Any, given: object) -> Any:
        seen.append(whole(self, given))
        return seen[-1]

    monkeypatch.setattr(nr.device.libraries.Library, "stream", noted)
    params = {name: Tensor(w) for name, w in PARAMS.items()}
    out = nr.forward("lstm", Tensor(X), params)
    nr.backward(out.tape, out.y)
    nr.update({"w": Tensor(X)}, {"w": Tensor(X)}, rule=nr.SGD(0.1))
    assert [handle for handle, _ in seen] == [31, 31, 31]
    assert all(owner is not None for _, owner in seen)  # kept for as long as the stream is needed
    nr.forward("lstm", Tensor(X), params, stream=7)
    assert seen[-1] == (7, None)


@pytest.mark.parametrize("library", ["torch"], indirect=True)
@pytest.mark.parametrize(("stream", "handle"), [(7, 7), (0, 0), (1, 0), (None, None)])
@pytest.mark.usefixtures("library")
def test_pytorch_learns_who_uses_its_memory(stream: int | None, handle: int | None) -> None:
    """Else it would give what is dropped to others before the caller's stream has read it."""
    x, dy = Tensor(X), Tensor(np.zeros((4, 2, 5), np.float32))
    weights, params, grads = ({name: Tensor(w) for name, w in PARAMS.items()} for _ in "wpg")
    tape = nr.forward("lstm", x, weights, stream=stream).tape
    nr.backward(tape, dy, stream=stream)
    state = nr.init_state(nr.Momentum(0.1), params)
    nr.update(params, grads, state, rule=nr.Momentum(0.1), stream=stream)
    for tree in ({"x": x, "dy": dy}, weights, params, grads, state["velocity"]):
        assert {getattr(tensor, "lent", None) for tensor in tree.values()} == {handle}


@pytest.mark.usefixtures("library")
def test_half_precision_is_refused() -> None:
    half = {"w": Tensor(X.astype(np.float16))}
    with pytest.raises(TypeError, match=r"\Aparams\['w'\]: expected dtype float32 or float64, got"):
        nr.update(half, half, rule=nr.SGD(0.1))
