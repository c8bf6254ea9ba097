"""The regularised update, in place, and the state that a rule keeps between updates.

Thin: the compiled core checks every array, with its name, and does the work without the GIL. Arrays
on a GPU take their way through normrnn.device.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn._numbers import positive
from normrnn.device import updates as on_gpu
from normrnn.device.libraries import any_on_device, on_device
from normrnn.device.places import is_host
from normrnn.device.streams import refuse_stream
from normrnn.penalties.matrix_terms import MatrixTerms
from normrnn.penalties.plan import Plan, plan_of
from normrnn.penalties.resolve import Some
from normrnn.results import UpdateInfo
from normrnn.rules import Rule
from normrnn.rules.base import check_rule

__all__ = ["init_state", "update"]

Array = NDArray[Any]


def init_state(rule: Rule, params: Mapping[str, Any]) -> dict[str, Any]:
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
        parameter name to an array of its shape, on its device and of its library. `update` changes
        it in place.

    Raises
    ------
    TypeError
        If an argument does not fit.
    RuntimeError, MemoryError
        For arrays on a GPU, as `forward` raises them.

    Examples
    --------
    >>> import normrnn as nr
    >>> state = nr.init_state(nr.Momentum(0.1), nr.init_params("gru", 3, 5))
    >>> state["step"], state["velocity"]["bias_hh_l0"].shape
    (0, (15,))
    """
    check_rule(rule)
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    state: dict[str, Any] = {"step": 0}
    for slot in rule.slots:
        state[slot] = {name: _zeros_like(name, w) for name, w in params.items()}
    return state


def _zeros_like(name: str, w: Any) -> Any:
    if on_device(w):
        return on_gpu.zeros_like(name, w)
    if not isinstance(w, np.ndarray):
        raise TypeError(f"params[{name!r}]: expected a numpy.ndarray, got {type(w).__name__}")
    return np.zeros_like(w, order="C")


