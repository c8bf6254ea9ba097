"""Devices by their names, and copies to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, overload

from numpy.typing import NDArray

from normrnn import _core
from normrnn._core import DeviceArray
from normrnn.device.streams import stream_of

_NAME = re.compile(r"cuda(?::(\d{1,4}))?")


def device_count() -> int:
    """Return the number of GPUs; 0 without CUDA or without a driver.

    Examples
    --------
    >>> import normrnn as nr
    >>> nr.device.device_count() >= 0
    True
    """
    return _core.device_count()


def device_name(device: str = "cuda") -> str:
    """Return what a GPU is called, such as "NVIDIA H100 80GB HBM3".

    Raises
    ------
    RuntimeError
        If normrnn was built without CUDA, or there is no GPU.
    ValueError
        If there is none of that number.

    Examples
    --------
    >>> import normrnn as nr
    >>> names = [nr.device.device_name(f"cuda:{i}") for i in range(nr.device.device_count())]
    """
    return _core.device_name(index_in("device", device))


def synchronize(device: str = "cuda", stream: object = None) -> None:
    """Wait for what a stream of a GPU was given to do, and raise what went wrong with it.

    Parameters
    ----------
    device : str
        "cuda", which is "cuda:0", or "cuda:1" and so on.
    stream : int or object, optional
        As for `forward`; by default the legacy default stream.

    Examples
    --------
    >>> import normrnn as nr
    >>> for i in range(nr.device.device_count()):
    ...     nr.device.synchronize(f"cuda:{i}")
    """
    index = index_in("device", device)
    _core.synchronize(index, None if stream is None else stream_of(stream, index)[0])


def release_memory(device: str = "cuda") -> None:
    """Give memory that normrnn keeps for calls to come back to the driver, or to the system.

    On the CPU that is at most as much as has ever been in use at once. What arrays and tapes hold
    stays theirs.

    Parameters
    ----------
    device : str
        "cuda", which is "cuda:0", or "cuda:1" and so on; or "cpu".

    Raises
    ------
    RuntimeError
        For a GPU, if normrnn was built without CUDA, or there is none.
    ValueError
        If there is no such device.

    Examples
    --------
    >>> import normrnn as nr
    >>> nr.device.release_memory("cpu")
    >>> for i in range(nr.device.device_count()):
    ...     nr.device.release_memory(f"cuda:{i}")
    """
    if str(device) == "cpu":  # as torch.device's is
        _core.release_host_memory()
    else:
        _core.release_memory(index_in("device", device))


@overload
def to_device(
    arrays: NDArray[Any], device: str = "cuda", *, stream: object = None
) -> DeviceArray: ...
@overload
def to_device(
    arrays: Mapping[str, NDArray[Any]], device: str = "cuda", *, stream: object = None
) -> dict[str, DeviceArray]: ...
def to_device(
    arrays: NDArray[Any] | Mapping[str, NDArray[Any]],
    device: str = "cuda",
    *,
    stream: object = None,
) -> DeviceArray | dict[str, DeviceArray]:
    """Copy NumPy arrays to a GPU, for those who use no other library there.

    Parameters
    ----------
    arrays : ndarray, or mapping of str to ndarray
        float32 or float64, such as the result of `init_params`.
    device : str
        "cuda", which is "cuda:0", or "cuda:1" and so on.
    stream : int or object, optional
        The stream whose order the copies are in; by default the legacy default stream.

    Returns
    -------
    DeviceArray, or dict of str to DeviceArray
        ``to_host()`` copies one back.

    Raises
    ------
    RuntimeError
        If normrnn was built without CUDA, or there is no GPU.
    TypeError, ValueError
        If an argument does not fit.
    MemoryError
        If an array does not fit into the GPU's memory: says what is needed and what is free.

    Examples
    --------
    >>> import numpy as np
    >>> import normrnn as nr
    >>> x, params = np.ones((5, 2, 3), np.float32), nr.init_params("gru", 3, 4)
    >>> if nr.device.device_count() > 0:
    ...     x, params = nr.device.to_device(x), nr.device.to_device(params)
    >>> nr.forward("gru", x, params).y.shape
    (5, 2, 4)
    """
    index = index_in("device", device)
    handle, owner = (None, None) if stream is None else stream_of(stream, index)
    if isinstance(arrays, Mapping):
        return {
            name: _core.device_from_host(name, array, index, handle, owner)
            for name, array in arrays.items()
        }
    return _core.device_from_host("arrays", arrays, index, handle, owner)


def index_in(argument: str, device: object) -> int:
    """Return the number of a GPU by its name."""
    index = _parsed(argument, device)
    return 0 if index is None else index


def is_host(device: object) -> bool:
    """Whether a call's ``device`` leaves NumPy arrays where they are."""
    return device is None or str(device) == "cpu"  # as torch.device's is


def check_device(device: object, index: int) -> None:
    """Refuse a ``device`` that is not where the arrays are."""
    if device is None:
        return
    on_host = is_host(device)
    wanted = None if on_host else _parsed("device", device)
    if on_host or wanted not in (None, index):
        where = f"'cuda:{index}', where the arrays are"
        raise ValueError(f"device: expected {where}, got {str(device)!r}")


def _parsed(argument: str, device: object) -> int | None:
    found = _NAME.fullmatch(str(device))
    if found is None:
        if not isinstance(device, str):
            raise TypeError(f"{argument}: expected a string, got {type(device).__name__}")
        raise ValueError(f"{argument}: expected 'cpu', 'cuda' or 'cuda:0', got {device!r}")
    return None if found[1] is None else int(found[1])
