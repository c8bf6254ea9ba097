"""Types of the compiled core; shapes and meaning are in functional, losses and optimize."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from normrnn.dropout import Dropout

@final
class Tape:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def cell(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def runs(self) -> list[str]: ...
    @property
    def layers(self) -> int: ...
    @property
    def directions(self) -> int: ...
    @property
    def lengths(self) -> NDArray[np.int64]: ...
    def states(self, layer: int, direction: int = 0) -> tuple[NDArray[Any], ...]: ...
    def gates(self, layer: int, direction: int = 0) -> NDArray[Any]: ...

@final
class Frozen:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

@final
class DeviceArray:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def device(self) -> str: ...
    def to_host(self) -> NDArray[Any]: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...

@final
class DeviceTape:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def cell(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def runs(self) -> list[str]: ...
    @property
    def layers(self) -> int: ...
    @property
    def directions(self) -> int: ...
    @property
    def lengths(self) -> NDArray[np.int64]: ...
    @property
    def device(self) -> str: ...
    @property
    def library(self) -> Any: ...

def config() -> dict[str, Any]: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def fma_peak(float32: bool, num_threads: int | None) -> float: ...
def stream_bandwidth(num_threads: int | None) -> float: ...
def cells() -> dict[str, tuple[int, int]]: ...
def parameter_shapes(
    cell: str, inputs: int, hidden: int, bias: bool
) -> dict[str, tuple[int, ...]]: ...
def rules() -> dict[str, int]: ...
def penalties() -> list[str]: ...
def freeze(cell: str, params: dict[str, NDArray[Any]], precision: str | None) -> Frozen: ...
def forward(
    cell: str,
    x: NDArray[Any],
    params: dict[str, NDArray[Any]] | Frozen,
    h0: NDArray[Any] | None,
    c0: NDArray[Any] | None,
    lengths: NDArray[np.int64] | None,
    batch_first: bool,
    need_grad: bool,
    precision: str | None,
    num_threads: int | None,
    dropout: Dropout | None,
    seed: int | None,
    training: bool,
) -> tuple[NDArray[Any], tuple[NDArray[Any], ...], Tape | None]: ...
def backward(
    tape: Tape,
    dy: NDArray[Any] | None,
    dh_n: NDArray[Any] | None,
    dc_n: NDArray[Any] | None,
    state_penalty: Sequence[Sequence[tuple[str, Sequence[float]]]] | None,
    clip_state: float | None,
    num_threads: int | None,
) -> tuple[
    dict[str, NDArray[Any]],
    NDArray[Any],
    tuple[NDArray[Any], ...],
    NDArray[Any],
    NDArray[Any],
    float,
]: ...
def head_forward(
    h: NDArray[Any],
    weight_hy: NDArray[Any],
    bias_hy: NDArray[Any] | None,
    num_threads: int | None,
) -> NDArray[Any]: ...
def head_backward(
    h: NDArray[Any],
    weight_hy: NDArray[Any],
    bias_hy: NDArray[Any] | None,
    dy: NDArray[Any],
    num_threads: int | None,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]: ...
def squared_error(
    y: NDArray[Any], target: NDArray[Any], mask: NDArray[np.bool_] | None, scale: float
) -> tuple[float, NDArray[Any]]: ...
def sigmoid_cross_entropy(
    y: NDArray[Any], target: NDArray[Any], mask: NDArray[np.bool_] | None, scale: float
) -> tuple[float, NDArray[Any]]: ...
def softmax_cross_entropy(
    logits: NDArray[Any],
    target: NDArray[np.integer[Any]],
    mask: NDArray[np.bool_] | None,
    scale: float,
) -> tuple[float, NDArray[Any]]: ...
def layout_of(params: dict[str, Any]) -> bytes | None: ...
def update(
    params: dict[str, NDArray[Any]],
    grads: Mapping[str, Any],
    slots: list[dict[str, Any]],
    pieces: list[Any],
    elements: list[Any],
    groups: list[Any],
    pulls: dict[int, NDArray[Any]],
    rule: str,
    rule_scalars: Sequence[float],
    group_strength: NDArray[np.float64],
    clip_norm: float | None,
    clip_value: float | None,
    clip_ratio: float | None,
    check_finite: bool,
    num_threads: int | None,
    state: dict[str, Any],
) -> tuple[float, float, float, float, float, float]: ...
def cuda_is_built() -> bool: ...
def device_count() -> int: ...
def device_name(device: int) -> str: ...
def synchronize(device: int, stream: int | None) -> None: ...
def release_memory(device: int) -> None: ...
def release_host_memory() -> None: ...
def graph_counts() -> tuple[int, int]: ...
def device_from_host(
    name: str, array: NDArray[Any], device: int, stream: int | None, stream_owner: object
) -> DeviceArray: ...
def device_facts(name: str, array: Any) -> tuple[int, int | None, tuple[int, ...], str]: ...
def device_forward(
    cell: str,
    x: Any,
    params: dict[str, Any],
    h0: Any,
    c0: Any,
    lengths: NDArray[np.int64] | None,
    batch_first: bool,
    need_grad: bool,
    precision: str | None,
    dropout: Dropout | None,
    seed: int | None,
    training: bool,
    stream: int | None,
    stream_owner: object,
    library: object,
) -> tuple[DeviceArray, tuple[DeviceArray, ...], DeviceTape | None]: ...
def device_backward(
    tape: DeviceTape,
    dy: Any,
    dh_n: Any,
    dc_n: Any,
    state_penalty: Sequence[Sequence[tuple[str, Sequence[float]]]] | None,
    clip_state: float | None,
    stream: int | None,
    stream_owner: object,
) -> tuple[
    dict[str, DeviceArray],
    DeviceArray,
    tuple[DeviceArray, ...],
    DeviceArray,
    DeviceArray,
    DeviceArray,
]: ...
def device_update(
    tensors: list[Any],
    rule: str,
    rule_scalars: Sequence[float],
    group_strength: NDArray[np.float64],
    clip_norm: float | None,
    clip_value: float | None,
    clip_ratio: float | None,
    check_finite: bool,
    state: dict[str, Any],
    stream: int | None,
    stream_owner: object,
) -> DeviceArray: ...