def update(
    params: dict[str, Any],
    grads: Mapping[str, Any],
    state: dict[str, Any] | None = None,
    *,
    rule: Rule,
    penalty: Some | Mapping[str, Some] = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    clip_ratio: float | None = None,
    check_finite: bool = True,
    num_threads: int | None = None,
    device: object = None,
    stream: object = None,
) -> UpdateInfo:
    """Take a regularised step in place: w ← w − α(∂L/∂w + ∂R/∂w), for `L2` ∂R/∂w = 2λw.

    One pass over memory does clipping, penalty, rule and prox, and sums up the penalty's value and
    the norms. The gradients are looked at first, unless `check_finite` is False: if one is not
    finite, nothing is changed.

    Parameters
    ----------
    params : dict of str to ndarray
        Weights, C-contiguous and writeable; changed in place. All arrays may be on a GPU, one and
        the same for all; see Notes.
    grads : mapping of str to ndarray
        ∂L/∂w under the same names.
    state : dict, optional
        As from `init_state`; may be left out for a rule without slots (`SGD`), whose updates are
        then all the first to strengths that are functions.
    rule : Rule
        `SGD`, `Momentum`, `Adam` or `AdamW`.
    penalty : Penalty, Prox, sequence, mapping or None
        One, or a list, for all weights (biases and gains are exempt), or a mapping from name
        patterns such as ``"weight_hh_*"``: the first that matches counts, and a bias or a gain is
        matched only by a pattern with "bias" or "gain" in it. ``"weight_hh_l0[f]"`` is the rows of
        one gate, ``"weight_hh_l0[*]"`` each gate by itself. A plain penalty acts through its
        gradient, `Prox` as an exact proximal step after the rule's, a constraint as a projection
        there. See `normrnn.penalties.resolve`.
    clip_norm : float, optional
        The gradients of the loss are scaled down to this global norm if theirs is larger.
    clip_value : float, optional
        Or each is held in [−clip_value, clip_value].
    clip_ratio : float, optional
        Or each unit's gradient, a row, is scaled down to this fraction of the norm of the unit's
        weights, which counts as at least 1e-3 (adaptive clipping). A vector, such as a bias, is one
        unit: beside patterns that give its gates penalties this is refused.
    check_finite : bool
        Whether to read all gradients before the step and refuse one that is NaN or infinite. If
        False, every array is read once: a quarter less memory to move with `SGD`, an eighth with
        `Adam`, which counts for models much larger than the caches. Such a gradient then reaches
        its weight, and grad_norm is not finite. Clipping reads the gradients first in any case,
        and refuses.
    num_threads : int, optional
        Threads for this call. The result does not depend on it. Without meaning on a GPU, and for
        penalties of whole matrices, which are NumPy's linear algebra with the threads of its BLAS.
    device : str or torch.device, optional
        "cuda" or "cuda:1": NumPy arrays are copied there, and what has changed is copied back.
        Arrays on a GPU say so themselves.
    stream : int or object, optional
        Of a GPU, the stream to work on, as in `forward`.

    Returns
    -------
    UpdateInfo
        penalty (before the step), grad_norm (before clipping), update_norm, param_norm (after the
        step), clip_scale, clipped_norm.

    Raises
    ------
    FloatingPointError
        If a gradient is NaN or infinite, unless `check_finite` is False and nothing clips, or a
        weight that a penalty of whole matrices is for; names the parameter, before any weight is
        touched.
    TypeError, ValueError
        If an argument does not fit, or a strength or a learning rate is beyond half of the largest
        number of the weights' dtype; nothing is changed.
    numpy.linalg.LinAlgError
        If a singular value decomposition does not converge; nothing is changed.
    RuntimeError, MemoryError
        As `forward` raises them, of a GPU.

    Notes
    -----
    On a GPU the call puts its work on the stream and returns. The numbers of `UpdateInfo` stay on
    the device until one of them is first looked at, which waits for the step. So a gradient that is
    not finite is found there: no weight and no slot changes, ``state["step"]`` counts on
    nevertheless, and FloatingPointError is raised by that first look. Who never looks is never
    told. With ``device=`` and NumPy arrays the call waits, and raises as on the CPU.

    Penalties of whole matrices (`NuclearNorm`, `SpectralNorm`, `SpectralCap`, `SoftOrthogonality`)
    are refused on a GPU.

    References
    ----------
    Clipping: Pascanu, Mikolov & Bengio, arXiv:1211.5063; adaptive: Brock et al., arXiv:2102.06171.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = {"weight": np.array([1.0, -2.0])}
    >>> info = nr.update(params, {"weight": np.array([0.5, 0.5])}, rule=nr.SGD(lr=0.1),
    ...                  penalty=nr.L2(0.25))
    >>> params["weight"], info.penalty
    (array([ 0.9 , -1.95]), 1.25)
    """
    check_rule(rule)
    clips = {}
    if not (clip_norm is clip_value is clip_ratio is None):  # 0.7 us less where nothing clips
        clips = _clips(clip_norm=clip_norm, clip_value=clip_value, clip_ratio=clip_ratio)
    if not isinstance(params, dict):  # another mapping may make its arrays anew at each look
        raise TypeError(f"params: expected a dict, got {type(params).__name__}")
    if not isinstance(grads, (dict, Mapping)):  # the first is known at once
        raise TypeError(f"grads: expected a mapping, got {type(grads).__name__}")
    on_host = is_host(device)
    layout = _core.layout_of(params) if on_host else None
    if on_host and layout is None:
        on_host = not any_on_device(params)
        if on_host:
            odd = next(name for name, w in params.items() if not isinstance(w, np.ndarray))
            got = type(params[odd]).__name__
            raise TypeError(f"params[{odd!r}]: expected a numpy.ndarray, got {got}")
    if params.keys() != grads.keys():
        apart = sorted(params.keys() ^ grads.keys())
        raise ValueError(f"grads: expected the names of params, got a difference in {apart}")
    if state is None:
        if rule.slots:
            raise TypeError(
                f"state: expected the dict of init_state for {type(rule).__name__}, got None"
            )
        state = {"step": 0}
    state["step"] = _checked_step(state, rule, params)  # files make an array of it
    step = state["step"] + 1

    if not on_host:
        return on_gpu.update(
            params,
            grads,
            state,
            rule=rule,
            penalty=penalty,
            clips=clips,
            check_finite=check_finite,
            device=device,
            stream=stream,
        )
    if stream is not None:
        refuse_stream(stream)
    plan = plan_of(penalty, params, step, layout)
    if clip_ratio is not None:
        _refuse_split_vectors(plan, params)
    matrices = MatrixTerms(plan.pieces, params, rule, state) if plan.of_matrices else None
    arguments = (
        params,
        grads,
        [state[slot] for slot in rule.slots],
        plan.pieces,
        plan.elements,
        plan.groups,
        matrices.pull if matrices else {},
        rule.kernel,
        rule.scalars(step),
        plan.strengths,
        clips.get("clip_norm"),
        clips.get("clip_value"),
        clips.get("clip_ratio"),
        check_finite,
        num_threads,
        state,
    )
    if matrices:
        return matrices.finish(lambda: UpdateInfo(*_core.update(*arguments)))
    return UpdateInfo(*_core.update(*arguments))


def _clips(**limits: float | None) -> dict[str, float]:
    clips = {name: positive(name, limit) for name, limit in limits.items() if limit is not None}
    if len(clips) > 1:
        first, second, *_ = clips
        raise ValueError(f"{second}: expected None beside {first}, got a number")
    return clips


def _checked_step(state: object, rule: Rule, params: Mapping[str, Any]) -> int:
    """Return the number of updates done, once `state` has all that the next one needs."""
    if not isinstance(state, dict):
        raise TypeError(f"state: expected the dict of init_state, got {type(state).__name__}")
    for key in ("step", *rule.slots):
        if key not in state:
            raise ValueError(f"state: expected an entry {key!r} for {rule}, got {sorted(state)}")
    step = state["step"]
    if type(step) is not int:  # it nearly always is
        step = _integer("state['step']", step)
    if step < 0:
        raise ValueError(f"state['step']: expected an integer >= 0, got {state['step']}")
    for slot in rule.slots:
        if not isinstance(state[slot], dict):
            got = type(state[slot]).__name__
            raise TypeError(f"state[{slot!r}]: expected a dict of arrays, got {got}")
        if not params.keys() <= state[slot].keys():
            name = next(name for name in params if name not in state[slot])
            raise ValueError(f"state: expected {slot!r} to hold {name!r}, got none")
    return step


def _integer(argument: str, value: Any) -> int:
    """`value` as an int if it is an integer of Python's or NumPy's, or an array of one."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{argument}: expected an integer, got {type(value).__name__}")


def _refuse_split_vectors(plan: Plan, params: Mapping[str, Array]) -> None:
    split = [p.name for p in plan.pieces if p.rows is not None and params[p.name].ndim == 1]
    if split:
        raise ValueError(
            f"clip_ratio: expected no pattern of gates for a vector, which has one ratio, got one "
            f"for {split[0]}"
        )
