"""Forward pass and back-propagation through time, with the output head.

Thin: the compiled core checks every array, with its name, and does the work without the GIL. Arrays
on a GPU take their way through normrnn.device. Long for what it says of each argument.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from normrnn import _core
from normrnn._numbers import flag, integer, positive, random_generator
from normrnn.device import sequence as on_gpu
from normrnn.device.libraries import on_device
from normrnn.device.places import is_host
from normrnn.device.streams import refuse_stream
from normrnn.dropout import Dropout
from normrnn.frozen import FrozenParams
from normrnn.results import Gradients, Output
from normrnn.state_penalties.resolve import StatePenalties, resolve

__all__ = [
    "backward",
    "forward",
    "head_backward",
    "head_forward",
    "init_params",
]

Array = NDArray[Any]
LARGEST = 2**28  # of two sizes, times gates, directions and bytes, the product fits 64 bits


def init_params(
    cell: str,
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    output_size: int | None = None,
    dtype: DTypeLike = "float32",
    rng: int | np.random.Generator | None = 0,
) -> dict[str, Array]:
    """Draw the parameters of a recurrent network, uniform in ±1/√hidden_size.

    Names, layouts and gate orders are PyTorch's: gates i f g o for the LSTM, r z n for the GRU.
    Gains of layer norm begin as ones, and the bias of a normalised cell state as zeros.

    Parameters
    ----------
    cell : str
        "rnn_tanh", "rnn_relu", "gru" or "lstm"; with layer norm "rnn_tanh_ln", "rnn_relu_ln",
        "gru_ln" or "lstm_ln"; "indrnn_tanh" or "indrnn_relu".
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; layer k > 0 reads the output of the one below.
    bidirectional : bool
        Whether each layer also runs backwards in time (D = 2, names that end in ``_reverse``).
    bias : bool
        Whether to make ``bias_ih_*`` and ``bias_hh_*``.
    output_size : int, optional
        O; adds the head's ``weight_hy`` [O, D*H] and ``bias_hy`` [O].
    dtype : dtype
        float32 or float64.
    rng : int, numpy.random.Generator or None
        Seed or generator.

    Returns
    -------
    dict of str to ndarray
        ``weight_ih_l0`` [G*H, I], ``weight_hh_l0`` [G*H, H] (of an IndRNN [H]), ``bias_ih_l0`` and
        ``bias_hh_l0`` [G*H], and so on for each layer and direction. With layer norm also
        ``gain_ih_l0`` and ``gain_hh_l0`` [G*H], and for the LSTM ``gain_c_l0`` and ``bias_c_l0``
        [H].

    Raises
    ------
    TypeError
        If a size is not an integer, a switch not a bool, or the dtype another one.
    ValueError
        If there is no such cell, or a size is too small (below 0 for input_size, below 1 for the
        others) or beyond any memory.

    Examples
    --------
    >>> import normrnn as nr
    >>> {name: w.shape for name, w in nr.init_params("gru", 3, 5, output_size=2).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'weight_ih_l0': (15, 3), 'weight_hh_l0': (15, 5), 'bias_ih_l0': (15,), 'bias_hh_l0': (15,),
     'weight_hy': (2, 5), 'bias_hy': (2,)}
    """
    cells = _core.cells()
    if not isinstance(cell, Hashable) or cell not in cells:
        raise ValueError(f"cell: expected one of {', '.join(map(repr, cells))}, got {cell!r}")
    input_size = _size("input_size", input_size, 0)
    hidden_size = _size("hidden_size", hidden_size, 1)
    num_layers = _size("num_layers", num_layers, 1)
    if output_size is not None:
        output_size = _size("output_size", output_size, 1)
    bidirectional, bias = flag("bidirectional", bidirectional), flag("bias", bias)
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found not in (np.float32, np.float64):  # NumPy takes None for float64
        raise TypeError(f"dtype: expected float32 or float64, got {found or dtype}")

    directions = 2 if bidirectional else 1
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        inputs = directions * hidden_size if layer else input_size
        for suffix in ("", "_reverse")[:directions]:
            own = _core.parameter_shapes(cell, inputs, hidden_size, bias)
            shapes |= {f"{kind}_l{layer}{suffix}": shape for kind, shape in own.items()}
    if output_size is not None:
        shapes["weight_hy"] = (output_size, directions * hidden_size)
        if bias:
            shapes["bias_hy"] = (output_size,)
    generator = random_generator("rng", rng)
    bound = 1 / np.sqrt(hidden_size)

    def initial(name: str, shape: tuple[int, ...]) -> Array:
        if name.startswith("gain_"):
            return np.ones(shape, dtype)
        if name.startswith("bias_c_"):
            return np.zeros(shape, dtype)
        return generator.uniform(-bound, bound, shape).astype(dtype)

    return {name: initial(name, shape) for name, shape in shapes.items()}


def _size(argument: str, value: int, least: int) -> int:
    """Return a size that may be multiplied by another."""
    size = integer(argument, value, least)
    if size > LARGEST:
        raise ValueError(f"{argument}: expected an integer <= 2**28, got {size}")
    return size


def forward(
    cell: str,
    x: Any,
    params: dict[str, Any] | FrozenParams,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    need_grad: bool = True,
    precision: str | None = None,
    num_threads: int | None = None,
    dropout: Dropout | None = None,
    seed: int | None = None,
    training: bool = True,
    device: object = None,
    stream: object = None,
) -> Output:
    """Run a recurrent network over a batch of sequences.

    h_t = cell(U x_t + b_ih, W h_{t-1} + b_hh) for each layer and direction; layers and directions
    follow from the names in `params`. The equations are in docs/equations.md.

    Parameters
    ----------
    cell : str
        "rnn_tanh", "rnn_relu", "gru" or "lstm"; with layer norm "rnn_tanh_ln", "rnn_relu_ln",
        "gru_ln" or "lstm_ln"; "indrnn_tanh" or "indrnn_relu".
    x : ndarray, [T, B, I], or [B, T, I] with `batch_first`
        Input, float32 or float64. Any strides; not kept, so it may be reused afterwards. Or an
        array on a GPU (see Notes), C-contiguous; then every array but `lengths` must be on that
        GPU.
    params : dict of str to ndarray, or FrozenParams
        As from `init_params`, of x's dtype, or from `freeze`, which is for the CPU. ``weight_hy``
        and ``bias_hy`` are ignored.
    h0, c0 : ndarray, [L*D, B, H], optional
        Initial states, zero by default; c0 for the LSTM only.
    lengths : array_like of int, [B], optional
        Steps of each sequence, 0 to T in any order. Past its end a sequence costs nothing: y is
        zero there, and h_n is the state at its end. A reverse direction begins at the end.
    batch_first : bool
        Whether x and y have the batch as their first dimension.
    need_grad : bool
        False keeps no tape: faster, and less memory.
    precision : None, "bfloat16"; on a GPU also "float32", "tf32", "float16"
        "bfloat16", for float32 arrays, rounds what is multiplied to 8 significant bits: x, h and
        the weights here, the weights and the gates' gradients in `backward`. Sums, states,
        activations and the weights' gradients stay float32. Weights take half the memory traffic,
        and CPUs with AVX512-BF16 have an instruction for it, those with AMX a matrix unit, which
        adds up in an order of its own; others give the same products, slower.
        On a GPU None is "float32", full float32 everywhere. "tf32" rounds operands to 11 bits,
        "float16" to 11 in the range of float16 (`backward` then takes "tf32"), "bfloat16" to 8; the
        weights' gradients never take less than "tf32".
    num_threads : int, optional
        Threads for this call; `get_num_threads` by default. The result does not depend on it.
        Without meaning on a GPU.
    dropout : Dropout, optional
        What to drop, and how often; `backward` then uses the same masks.
    seed : int, optional
        0 <= seed < 2**64: the masks follow from it. Needed where something is dropped; give each
        training step another one.
    training : bool
        False in evaluation: nothing is dropped then, and zoneout takes the mean of the state before
        and the new one, for which need_grad must be False.
    device : str or torch.device, optional
        "cuda" or "cuda:1", or an object whose text that is: NumPy arrays are copied there, and
        results back, here and in `backward`. Arrays on a GPU say so themselves.
    stream : int or object, optional
        Of a GPU, the stream to work on: its handle, or an object with ``__cuda_stream__``,
        ``cuda_stream`` or ``ptr``. By default the current one of x's library (PyTorch, CuPy), else
        what x says, else the legacy default stream.

    Returns
    -------
    Output
        y, h_n, c_n and tape. On a GPU arrays of x's library: PyTorch's tensors, CuPy's arrays, else
        `normrnn.device.DeviceArray`.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a shape, a name or a length does not fit, or an array is on another device.
    RuntimeError
        If a GPU is asked for that is not there, or in a build without CUDA; what CUDA reports.
    MemoryError
        If there is too little memory; on a GPU it says how much is needed and free.

    Notes
    -----
    On a GPU a call puts work on its stream and returns; results are there for what comes next on
    that stream. Arguments must stay for as long as the stream takes, which libraries see to on
    their own streams. An array that names another stream than the call's is waited for.

    The tape refers to the weights. `backward` finds out if they have changed, on the CPU; on a GPU
    it does not, so they must not. Of weights that are not C-contiguous it has a copy, and goes by
    that.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("lstm", input_size=3, hidden_size=5)
    >>> out = nr.forward("lstm", np.ones((7, 2, 3), np.float32), params, lengths=[7, 4])
    >>> out.y.shape, out.h_n.shape, bool(out.y[4:, 1].any())
    ((7, 2, 5), (1, 2, 5), False)
    """
    if lengths is not None:
        if on_device(lengths):
            raise TypeError("lengths: expected integers in the memory of the host, got a device's")
        lengths = np.asanyarray(lengths)
        if lengths.size and lengths.dtype.kind not in "iu":
            raise TypeError(f"lengths: expected integers, got dtype {lengths.dtype}")
        if lengths.dtype == np.uint64 and lengths.max(initial=0) >= 2**63:
            raise ValueError(f"lengths: expected integers below 2**63, got {lengths.max()}")
        lengths = lengths.astype(np.int64, copy=False)
    if dropout is not None and not isinstance(dropout, Dropout):
        raise TypeError(f"dropout: expected a Dropout or None, got {type(dropout).__name__}")
    plainly_host = device is None and isinstance(x, np.ndarray)  # the first look of small calls
    if not plainly_host and (not is_host(device) or on_device(x)):
        return on_gpu.forward(
            cell,
            x,
            params,
            (h0, c0),
            lengths,
            device=device,
            stream=stream,
            batch_first=batch_first,
            need_grad=need_grad,
            precision=precision,
            dropout=dropout,
            seed=seed,
            training=training,
        )
    if stream is not None:
        refuse_stream(stream)
    weights = params.handle if isinstance(params, FrozenParams) else params
    y, states, tape = _core.forward(
        cell,
        x,
        weights,
        h0,
        c0,
        lengths,
        batch_first,
        need_grad,
        precision,
        num_threads,
        dropout,
        seed,
        training,
    )
    return Output(y, states[0], states[1] if len(states) > 1 else None, tape)


def backward(
    tape: _core.Tape | _core.DeviceTape,
    dy: Any = None,
    dh_n: Any = None,
    dc_n: Any = None,
    *,
    state_penalty: StatePenalties | None = None,
    clip_state: float | None = None,
    num_threads: int | None = None,
    stream: object = None,
) -> Gradients:
    """Propagate a loss's gradient back through time.

    For truncated back-propagation give the next call of `forward` this one's h_n (and c_n) as h0
    (and c0), and do not propagate across the cut.

    Parameters
    ----------
    tape : Tape
        ``out.tape`` of the forward pass, whose weights must not have changed since. It says where
        the pass was, so that is where the other arrays are.
    dy : ndarray, like y, optional
        dL/dy, zero by default; what stands past a sequence's end is not read.
    dh_n, dc_n : ndarray, [L*D, B, H], optional
        dL/dh_n and dL/dc_n, zero by default.
    state_penalty : StatePenalty, list of them, or mapping, optional
        Penalties on hidden states, as part of the loss: `ActivityL1`, `ActivityL2`, `AR`, `TAR`,
        `NormStabilizer`, `Omega`. One or a list applies to every layer and direction, `AR` and
        `TAR` to the last layer's. A mapping goes from a pattern on "l0", "l0_reverse", "l1", ... to
        one or a list: the first pattern that matches counts.
    clip_state : float, optional
        Every element of the total ∂L/∂h_t, penalties included, is clipped to [-clip_state,
        clip_state] at each step, before it flows on to weights and earlier steps. NaN stays NaN.
    num_threads : int, optional
        Threads for this call; `get_num_threads` by default. The result does not depend on it.
    stream : int or object, optional
        Of a GPU, the stream to work on: by default the current one of x's library (PyTorch, CuPy),
        else the forward pass's. If it is another one than that, the caller sees to their order.

    Returns
    -------
    Gradients
        params, x, h0, c0, the penalties' value, and h_norm = ‖∂L/∂h_t‖ per layer, direction and
        step, before and after `clip_state`. On a GPU the value stays there until `penalty` is first
        looked at, which waits for it.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a shape does not fit, a weight has changed since the forward pass, a pattern matches no
        layer, or a penalty is not for this cell.

    References
    ----------
    Werbos, Backpropagation through time: what it does and how to do it, Proc. IEEE 78(10), 1990.
    Clipping of each step: Graves, Generating sequences with recurrent neural networks,
    arXiv:1308.0850 (there for the gates' inputs).

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("gru", input_size=3, hidden_size=5)
    >>> out = nr.forward("gru", np.ones((7, 2, 3), np.float32), params)
    >>> grads = nr.backward(out.tape, dy=np.ones_like(out.y))
    >>> grads.params["weight_hh_l0"].shape, grads.x.shape, grads.h_norm.shape
    ((15, 5), (7, 2, 3), (1, 7))
    >>> nr.backward(out.tape, state_penalty=[nr.AR(2.0), nr.TAR(1.0)]).penalty > 0
    True
    """
    if clip_state is not None:
        clip_state = positive("clip_state", clip_state)
    terms = None
    if state_penalty is not None and isinstance(tape, _core.Tape | _core.DeviceTape):
        resolved = resolve(state_penalty, tape.cell, tape.runs)  # other tapes the core refuses
        terms = [[(one.kernel, one.scalars()) for one in run] for run in resolved]
    if isinstance(tape, _core.DeviceTape):
        return on_gpu.backward(tape, dy, (dh_n, dc_n), terms, clip_state, stream)
    if stream is not None:
        refuse_stream(stream)
    params, dx, d_initial, h_norm, h_norm_clipped, penalty = _core.backward(
        tape, dy, dh_n, dc_n, terms, clip_state, num_threads
    )
    dc0 = d_initial[1] if len(d_initial) > 1 else None
    return Gradients(params, dx, d_initial[0], dc0, h_norm, h_norm_clipped, penalty)


def head_forward(h: Array, params: Mapping[str, Array], *, num_threads: int | None = None) -> Array:
    """Output head: y = h W_hyᵀ + b_hy, an affine read-out of the states.

    Parameters
    ----------
    h : ndarray, [..., D*H]
        The recurrent network's output.
    params : mapping of str to ndarray
        With ``weight_hy`` [O, D*H] and, unless the head has none, ``bias_hy`` [O].
    num_threads : int, optional
        Threads for this call.

    Returns
    -------
    ndarray, [..., O]
        Predictions or logits.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> head = {"weight_hy": np.array([[1.0, 2.0]]), "bias_hy": np.array([0.5])}
    >>> nr.head_forward(np.array([[3.0, 4.0]]), head)
    array([[11.5]])
    """
    weight = _head_weight(params)
    return _core.head_forward(h, weight, params.get("bias_hy"), num_threads)


def head_backward(
    h: Array, dy: Array, params: Mapping[str, Array], *, num_threads: int | None = None
) -> tuple[Array, dict[str, Array]]:
    """Gradients of the output head.

    Parameters
    ----------
    h : ndarray, [..., D*H]
        What `head_forward` was given.
    dy : ndarray, [..., O]
        dL/dy.
    params : mapping of str to ndarray
        The head's parameters.
    num_threads : int, optional
        Threads for this call.

    Returns
    -------
    dh : ndarray, [..., D*H]
        dL/dh = dy W_hy, the dy of `backward`.
    grads : dict of str to ndarray
        ``weight_hy`` = Σ dyᵀ h and, if the head has it, ``bias_hy`` = Σ dy.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> head = {"weight_hy": np.array([[1.0, 2.0]]), "bias_hy": np.array([0.5])}
    >>> nr.head_backward(np.array([[3.0, 4.0]]), np.array([[10.0]]), head)
    (array([[10., 20.]]), {'weight_hy': array([[30., 40.]]), 'bias_hy': array([10.])})
    """
    weight = _head_weight(params)
    dh, d_weight, d_bias = _core.head_backward(h, weight, params.get("bias_hy"), dy, num_threads)
    grads = {"weight_hy": d_weight}
    if d_bias is not None:
        grads["bias_hy"] = d_bias
    return dh, grads


def _head_weight(params: Mapping[str, Array]) -> Array:
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    if "weight_hy" not in params:
        raise ValueError(f"params: expected a parameter named 'weight_hy', got {sorted(params)}")
    return params["weight_hy"]
