"""CUDA streams, as libraries have them."""

from __future__ import annotations


def stream_of(stream: object, device: int) -> tuple[int, object]:
    """Return a stream's handle, and the object that must live for as long as it is used.

    Parameters
    ----------
    stream : int or object
        A handle (0 is the default stream), or an object with ``__cuda_stream__``, ``cuda_stream``
        or ``ptr``: those of PyTorch, CuPy, Numba, cuda.core.
    device : int
        The device that it must belong to.

    Raises
    ------
    TypeError
        If it is no stream.
    ValueError
        If it is closed, or of another device.
    """
    if isinstance(stream, int) and not isinstance(stream, bool):
        handle: object = stream
    else:
        handle = _handle_of(stream)
    if isinstance(handle, bool) or not isinstance(handle, int):
        raise ValueError(
            f"stream: expected an open stream, got {stream!r}, whose handle is {handle!r}"
        )
    if not 0 <= handle < 1 << 64:
        raise ValueError(f"stream: expected a handle of 64 bits, got {handle}")
    for attribute in ("device_index", "device_id"):  # PyTorch's; CuPy's, -1 for default streams
        own = getattr(stream, attribute, device)
        if isinstance(own, int) and own not in (device, -1):
            raise ValueError(f"stream: expected one of cuda:{device}, got one of cuda:{own}")
    return handle, None if isinstance(stream, int) else stream


def _handle_of(stream: object) -> object:
    try:
        protocol = getattr(stream, "__cuda_stream__", None)
        if protocol is not None:
            _, handle = protocol() if callable(protocol) else protocol
            return handle
        for attribute in ("cuda_stream", "ptr"):
            if hasattr(stream, attribute):
                return getattr(stream, attribute)
        if hasattr(stream, "handle"):  # Numba's, a ctypes pointer: None for the default stream
            return stream.handle.value or 0
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # closed ones refuse each in its way
        raise ValueError(f"stream: expected an open stream, got {stream!r}: {error}") from error
    raise TypeError(
        "stream: expected an integer handle or an object with __cuda_stream__, cuda_stream or ptr, "
        f"got {type(stream).__name__}"
    )


def refuse_stream(stream: object) -> None:
    """Refuse a stream that was given beside arrays in the memory of the host."""
    got = type(stream).__name__
    raise TypeError(f"stream: expected None for arrays in the memory of the host, got {got}")
