"""The regularised update, in place, and the state that a rule keeps between updates.

Thin: the compiled core checks every array, with its name, and does the work without the GIL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn._numbers import positive
from normrnn.penalties import Penalty, Prox, resolve
from normrnn.results import UpdateInfo
from normrnn.rules import Rule

__all__ = ["init_state", "update"]

Array = NDArray[Any]


def init_state(rule: Rule, params: Mapping[str, Array]) -> dict[str, Any]:
    """Make the state that a rule keeps between updates, all zero.

    Parameters
    ----------
    rule : Rule
        The rule of the updates to come.
    params : mapping of str to ndarray
        The parameters to be updated.

    Returns
    -------
    dict
        ``"step"``, the number of updates done, and for each of the rule's slots a dict from
        parameter name to an array of its shape. `update` changes it in place.

    Examples
    --------
    >>> import normrnn as nr
    >>> state = nr.init_state(nr.Momentum(0.1), nr.init_params("gru", 3, 5))
    >>> state["step"], state["velocity"]["bias_hh_l0"].shape
    (0, (15,))
    """
    state: dict[str, Any] = {"step": 0}
    for slot in rule.slots:
        state[slot] = {name: np.zeros_like(w, order="C") for name, w in params.items()}
    return state


def update(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: dict[str, Any] | None = None,
    *,
    rule: Rule,
    penalty: Penalty | Prox | Mapping[str, Penalty | Prox | None] | None = None,
    clip_norm: float | None = None,
    check_finite: bool = True,
    num_threads: int | None = None,
) -> UpdateInfo:
    """Take a regularised step in place: w ← w − α(∂L/∂w + ∂R/∂w), for `L2` ∂R/∂w = 2λw.

    One pass over memory does clipping, penalty, rule and prox, and sums up the penalty's value and
    the norms. The gradients are looked at first, unless `check_finite` is False: if one is not
    finite, nothing is changed.

    Parameters
    ----------
    params : mapping of str to ndarray
        Weights, C-contiguous and writeable; changed in place.
    grads : mapping of str to ndarray
        ∂L/∂w under the same names.
    state : dict, optional
        As from `init_state`; may be left out for a rule without slots (`SGD`).
    rule : Rule
        `SGD`, `Momentum`, `Adam` or `AdamW`.
    penalty : Penalty, Prox, mapping or None
        One for all weights (biases are exempt), or a mapping from name patterns such as
        ``"weight_hh_*"`` to one each: the first that matches counts, and a bias is matched only by
        a pattern with "bias" in it. A plain penalty acts through its gradient, `Prox` as an exact
        proximal step after the rule's.
    clip_norm : float, optional
        The gradients of the loss are scaled down to this global norm if theirs is larger.
    check_finite : bool
        Whether to read all gradients before the step and refuse one that is NaN or infinite. If
        False, every array is read once: a quarter less memory to move with `SGD`, an eighth with
        `Adam`, which counts for models much larger than the caches. Such a gradient then reaches
        its weight, and grad_norm is not finite. Clipping reads the gradients first in any case,
        and refuses.
    num_threads : int, optional
        Threads for this call. The result does not depend on it.

    Returns
    -------
    UpdateInfo
        penalty (before the step), grad_norm (before clipping), update_norm, param_norm (after the
        step), clip_scale.

    Raises
    ------
    FloatingPointError
        If a gradient is NaN or infinite, unless `check_finite` is False and `clip_norm` None; names
        the parameter, before any weight is touched.
    TypeError, ValueError
        If an argument does not fit; nothing is changed.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = {"weight": np.array([1.0, -2.0])}
    >>> info = nr.update(params, {"weight": np.array([0.5, 0.5])}, rule=nr.SGD(lr=0.1),
    ...                  penalty=nr.L2(0.25))
    >>> params["weight"], info.penalty
    (array([ 0.9 , -1.95]), 1.25)
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: expected a rule such as SGD(0.1), got {type(rule).__name__}")
    if clip_norm is not None:
        clip_norm = positive("clip_norm", clip_norm)
    for argument, given in {"params": params, "grads": grads}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{argument}: expected a mapping, got {type(given).__name__}")
    if params.keys() != grads.keys():
        odd = sorted(params.keys() ^ grads.keys())
        raise ValueError(f"grads: expected the names of params, got a difference in {odd}")
    if state is None:
        if rule.slots:
            raise TypeError(
                f"state: expected the dict of init_state for {type(rule).__name__}, got None"
            )
        state = {"step": 0}
    _check_state(state, rule)
    tensors = []
    for name, one in resolve(penalty, params).items():
        missing = [slot for slot in rule.slots if name not in state[slot]]
        if missing:
            raise ValueError(f"state: expected {missing[0]!r} to hold {name!r}, got none")
        slots = [state[slot][name] for slot in rule.slots]
        tensors.append((name, params[name], grads[name], slots, _kernel_of(one, name, params)))
    scalars = rule.scalars(state["step"] + 1)
    sums = _core.update(tensors, rule.kernel, scalars, clip_norm, check_finite, num_threads, state)
    return UpdateInfo(*sums)


def _check_state(state: object, rule: Rule) -> None:
    if not isinstance(state, dict):
        raise TypeError(f"state: expected the dict of init_state, got {type(state).__name__}")
    for key in ("step", *rule.slots):
        if key not in state:
            raise ValueError(f"state: expected an entry {key!r} for {rule}, got {sorted(state)}")
    step = state["step"]
    if isinstance(step, bool) or not isinstance(step, int):
        raise TypeError(f"state['step']: expected an integer, got {type(step).__name__}")
    if step < 0:
        raise ValueError(f"state['step']: expected an integer >= 0, got {step}")
    for slot in rule.slots:
        if not isinstance(state[slot], Mapping):
            got = type(state[slot]).__name__
            raise TypeError(f"state[{slot!r}]: expected a mapping of arrays, got {got}")


def _kernel_of(
    penalty: Penalty | Prox | None, name: str, params: Mapping[str, Array]
) -> tuple[str, tuple[float, ...], Array | None, bool] | None:
    if penalty is None:
        return None
    prox = isinstance(penalty, Prox)
    inner = penalty.penalty if isinstance(penalty, Prox) else penalty
    return (inner.kernel, inner.scalars(), inner.center_for(name, params[name]), prox)
