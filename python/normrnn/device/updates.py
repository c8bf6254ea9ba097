"""The regularised update on a device, and the state of rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn._core import DeviceArray
from normrnn.device.late import DeviceUpdateInfo
from normrnn.device.libraries import Host, Library, library_of, on_device
from normrnn.device.places import check_device, index_in
from normrnn.penalties.plan import Plan, plan_of
from normrnn.penalties.resolve import Some, inner_of
from normrnn.results import UpdateInfo
from normrnn.rules import Rule

_MOST_KEPT = 8
_kept: OrderedDict[Hashable, tuple[Plan, list[DeviceArray | None]]] = OrderedDict()


def zeros_like(name: str, w: Any) -> Any:
    """Return a slot of a rule for a parameter on a device."""
    return library_of(f"params[{name!r}]", w).zeros_like(f"params[{name!r}]", w)


def update(
    params: Mapping[str, Any],
    grads: Mapping[str, Any],
    state: dict[str, Any],
    *,
    rule: Rule,
    penalty: Some | Mapping[str, Some],
    clips: Mapping[str, float],
    check_finite: bool,
    device: object,
    stream: object,
) -> UpdateInfo:
    """Do what `normrnn.update` does; everything but the arrays has been checked."""
    name, first = next(iter(params.items()), ("", None))
    library: Library
    if on_device(first):
        library = library_of(f"params[{name!r}]", first)
        check_device(device, library.device)
        return _update(library, params, grads, state, rule, penalty, clips, check_finite, stream)
    for name, w in params.items():
        if on_device(w):
            raise TypeError(
                f"params[{name!r}]: expected an array in the memory of the host, as the first is, "
                f"got {type(w).__name__} on a device"
            )
    library = Host(index_in("device", device))
    return _copied(library, params, grads, state, rule, penalty, clips, check_finite, stream)


def _copied(
    library: Library,
    params: Mapping[str, NDArray[Any]],
    grads: Mapping[str, NDArray[Any]],
    state: dict[str, Any],
    rule: Rule,
    *rest: Any,
) -> UpdateInfo:
    """Copy there, update, and copy back unless the update refuses."""
    on = library.stream(rest[-1])

    def copies(label: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: library.take(label.format(name), arrays[name], on) for name in params}

    written = [("params['{}']", params, own := copies("params['{}']", params))]
    own_state: dict[str, Any] = {"step": state["step"]}
    for i, slot in enumerate(rule.slots):
        label = f"state, slot {i} of '{{}}'"
        own_state[slot] = copies(label, state[slot])
        written.append((label, state[slot], own_state[slot]))
    for label, arrays, _ in written:
        for name in params:
            if not arrays[name].flags.writeable:
                argument = label.format(name)
                raise ValueError(f"{argument}: expected a writeable array, got a read-only one")
    info = _update(library, own, copies("grads['{}']", grads), own_state, rule, *rest)
    numbers = UpdateInfo(*info.__reduce__()[1])  # waits, and refuses
    for _, arrays, changed in written:
        for name in params:
            np.copyto(arrays[name], changed[name].to_host())
    state["step"] = own_state["step"]
    return numbers


def _update(
    library: Library,
    params: Mapping[str, Any],
    grads: Mapping[str, Any],
    state: dict[str, Any],
    rule: Rule,
    penalty: Some | Mapping[str, Some],
    clips: Mapping[str, float],
    check_finite: bool,
    stream: object,
) -> UpdateInfo:
    shapes = {name: _shape_of(*library.facts(f"params[{name!r}]", w)) for name, w in params.items()}
    step = state["step"] + 1
    plan = plan_of(penalty, shapes, step)
    if plan.of_matrices:
        kinds = {
            type(inner_of(term)).__name__
            for piece in plan.pieces
            for term in piece.terms
            if inner_of(term).scope == "matrix"
        }
        raise ValueError(
            "penalty: expected penalties of weights or groups on a device, got "
            f"{', '.join(sorted(kinds))}, which looks at whole matrices"
        )
    on = library.stream(stream)
    if on[0] is None:
        on = next((_core.device_facts(name, w)[1] for name, w in params.items()), None), None
    elements = _uploaded(plan, library.device, on)
    slots = [state[slot] for slot in rule.slots]
    tensors = [
        (
            name,
            params[name],
            grads[name],
            [slot[name] for slot in slots],
            elements[i],
            plan.groups[i],
            None,
            None if rows is None else rows.indices(shapes[name].shape[0])[:2],
        )
        for i, (name, rows, *_) in enumerate(plan.pieces)
    ]
    sums = _core.device_update(
        tensors,
        rule.kernel,
        rule.scalars(step),
        plan.strengths,
        clips.get("clip_norm"),
        clips.get("clip_value"),
        clips.get("clip_ratio"),
        check_finite,
        state,
        *on,
    )
    library.lend([*params.values(), *(grads[name] for name in params)], stream)
    library.lend([slot[name] for slot in slots for name in params], stream)
    where = [(name, *shapes[name].shape, begin) for name, begin in _begins(plan, shapes)]
    return DeviceUpdateInfo(lambda: _read(sums, where))


def _begins(plan: Plan, shapes: Mapping[str, NDArray[Any]]) -> list[tuple[str, int]]:
    """Return each piece's parameter and the element that it begins with."""
    begins = []
    for name, rows, *_ in plan.pieces:
        shape = shapes[name].shape
        first = 0 if rows is None else rows.indices(shape[0])[0]
        begins.append((name, first * int(np.prod(shape[1:], dtype=np.int64))))
    return begins


def _read(sums: DeviceArray, where: list[tuple[Any, ...]]) -> dict[str, float]:
    """Return UpdateInfo's numbers by name, in cuda.h's order of sums."""
    penalty, grad, clipped, moved, param, scale, *bad = sums.to_host().tolist()
    count, tensor, index, value = bad
    if count > 0:
        name, *shape, begin = where[int(tensor)]
        at = tuple(map(int, np.unravel_index(begin + int(index), shape))) if shape else ()
        raise FloatingPointError(
            f"grads[{name!r}]: expected finite values, got {value} at index {at}"
        )
    return {
        "penalty": penalty,
        "grad_norm": grad,
        "update_norm": moved,
        "param_norm": param,
        "clip_scale": scale,
        "clipped_norm": clipped,
    }


@cache
def _shape_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Stand in for a parameter where only its shape and dtype are looked at: takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _uploaded(plan: Plan, device: int, on: tuple[int | None, object]) -> list[Any]:
    """Return the plan's penalties of weights with their arrays on the device, copied once.

    For each stream of its own: what is dropped then goes in the order of those who used it. Plans
    of one key have the same arrays.
    """
    host = [array for one in plan.elements if one is not None for array in one[2:4]]
    if all(array is None for array in host):
        return plan.elements
    key = plan.key, device, on[0]
    if key not in _kept:
        there = [
            None
            if array is None
            else _core.device_from_host("penalty", np.array(array, order="C"), device, *on)
            for array in host
        ]
        _kept[key] = plan, there
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    arrays = iter(_kept[key][1])
    return [
        None if one is None else (*one[:2], next(arrays), next(arrays), one[4])
        for one in plan.elements
    ]
