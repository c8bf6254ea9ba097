"""What a Monitor can record: each quantity as a function from a training step to named numbers.

A quantity whose argument was left out is empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.diagnostics import (
    dead_units,
    gradient_flow,
    saturation,
    spectral_norm,
    spectral_radii,
)
from normrnn.diagnostics._names import Array, blocks, hidden_of, params_in, tape_in
from normrnn.results import Gradients, UpdateInfo

Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Moment:
    """A training step, as `Monitor.record` was told of it."""

    params: Mapping[str, Array] | None
    grads: Gradients | None
    info: UpdateInfo | None
    tape: Any
    loss: float | None
    vectors: dict[str, NDArray[np.float64]]  # singular vectors of the last time, by name


def _loss(at: Moment) -> Numbers:
    return {} if at.loss is None else {"loss": float(at.loss)}


def _info(at: Moment) -> Numbers:
    if at.info is None:
        return {}
    if not isinstance(at.info, UpdateInfo):
        raise TypeError(f"info: expected what update returned, got {type(at.info).__name__}")
    found = {f.name: getattr(at.info, f.name) for f in fields(at.info)}
    return {name: value for name, value in found.items() if isinstance(value, float)}


def _weight_l2(at: Moment) -> Numbers:
    return _of_blocks("weight_l2", at.params, _l2)


def _weight_zeros(at: Moment) -> Numbers:
    return _of_blocks("weight_zeros", at.params, _share_of_zeros)


def _weight_sigma(at: Moment) -> Numbers:
    if at.params is None:
        return {}
    params_in(at.params)
    found = {}
    for name, w in at.params.items():
        if name.startswith("weight_hh_"):
            known = at.vectors.get(name)
            warm = known is not None and known.shape == w.shape[-1:]  # H may change: see shrink
            one = spectral_norm(w, known if warm else None)
            at.vectors[name] = one.state
            found[f"weight_sigma/{name}"] = one.value
    return found


def _weight_radius(at: Moment) -> Numbers:
    if at.params is None:
        return {}
    return {f"weight_radius/{name}": r for name, r in spectral_radii(at.params).items()}


def _grad_l2(at: Moment) -> Numbers:
    grads = _grads(at)
    return {} if grads is None else _of_blocks("grad_l2", grads.params, _l2)


def _flow(at: Moment) -> Numbers:
    grads = _grads(at)
    if grads is None:
        return {}
    lengths = None if at.tape is None else tape_in(at.tape).lengths
    flow = gradient_flow(grads, lengths=lengths)
    rates = {f"flow_rate/{n}": float(r) for n, r in zip(flow.names, flow.rate, strict=True)}
    reach = {f"flow_reach/{n}": float(r) for n, r in zip(flow.names, flow.reach, strict=True)}
    return rates | reach


def _saturation(at: Moment) -> Numbers:
    if at.tape is None:
        return {}
    found = saturation(at.tape)
    numbers = {}
    for side, fractions in (("low", found.low), ("high", found.high)):
        for name, run in zip(found.names, fractions.mean(axis=2).tolist(), strict=True):
            for gate, value in zip(found.gates, run, strict=True):
                numbers[f"saturation_{side}/{name}[{gate}]"] = value
    return numbers


def _silent(at: Moment) -> Numbers:
    if at.tape is None:
        return {}
    found = dead_units(at.tape)
    fractions = found.silent.mean(axis=1).tolist()
    return {f"silent/{name}": f for name, f in zip(found.names, fractions, strict=True)}


def _grads(at: Moment) -> Gradients | None:
    if at.grads is not None and not isinstance(at.grads, Gradients):
        raise TypeError(f"grads: expected what backward returned, got {type(at.grads).__name__}")
    return at.grads


def _share_of_zeros(w: Array) -> float:
    return 1 - int(np.count_nonzero(w)) / w.size if w.size else 0.0


def _l2(w: Array) -> float:
    return math.sqrt(np.square(w, dtype=np.float64).sum())


def _of_blocks(
    quantity: str, params: Mapping[str, Array] | None, norm: Callable[[Array], float]
) -> Numbers:
    if params is None:
        return {}
    params_in(params)
    hidden = hidden_of(params)
    return {
        f"{quantity}/{name}": norm(w)
        for parameter, whole in params.items()
        for name, w in blocks(parameter, whole, hidden).items()
    }


QUANTITIES: dict[str, Callable[[Moment], Numbers]] = {
    "loss": _loss,
    "info": _info,
    "weight_l2": _weight_l2,
    "weight_zeros": _weight_zeros,
    "weight_sigma": _weight_sigma,
    "weight_radius": _weight_radius,
    "grad_l2": _grad_l2,
    "flow": _flow,
    "saturation": _saturation,
    "silent": _silent,
}
