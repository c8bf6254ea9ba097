"""Forward pass and back-propagation through time, with plain loops over layers and steps.

With h, c before a step and h', c' after it, every cell starts from

    pre = x_t U^T + b_ih        rec = h W^T + b_hh        both [B, G*H]

Backwards, `dy_t` being what the loss or the layer above sends to h_t,

    dL/dh_t = dy_t + dL/drec_{t+1} W + direct_{t+1}
    dL/dU = sum_t dL/dpre_t^T x_t        dL/db_ih = sum_t dL/dpre_t        dL/dx_t = dL/dpre_t U
    dL/dW = sum_t dL/drec_t^T h_{t-1}    dL/db_hh = sum_t dL/drec_t

where the cell gives dL/dpre, dL/drec and the direct part of dL/dh (see cells/base.py).

Cells with layer norm normalise x_t U^T and h W^T before the biases are added, and the derivatives
run back through that (layer_norm.py). Where W is a vector, h W^T is h * W.

Ragged batches need one rule only: a sequence that does not take part in a step keeps its state, and
its gradient passes by unchanged. In reverse it takes no part until the loop arrives at its own end.

State penalties R(h) add dR/dh_t to dL/dh_t, which is then clipped; Omega, a function of dL/dh_t and
of what flows on from it, adds to dL/dW alone.

Dropout multiplies, and zoneout mixes h' and c' with h and c, by factors that masks.py draws;
without dropout all of them are 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import positive
from normrnn.dropout import Dropout
from normrnn.reference.cells import CELLS, Cell
from normrnn.reference.cells.base import Array, Arrays, Factor
from normrnn.reference.layer_norm import normalise, normalise_backward
from normrnn.reference.layout import (
    Lengths,
    Operand,
    Params,
    Run,
    Tape,
    active_steps,
    or_zeros,
    suffixes,
    weights,
)
from normrnn.reference.masks import Masks, check, draw, factor
from normrnn.reference.precision import OPERANDS
from normrnn.results import Gradients, Output
from normrnn.state_penalties import FunctionOfStates, Omega, StatePenalty
from normrnn.state_penalties.resolve import StatePenalties, resolve


def forward(
    cell: str,
    x: Array,
    params: Params,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    need_grad: bool = True,
    precision: str | None = None,
    dropout: Dropout | None = None,
    seed: int | None = None,
    training: bool = True,
) -> Output:
    """Run a recurrent network over a batch of sequences.

    Parameters
    ----------
    cell : str
        A name in `CELLS`.
    x : ndarray, [T, B, I], or [B, T, I] with `batch_first`
        Input. What lies past a sequence's end is not used.
    params : mapping of str to ndarray
        Weights under PyTorch's names, of x's dtype: weight_ih_l0 [G*H, I], weight_hh_l0 [G*H, H],
        bias_ih_l0 and bias_hh_l0 [G*H] (or neither), then l0_reverse, l1, ... The names say how
        many layers and directions there are. Other names are ignored. Some cells have more, or
        other shapes: see `Cell.parameter_shapes`.
    h0, c0 : ndarray, [L*D, B, H], optional
        State before the first step, zero by default; c0 is for the LSTM only.
    lengths : sequence of B ints, optional
        Number of steps of each sequence, 0 to T, in any order; T by default.
    batch_first : bool
        Whether x and y have the batch axis first. States never have.
    need_grad : bool
        Whether to keep a tape for `backward`.
    precision : None or "bfloat16"
        "bfloat16" rounds both operands of every product with U or W, here and in `backward`; the
        weights' own gradients take what was not rounded.
    dropout : Dropout, optional
        What to drop, and how often.
    seed : int, optional
        0 <= seed < 2**64, from which the masks follow.
    training : bool
        False in evaluation: no dropout, and zoneout takes the mean.

    Returns
    -------
    Output
        y, h_n, c_n and the tape.

    Raises
    ------
    ValueError
        If the cell is unknown, or a shape or a length does not fit.
    TypeError
        If a seed is needed and missing.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), 0.5)}
    >>> reference.forward("rnn_relu", np.ones((3, 1, 1)), params).y.ravel().tolist()
    [1.0, 1.5, 1.75]
    """
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(map(repr, CELLS))}, got {cell!r}")
    if precision not in OPERANDS:
        raise ValueError(f"precision: expected None or 'bfloat16', got {precision!r}")
    model, operand = CELLS[cell], OPERANDS[precision]
    if c0 is not None and model.states == 1:
        raise ValueError(f"c0: expected None for cell {cell!r}, got an array")
    check(dropout, seed, training, need_grad, cell, model.states, model.candidate)
    if batch_first:
        x = x.swapaxes(0, 1)
    times, batch, inputs = x.shape
    active = active_steps(lengths, times, batch)
    names, directions = suffixes(params)
    shape = (len(names), batch, params["weight_hh_l0"].shape[-1])
    initial = (or_zeros("h0", h0, shape, x), or_zeros("c0", c0, shape, x))[: model.states]

    input_mask: Factor = 1.0
    if training:
        input_mask = factor(dropout, seed, "input", 0, (times, batch, inputs), x.dtype)
    y = np.where(active, x * input_mask, 0)  # a layer's input, then its output
    runs = []
    for layer in range(0, len(names), directions):
        outputs = []
        for i in range(layer, layer + directions):
            state = tuple(s[i] for s in initial)
            masks = draw(
                dropout,
                seed,
                training,
                index=layer // directions * 2 + i - layer,
                last_layer=layer + directions == len(names),
                gates=model.gates,
                shape=(times, *shape[1:]),
                dtype=x.dtype,
            )
            output, run = _forward_run(model, params, names[i], y, state, active, operand, masks)
            outputs.append(output)
            runs.append(run)
        y = np.concatenate(outputs, axis=2)

    last = [np.stack(s) for s in zip(*(run.states[-1] for run in runs), strict=True)]
    return Output(
        y=y.swapaxes(0, 1) if batch_first else y,
        h_n=last[0],
        c_n=last[1] if model.states == 2 else None,
        tape=Tape(model, params, runs, directions, active, batch_first, operand, input_mask)
        if need_grad
        else None,
    )


def backward(
    tape: Tape,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
    *,
    state_penalty: StatePenalties | None = None,
    clip_state: float | None = None,
) -> Gradients:
    """Back-propagate through time.

    Parameters
    ----------
    tape : object
        From `forward`; the weights must not have changed since.
    dy : ndarray of y's shape, optional
        dL/dy, zero by default. What lies past a sequence's end is not used.
    dh_n, dc_n : ndarray, [L*D, B, H], optional
        dL/dh_n and (LSTM only) dL/dc_n, zero by default.
    state_penalty : StatePenalty, list of them, or mapping, optional
        Part of the loss; see `normrnn.state_penalties.resolve`.
    clip_state : float, optional
        Largest size of an element of dL/dh_t.

    Returns
    -------
    Gradients
        Of the parameters, x, h0 and c0; h_norm before and after clipping; the penalties' value.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), 0.5)}
    >>> out = reference.forward("rnn_relu", np.ones((3, 1, 1)), params)
    >>> grads = reference.backward(out.tape, dh_n=np.ones((1, 1, 1)))
    >>> grads.x.ravel().tolist(), grads.params["weight_hh_l0"].item()
    ([0.25, 0.5, 1.0], 2.0)
    """
    model, runs, x = tape.cell, tape.runs, tape.runs[0].x
    if dc_n is not None and model.states == 1:
        raise ValueError(f"dc_n: expected None for cell {model.name!r}, got an array")
    if clip_state is not None:
        clip_state = positive("clip_state", clip_state)
    if dy is not None and tape.batch_first:
        dy = dy.swapaxes(0, 1)
    times, batch, _ = x.shape
    hidden = runs[0].states[0][0].shape[1]
    shape = (len(runs), batch, hidden)
    dy = or_zeros("dy", dy, (times, batch, tape.directions * hidden), x)
    d_last = (or_zeros("dh_n", dh_n, shape, x), or_zeros("dc_n", dc_n, shape, x))[: model.states]

    d_initial = [np.zeros_like(d) for d in d_last]
    h_norm, h_norm_clipped = np.zeros((2, len(runs), times), x.dtype)
    penalties = resolve(state_penalty, model.name, [run.suffix for run in runs])
    value = 0.0
    grads: dict[str, Array] = {}
    for layer in reversed(range(0, len(runs), tape.directions)):
        dx = np.zeros_like(runs[layer].x)
        for i in range(layer, layer + tape.directions):
            first = (i - layer) * hidden  # the directions' outputs lie side by side in y
            d_input, d_state, d_weights, norms, values = _backward_run(
                tape,
                runs[i],
                dy[:, :, first : first + hidden],
                tuple(d[i] for d in d_last),
                penalties[i],
                clip_state,
            )
            h_norm[i], h_norm_clipped[i] = norms
            value += values
            dx += d_input
            grads |= d_weights
            for k, d in enumerate(d_state):
                d_initial[k][i] = d
        dy = dx
    dy = dy * tape.input_mask

    return Gradients(
        params={name: grads[name] for name in tape.params if name in grads},
        x=dy.swapaxes(0, 1) if tape.batch_first else dy,
        h0=d_initial[0],
        c0=d_initial[1] if model.states == 2 else None,
        h_norm=h_norm,
        h_norm_clipped=h_norm_clipped,
        penalty=value,
    )


def _forward_run(
    cell: type[Cell],
    params: Params,
    suffix: str,
    x: Array,
    state: Arrays,
    active: NDArray[np.bool_],
    operand: Operand,
    masks: Masks,
) -> tuple[Array, Run]:
    """Run one direction of one layer: y [T, B, H], and what backward needs."""
    w = weights(cell, params, suffix)
    U, W, own = w["weight_ih"], w["weight_hh"], [w[kind] for kind in cell.own]
    times, batch, _ = x.shape
    order = range(times)[::-1] if suffix.endswith("_reverse") else range(times)
    W = W * (masks.row() if cell.diagonal else masks.weight)
    run = Run(suffix, x, order, states=[state], tapes=[], after=[], masks=masks, norms=[])
    y = np.zeros((times, batch, W.shape[-1]), x.dtype)
    for t in order:
        mask = masks.at(t)
        h = state[0] * mask.state
        pre = operand(x[t]) @ operand(U).T
        rec = h * W if cell.diagonal else operand(h) @ operand(W).T
        if cell.layer_norm:
            pre, pre_norm = normalise(pre, w["gain_ih"], w["bias_ih"])
            rec, rec_norm = normalise(rec, w["gain_hh"], w["bias_hh"])
            run.norms.append((pre_norm, rec_norm))
        else:
            pre, rec = pre + w["bias_ih"], rec + w["bias_hh"]
        after, tape = cell.forward(pre, rec, state, mask.candidate, *own)
        state = _where(active[t], _mixed(mask, after, state), state)
        y[t] = np.where(active[t], state[0] * mask.output, 0)
        run.after.append(after)
        run.states.append(state)
        run.tapes.append(tape)
    return y, run


def _backward_run(
    tape: Tape,
    run: Run,
    dy: Array,
    d_state: Arrays,
    penalties: Sequence[StatePenalty],
    clip: float | None,
) -> tuple[Array, Arrays, dict[str, Array], Array, float]:
    """Run it back.

    Returns dL/dx, dL/d initial state, gradients of its parameters, norms of dL/dh [2, T] before and
    after clipping, and the value of its penalties.
    """
    cell, operand = tape.cell, tape.operand
    w = weights(cell, tape.params, run.suffix)
    U, weight_mask = w["weight_ih"], run.masks.row() if cell.diagonal else run.masks.weight
    W = w["weight_hh"] * weight_mask
    dx, d = np.zeros_like(run.x), {kind: np.zeros_like(a) for kind, a in w.items()}
    h_norm = np.zeros((2, len(run.order)), run.x.dtype)
    dR, dR_0, value = _function_of_states(tape, run, penalties)
    for s, t in reversed(list(enumerate(run.order))):
        active, mask = tape.active[t], run.masks.at(t)
        h = run.states[s][0] * mask.state
        # Zero for a sequence that takes no part, and so is all that the cell makes of it.
        d_h, *d_c = (np.where(active, one, 0) for one in d_state)
        d_h = d_h + np.where(active, dy[t] * mask.output + dR[t], 0)
        h_norm[0, t] = np.linalg.norm(d_h.astype(np.float64))
        if clip is not None:
            d_h = np.clip(d_h, -clip, clip)
        h_norm[1, t] = np.linalg.norm(d_h.astype(np.float64))
        d_all = (d_h, *d_c)
        nothing = tuple(np.zeros_like(one) for one in d_all)
        d_after = _mixed(mask, d_all, nothing)
        d_pre, d_rec, of_cell = cell.backward(
            run.tapes[s], run.states[s], run.after[s], d_after, mask.candidate
        )
        directs, d_own = of_cell[: cell.states], of_cell[cell.states :]
        d["bias_ih"] += d_pre.sum(axis=0)
        d["bias_hh"] += d_rec.sum(axis=0)
        for kind, d_kind in zip(cell.own, d_own, strict=True):
            d[kind] += d_kind
        if cell.layer_norm:
            pre_norm, rec_norm = run.norms[s]
            d_pre, d_gain_ih, _ = normalise_backward(d_pre, w["gain_ih"], pre_norm)
            d_rec, d_gain_hh, _ = normalise_backward(d_rec, w["gain_hh"], rec_norm)
            d["gain_ih"] += d_gain_ih
            d["gain_hh"] += d_gain_hh
        passed = _mixed(mask, nothing, d_all)  # by zoneout, to the state before
        direct, *d_c = (one + past for one, past in zip(directs, passed, strict=True))
        q = (d_rec * W if cell.diagonal else operand(d_rec) @ operand(W)) * mask.state
        d_state = _where(active, (q + direct, *d_c), d_state)
        dx[t] = operand(d_pre) @ operand(U)
        d["weight_ih"] += d_pre.T @ run.x[t]
        d["weight_hh"] += (d_rec * h).sum(axis=0) if cell.diagonal else d_rec.T @ h
        for omega in (one for one in penalties if isinstance(one, Omega)):
            of_state = np.broadcast_to(mask.state, q.shape)
            g, q_t, s_t, m_t = (a[active[:, 0]] for a in (d_h, q, d_rec, of_state))
            value += omega.value(g, q_t)
            d["weight_hh"] += omega.gradient(g, q_t, s_t, m_t)
    d["weight_hh"] *= weight_mask
    grads = {f"{kind}_{run.suffix}": grad for kind, grad in d.items()}
    return dx, (d_state[0] + dR_0, *d_state[1:]), grads, h_norm, value


def _function_of_states(
    tape: Tape, run: Run, penalties: Sequence[StatePenalty]
) -> tuple[Array, Array, float]:
    """dR/dh [T, B, H], dR/dh_0 [B, H] and R, of the penalties that are functions of the states."""
    h0 = run.states[0][0]
    reverse = run.suffix.endswith("_reverse")
    h = np.array([state[0] for state in run.states])[1:]
    if reverse:
        h = h[::-1]
    d_h, d_h0, value = np.zeros_like(h), np.zeros_like(h0), 0.0
    where: dict[str, Any] = {"lengths": tape.active[:, :, 0].sum(axis=0), "reverse": reverse}
    for one in penalties:
        if isinstance(one, FunctionOfStates):
            gradient = one.gradient(h, h0, **where)
            d_h += gradient[0]
            d_h0 += gradient[1]
            value += one.value(h, h0, **where)
    return d_h, d_h0, value


def _mixed(mask: Masks, new: Arrays, old: Arrays) -> Arrays:
    """Take each state's share from the new one, and the rest from the old one."""
    return tuple(
        a if isinstance(share, float) and share == 1 else share * a + (1 - share) * b
        for share, a, b in zip(mask.update, new, old, strict=False)
    )


def _where(active: NDArray[np.bool_], new: Arrays, old: Arrays) -> Arrays:
    """Take the new state of the sequences that take part in a step, the old one of the others."""
    return tuple(np.where(active, a, b) for a, b in zip(new, old, strict=True))
