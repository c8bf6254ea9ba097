"""The GPU that tests run on, where there is one, and arrays of every library on it."""

import ctypes
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from normrnn.results import Gradients, Output

COUNT = nr.device.device_count()
SIMULATED = COUNT > 0 and nr.device.device_name() == "simulated"
# A run that is for a certain device fails without it, rather than to skip everything.
WANTED = os.environ.get("NORMRNN_TEST_DEVICE", "")
assert WANTED in ("", "simulated", "gpu"), WANTED
assert (WANTED == "simulated") == SIMULATED, "the core in use is not the one to be tested"
assert WANTED != "gpu" or COUNT, "expected a GPU, found none"

# Streams of the simulated device: one is being captured, the other's work never ends.
CAPTURED, BUSY = 0xCAFE, 0xB1B1

needs_device = pytest.mark.skipif(not COUNT, reason="built without CUDA, or no GPU")
needs_simulated = pytest.mark.skipif(not SIMULATED, reason="for the simulated device")


class Shared:
    """An array that says where its memory is and nothing else: the host's, for a simulated GPU."""

    def __init__(self, array: np.ndarray, **changes: Any) -> None:
        self.array = np.array(array, order="C")
        self.changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        facts = {key: self.array.__array_interface__[key] for key in ("shape", "typestr", "data")}
        return {**facts, "version": 3, "strides": None, **self.changes}


def host_view(capsule: object, version: tuple[int, int] | None = None) -> np.ndarray:
    """What lies in a DLPack capsule of a simulated GPU, once it says that it is the host's."""
    name = b"dltensor" if version is None else b"dltensor_versioned"
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # Behind the versioned form's numbers, two pointers and flags; and behind the pointer to data.
    kind = ctypes.c_int32.from_address(pointer(capsule, name) + (0 if version is None else 32) + 8)
    assert kind.value == 2
    kind.value = 1
    held = [capsule]
    del capsule

    class Exporter:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **_: Any) -> object:
            return held.pop()

    return np.from_dlpack(Exporter())


@dataclass(frozen=True)
class Place:
    """A library: how arrays get there and back, and what tells calls to go there."""

    name: str
    put: Callable[[np.ndarray], Any]
    get: Callable[[Any], np.ndarray]
    options: Mapping[str, Any]

    def put_all(self, tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {key: self.put_all(value) for key, value in tree.items()}
        return self.put(tree) if isinstance(tree, np.ndarray) else tree

    def get_all(self, tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {key: self.get_all(value) for key, value in tree.items()}
        return tree if tree is None or isinstance(tree, int) else self.get(tree)

    def forward(self, cell: str, x: Any, params: Any, *states: Any, **options: Any) -> Output:
        """``nr.forward`` there, with results brought back."""
        there = [self.put_all(a) for a in (x, params, *states)]
        out = nr.forward(cell, *there, **self.options, **options)
        return Output(*map(self.get_all, (out.y, out.h_n, out.c_n)), out.tape)

    def backward(self, tape: Any, *gradients: Any, **options: Any) -> Gradients:
        """``nr.backward``, too."""
        found = nr.backward(tape, *map(self.put_all, gradients), **options)
        names = ("params", "x", "h0", "c0", "h_norm", "h_norm_clipped")
        arrays = {name: self.get_all(getattr(found, name)) for name in names}
        return Gradients(**arrays, penalty=found.penalty)


def _places() -> list[Place]:
    if not COUNT:
        return []
    places = [
        Place("host", np.copy, np.asarray, {"device": "cuda"}),
        Place("own", nr.device.to_device, lambda a: a.to_host(), {}),
    ]
    if SIMULATED:
        places.append(
            Place("shared", Shared, lambda a: a.array if type(a) is Shared else a.to_host(), {})
        )
        return places
    # The libraries that are there; a GPU's machine has at least one.
    torch = _module("torch")
    if torch is not None and torch.cuda.is_available():
        places.append(
            Place("torch", lambda a: torch.from_numpy(a).cuda(), lambda a: a.cpu().numpy(), {})
        )
    cupy = _module("cupy")
    if cupy is not None:
        places.append(Place("cupy", cupy.asarray, cupy.asnumpy, {}))
    return places


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ModuleNotFoundError:
        return None


PLACES = _places()
needs_torch = pytest.mark.skipif(
    "torch" not in [place.name for place in PLACES], reason="for PyTorch on a GPU"
)
each_place = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
