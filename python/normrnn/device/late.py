"""Results with numbers that stay on the device until somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from normrnn.results import Gradients, UpdateInfo

Read = Callable[[], Mapping[str, float]]


class DeviceUpdateInfo(UpdateInfo):
    """What `update` returns on a device: the first look at a field waits for the numbers.

    Any look raises FloatingPointError if a gradient was not finite, for which the step was left
    out on the device.
    """

    def __init__(self, read: Read) -> None:
        object.__setattr__(self, "_read", read)

    def __getattr__(self, name: str) -> float:
        return _late(self, name, UpdateInfo)

    def __reduce__(self) -> tuple[Any, ...]:
        return UpdateInfo, tuple(getattr(self, name) for name in _fields(UpdateInfo))


class DeviceGradients(Gradients):
    """What `backward` returns on a device: the first look at `penalty` waits for it."""

    def __init__(self, arrays: Mapping[str, Any], read: Read) -> None:
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        object.__setattr__(self, "_read", read)

    def __getattr__(self, name: str) -> float:
        return _late(self, name, Gradients)


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def _late(result: object, name: str, kind: type) -> float:
    # Only asked about what the object does not have yet.
    if name not in _fields(kind):
        raise AttributeError(f"{kind.__name__} has no attribute {name!r}")
    for field, number in object.__getattribute__(result, "_read")().items():
        object.__setattr__(result, field, number)
    object.__setattr__(result, "_read", None)  # and with it the device's memory
    return float(object.__getattribute__(result, name))
