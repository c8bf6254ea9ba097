"""The libraries of arrays: how each makes one of a result, and which stream it is using."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from normrnn import _core
from normrnn._core import DeviceArray
from normrnn.device.streams import stream_of

Facts = tuple[tuple[int, ...], "np.dtype[Any]"]


class Library:
    """Whatever has ``__cuda_array_interface__`` or DLPack; results are `DeviceArray`."""

    def __init__(self, device: int) -> None:
        self.device = device

    def stream(self, given: object) -> tuple[int | None, object]:
        """Return the handle of the stream of a call, None for that of its first array."""
        if given is None:
            given = self.current_stream()
        return (None, None) if given is None else stream_of(given, self.device)

    def current_stream(self) -> object:
        """Return the stream that the library is using."""
        return None

    def take(self, name: str, array: Any, stream: tuple[int | None, object]) -> Any:
        """Return what the core gets of an argument."""
        return array

    def lend(self, arrays: Iterable[Any], stream: object) -> None:
        """Tell whoever owns the arrays' memory that a caller's stream uses it, None for theirs."""

    def give(self, array: DeviceArray) -> Any:
        """Return what the caller gets of a result."""
        return array

    def facts(self, name: str, array: Any) -> Facts:
        """Return an array's shape and dtype."""
        _, _, shape, dtype = _core.device_facts(name, array)
        return shape, float_dtype(name, dtype)

    def zeros_like(self, name: str, array: Any) -> Any:
        """Return zeros of the array's shape and dtype, beside it."""
        _, stream, shape, dtype = _core.device_facts(name, array)
        zeros = np.zeros(shape, float_dtype(name, dtype))
        return _core.device_from_host(name, zeros, self.device, stream, None)


class Torch(Library):
    """PyTorch's tensors."""

    def __init__(self, device: int) -> None:
        super().__init__(device)
        self.torch: Any = sys.modules["torch"]

    def current_stream(self) -> object:
        """Return PyTorch's current stream of the device."""
        stream: object = self.torch.cuda.current_stream(self.device)
        return stream

    def give(self, array: DeviceArray) -> Any:
        """Return a tensor on the same memory, in the order of the call's stream."""
        return self.torch.from_dlpack(array.__dlpack__(stream=-1))

    def lend(self, arrays: Iterable[Any], stream: object) -> None:
        """Keep what is dropped from being given to others before the stream has done with it."""
        if stream is None:
            return
        handle, _ = stream_of(stream, self.device)
        cuda = self.torch.cuda
        if handle in (0, 1):  # ExternalStream(0) is a new one out of PyTorch's pool
            on = cuda.default_stream(self.device)
        else:
            on = cuda.ExternalStream(handle, device=self.device)
        for array in arrays:
            if isinstance(array, self.torch.Tensor):
                array.record_stream(on)

    def facts(self, name: str, array: Any) -> Facts:
        """Return a tensor's shape and dtype."""
        return tuple(array.shape), float_dtype(name, str(array.dtype).removeprefix("torch."))

    def zeros_like(self, name: str, array: Any) -> Any:
        """Return a tensor of zeros."""
        return self.torch.zeros_like(array, memory_format=self.torch.contiguous_format)


class _InOrder:
    """An array for ``from_dlpack`` that need not be waited for."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        return self.array.__dlpack__(stream=-1, **options)


class Cupy(Library):
    """CuPy's arrays."""

    def __init__(self, device: int) -> None:
        super().__init__(device)
        self.cupy: Any = sys.modules["cupy"]

    def current_stream(self) -> object:
        """Return CuPy's current stream of the device."""
        with self.cupy.cuda.Device(self.device):
            stream: object = self.cupy.cuda.get_current_stream()
        return stream

    def give(self, array: DeviceArray) -> Any:
        """Return an array on the same memory, in the order of the call's stream."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.from_dlpack(_InOrder(array))

    def zeros_like(self, name: str, array: Any) -> Any:
        """Return an array of zeros."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.zeros_like(array, order="C")


class Host(Library):
    """NumPy's arrays, which are copied to the device, and back from it."""

    def take(self, name: str, array: Any, stream: tuple[int | None, object]) -> Any:
        """Return a copy on the device."""
        return None if array is None else _core.device_from_host(name, array, self.device, *stream)

    def give(self, array: DeviceArray) -> Any:
        """Return a copy in the host's memory."""
        return array.to_host()


def library_of(name: str, array: Any) -> Library:
    """Return the library of an array on a device."""
    device = _core.device_facts(name, array)[0]
    for module, attribute, library in (("torch", "Tensor", Torch), ("cupy", "ndarray", Cupy)):
        kind = getattr(sys.modules.get(module), attribute, None)
        if kind is not None and isinstance(array, kind):
            return library(device)
    return Library(device)


def on_device(array: object) -> bool:
    """Whether an array says that it is in a GPU's memory."""
    if isinstance(array, np.ndarray):
        return False
    ask = getattr(array, "__dlpack_device__", None)
    if ask is not None:
        return int(ask()[0]) in (2, 13)  # DLPack's numbers for CUDA's memory, managed or not
    return hasattr(array, "__cuda_array_interface__")


def any_on_device(arrays: object) -> bool:
    """Whether one of a mapping of arrays is."""
    return isinstance(arrays, Mapping) and any(map(on_device, arrays.values()))


def float_dtype(name: str, dtype: str) -> np.dtype[Any]:
    """Return a dtype by name, which must be float32 or float64."""
    if dtype not in ("float32", "float64"):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {dtype}")
    return np.dtype(dtype)
