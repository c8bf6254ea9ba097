"""Layer norm and IndRNN cells: PyTorch loops as an oracle, parameters, memory and refusals."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import normrnn as nr
from helpers import derivative, derivative_on_one_side
from normrnn import _core, reference
from normrnn.penalties import resolve
from normrnn.reference import CELLS
from normrnn.reference.layer_norm import normalise, normalise_backward
from runs import assert_close, in_float64, outcome
from strategies import Problem, ProblemArrays, by_units, everything, problems

torch.set_num_threads(1)

LAYER_NORM = ["rnn_tanh_ln", "rnn_relu_ln", "gru_ln", "lstm_ln"]
INDRNN = ["indrnn_tanh", "indrnn_relu"]
PLAIN = {name: name.removesuffix("_ln") for name in LAYER_NORM}

Tensors = dict[str, torch.Tensor]


def torch_step(cell: str, x: torch.Tensor, state: list[torch.Tensor], w: Tensors) -> list:
    """One step of one layer and direction, written with torch.nn.functional.layer_norm."""
    h, zero = state[0], torch.zeros((), dtype=x.dtype)
    b_ih, b_hh = w.get("bias_ih", zero), w.get("bias_hh", zero)
    phi = torch.relu if "relu" in cell else torch.tanh
    if cell in INDRNN:
        return [phi(x @ w["weight_ih"].T + b_ih + w["weight_hh"] * h + b_hh)]

    def norm(a: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(a, a.shape[-1:], gain, eps=1e-5)

    pre = norm(x @ w["weight_ih"].T, w["gain_ih"]) + b_ih
    rec = norm(h @ w["weight_hh"].T, w["gain_hh"]) + b_hh
    if cell == "gru_ln":
        (pre_r, pre_z, pre_n), (rec_r, rec_z, rec_n) = pre.chunk(3, 1), rec.chunk(3, 1)
        r, z = torch.sigmoid(pre_r + rec_r), torch.sigmoid(pre_z + rec_z)
        return [(1 - z) * torch.tanh(pre_n + r * rec_n) + z * h]
    if cell == "lstm_ln":
        i, f, g, o = (pre + rec).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        z = norm(c, w["gain_c"]) + w.get("bias_c", zero)
        return [torch.sigmoid(o) * torch.tanh(z), c]
    return [phi(pre + rec)]


def torch_outcome(problem: Problem, arrays: ProblemArrays) -> dict[str, np.ndarray]:
    """What runs.outcome returns, but for h_norm, from loops over torch_step and autograd."""

    def leaf(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, requires_grad=True)

    params = {name: leaf(w) for name, w in arrays.params.items()}
    x, zero = leaf(arrays.x), np.zeros_like(arrays.dh_n)
    initial = [leaf(zero if a is None else a) for a in (arrays.h0, arrays.c0)]
    initial = initial[: CELLS[problem.cell].states]
    steps = torch.arange(problem.times)[:, None]
    lengths = problem.lengths or [problem.times] * problem.batch
    active = (steps < torch.tensor(lengths, dtype=torch.int64))[:, :, None]
    y, last = x.transpose(0, 1) if problem.batch_first else x, []
    for layer in range(problem.layers):
        outputs = []
        for d in range(problem.directions):
            suffix = f"_l{layer}" + "_reverse" * d
            w = {n.removesuffix(suffix): p for n, p in params.items() if n.endswith(suffix)}
            state = [s[layer * problem.directions + d] for s in initial]
            hs = [torch.zeros(0)] * problem.times
            for t in range(problem.times)[:: 1 - 2 * d]:
                after = torch_step(problem.cell, y[t], state, w)
                state = [torch.where(active[t], *pair) for pair in zip(after, state, strict=True)]
                hs[t] = torch.where(active[t], state[0], 0)
            outputs.append(torch.stack(hs))
            last.append(state)
        y = torch.cat(outputs, 2)
    named = {"y": y.transpose(0, 1) if problem.batch_first else y}
    for name, states in zip(("h_n", "c_n"), zip(*last, strict=True), strict=False):
        named[name] = torch.stack(states)
    sent = {"y": arrays.dy, "h_n": arrays.dh_n, "c_n": arrays.dc_n}
    sum((a * torch.tensor(sent[name])).sum() for name, a in named.items()).backward()
    named |= {"dx": x.grad} | dict(zip(("dh0", "dc0"), (s.grad for s in initial), strict=False))
    named |= {f"d {name}": p.grad for name, p in params.items()}
    return {name: tensor.detach().numpy() for name, tensor in named.items()}


@settings(max_examples=100)
@given(
    problem=problems(
        cells=LAYER_NORM + INDRNN,
        hidden=(1, 3, 9, 16, 33),
        min_times=1,
        min_batch=1,
        max_times=4,
        max_layers=2,
    )
)
def test_agrees_with_a_loop_in_pytorch(problem: Problem) -> None:
    arrays = problem.arrays()
    expected = torch_outcome(problem, in_float64(arrays))
    for implementation, dtype in ((nr, problem.dtype), (reference, "float64")):
        own = arrays if implementation is nr else in_float64(arrays)
        actual = outcome(implementation, problem, own)
        del actual["h_norm"]
        assert_close(actual, expected, dtype, problem.amplification)


def test_normalisation_and_its_derivatives() -> None:
    rng = np.random.default_rng(0)
    a, dy = rng.standard_normal((2, 3, 7))
    gain, bias = rng.standard_normal((2, 7))
    y, kept = normalise(a, gain, bias)
    torch_y = torch.nn.functional.layer_norm(
        torch.tensor(a), (7,), torch.tensor(gain), torch.tensor(bias)
    )
    np.testing.assert_allclose(y, torch_y.numpy(), rtol=1e-12)
    da, d_gain, d_bias = normalise_backward(dy, gain, kept)
    for point, gradient, f in [
        (a, da, lambda p: normalise(p, gain, bias)),
        (gain, d_gain, lambda p: normalise(a, p, bias)),
        (bias, d_bias, lambda p: normalise(a, gain, p)),
    ]:
        direction = rng.standard_normal(point.shape)
        slope = derivative(lambda s, p=point, d=direction, f=f: np.sum(dy * f(p + s * d)[0]))
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-9)


@pytest.mark.parametrize("cell", LAYER_NORM)
def test_the_scale_of_the_weights_does_not_matter(cell: str) -> None:
    """As long as the variance is far above epsilon; which a plain cell would not survive."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 3, 20))
    params = nr.init_params(cell, 20, 30, dtype="float64")
    h0 = rng.standard_normal((1, 3, 30))
    large, larger = (
        nr.forward(cell, x, {n: w * scale if "weight" in n else w for n, w in params.items()}, h0).y
        for scale in (1e3, 1e6)
    )
    np.testing.assert_allclose(large, larger, atol=1e-8)  # epsilon over the variance, 1e-10


@pytest.mark.parametrize("cell", LAYER_NORM)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_without_variance(cell: str, dtype: str) -> None:
    """All of x U^T is 0, or the same number: normalised it is 0, and nothing flows back."""
    params = nr.init_params(cell, 2, 24, dtype=dtype)
    params["weight_ih_l0"][...] = params["weight_ih_l0"][0]
    x = np.random.default_rng(2).standard_normal((5, 3, 2)).astype(dtype)
    x[0] = 0
    out, grads = nr.forward(cell, x, params), None
    expected = reference.forward(cell, x, params)
    # Rounding of the mean, times 316.
    np.testing.assert_allclose(out.y, expected.y, atol=1e-4 if dtype == "float32" else 1e-12)
    grads = nr.backward(out.tape, np.ones_like(out.y))
    assert all(np.isfinite(g).all() for g in grads.params.values())


def test_moments_neither_overflow_nor_cancel() -> None:
    """Numbers whose squares are beyond float32, and numbers with a mean far above their spread."""
    rng = np.random.default_rng(3)
    u = rng.standard_normal((40, 1))
    for weights, tolerance in ((1e25 * u, 1e-5), (1e3 + u, 1e-3)):  # 1e3 is known to 6e-5
        params = nr.init_params("rnn_tanh_ln", 1, 40)
        params["weight_ih_l0"] = weights.astype(np.float32)
        x = np.ones((1, 1, 1), np.float32)
        y = nr.forward("rnn_tanh_ln", x, params).y
        wide = {name: w.astype(np.float64) for name, w in params.items()}
        expected = reference.forward("rnn_tanh_ln", x.astype(np.float64), wide).y
        np.testing.assert_allclose(y, expected, atol=tolerance)


DROPOUTS = [
    nr.Dropout(input=0.3, output=0.3, between=0.3),
    nr.Dropout(state=0.4),
    nr.Dropout(weight=0.4),
    nr.Dropout(zoneout_h=0.3),
]


@pytest.mark.parametrize("cell", LAYER_NORM + INDRNN)
def test_gradients_with_dropout_are_derivatives(cell: str) -> None:
    """The seed fixes the masks, so the loss is a function of the parameters as without."""
    rng = np.random.default_rng(5)
    params = nr.init_params(cell, 3, 9, num_layers=2, bidirectional=True, dtype="float64")
    x, dy = rng.standard_normal((6, 4, 3)), rng.standard_normal((6, 4, 18))
    h0 = rng.standard_normal((4, 4, 9))
    dropouts = list(DROPOUTS)
    if cell in ("gru_ln", "lstm_ln"):
        dropouts.append(nr.Dropout(candidate=0.4))
    if cell == "lstm_ln":
        dropouts.append(nr.Dropout(candidate=0.2, zoneout_h=0.2, zoneout_c=0.3))

    def forward(dropout: nr.Dropout, at: dict[str, np.ndarray]) -> nr.results.Output:
        return nr.forward(cell, x, at, h0, lengths=[6, 2, 5, 4], dropout=dropout, seed=3)

    for dropout in dropouts:
        grads = nr.backward(forward(dropout, params).tape, dy).params
        assert np.abs(forward(dropout, params).y - forward(nr.Dropout(), params).y).max() > 1e-3
        for name, w in params.items():
            d = rng.standard_normal(w.shape)

            def loss(
                s: float, dropout: nr.Dropout = dropout, name: str = name, d: np.ndarray = d
            ) -> tuple[float, np.ndarray]:
                y = forward(dropout, params | {name: params[name] + s * d}).y
                return float(np.sum(dy * y)), (y > 0 if "relu" in cell else np.zeros(0))

            slope = derivative_on_one_side(loss, bends=True)
            assert slope is not None
            np.testing.assert_allclose(
                np.sum(grads[name] * d), slope, rtol=1e-6, atol=1e-7, err_msg=f"{dropout} {name}"
            )


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("bias", [False, True])
def test_core_and_reference_have_the_same_parameters(cell: str, bias: bool) -> None:
    expected = CELLS[cell].parameter_shapes(3, 5, bias)
    assert _core.parameter_shapes(cell, 3, 5, bias) == expected
    params = nr.init_params(cell, 3, 5, bias=bias)
    assert {n.removesuffix("_l0"): w.shape for n, w in params.items()} == expected


def test_initial_values() -> None:
    params = nr.init_params("lstm_ln", 3, 5, num_layers=2, bidirectional=True)
    assert params["gain_ih_l1_reverse"].shape == params["gain_hh_l0"].shape == (20,)
    assert params["gain_c_l0"].shape == params["bias_c_l1"].shape == (5,)
    for name, w in params.items():
        assert (w == 1).all() == name.startswith("gain"), name
        assert (w == 0).all() == name.startswith("bias_c"), name
    assert nr.init_params("indrnn_tanh", 3, 5)["weight_hh_l0"].shape == (5,)
    without = nr.init_params("lstm_ln", 3, 5, bias=False)
    assert list(without) == [
        f"{kind}_l0" for kind in ("weight_ih", "weight_hh", "gain_ih", "gain_hh", "gain_c")
    ]


def test_penalties_leave_gains_and_biases_alone() -> None:
    params = nr.init_params("lstm_ln", 3, 5)
    l2 = nr.L2(0.1)

    def penalised(penalty: object) -> set[str]:
        return {piece.name for piece in resolve(penalty, params) if piece.terms}

    assert penalised(l2) == penalised({"*": l2}) == {"weight_ih_l0", "weight_hh_l0"}
    assert penalised({"gain_*": l2}) == {"gain_ih_l0", "gain_hh_l0", "gain_c_l0"}
    zeros = {name: np.zeros_like(w) for name, w in params.items()}
    info = nr.update(params, zeros, rule=nr.SGD(0.1), penalty=l2)
    assert (params["gain_hh_l0"] == 1).all()
    assert info.penalty > 0


@pytest.mark.parametrize("cell", LAYER_NORM)
def test_a_changed_gain_is_noticed(cell: str) -> None:
    params = nr.init_params(cell, 3, 5)
    for name in [n for n in params if n.startswith(("gain", "bias_c"))]:
        out = nr.forward(cell, np.ones((2, 1, 3), np.float32), params)
        params[name][-1] += 1
        with pytest.raises(ValueError, match="expected the weights of its forward pass"):
            nr.backward(out.tape, out.y)


@pytest.mark.parametrize(
    ("cell", "name", "array", "message"),
    [
        ("gru_ln", "gain_ih_l0", None, "params: expected a parameter named 'gain_ih_l0', got none"),
        ("lstm_ln", "bias_c_l0", None, "params: expected a parameter named 'bias_c_l0', got none"),
        ("gru_ln", "gain_hh_l0", np.ones(5), "gain_hh_l0: expected shape (15,), got (5,)"),
        ("lstm_ln", "gain_c_l0", np.ones(20), "gain_c_l0: expected shape (5,), got (20,)"),
        (
            "indrnn_relu",
            "weight_hh_l0",
            np.ones((5, 5)),
            "weight_hh_l0: expected shape (5,), got (5, 5)",
        ),
        ("indrnn_relu", "weight_hh_l0", np.ones(4), "weight_hh_l0: expected shape (5,), got (4,)"),
        ("gru", "gain_ih_l0", np.ones(15), "params: expected only names of this network's"),
        ("gru_ln", "gain_c_l0", np.ones(5), "params: expected only names of this network's"),
    ],
)
def test_refuses(cell: str, name: str, array: np.ndarray | None, message: str) -> None:
    params = nr.init_params(cell, 3, 5, dtype="float64")
    params.pop(name, None)
    if array is not None:
        params[name] = array
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        nr.forward(cell, np.ones((2, 1, 3)), params)


@pytest.mark.parametrize("cell", LAYER_NORM)
def test_tape_takes_what_the_equations_need(cell: str) -> None:
    """Beside the plain cell's: both products, and for the LSTM c' once more, and tanh z."""
    gates, states = _core.cells()[cell]
    sizes = []
    for name in (PLAIN[cell], cell):
        params = nr.init_params(name, 64, 256)
        sizes.append(nr.forward(name, np.zeros((100, 8, 64), np.float32), params).tape.nbytes)
    more = 4 * 100 * 8 * 256 * (2 * gates + (2 if states == 2 else 0))
    assert more < sizes[1] - sizes[0] < 1.15 * more  # rows are padded


@pytest.mark.parametrize("cell", LAYER_NORM + INDRNN)
@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("need_grad", [False, True])
def test_long_sequences_in_chunks(cell: str, batch: int, need_grad: bool) -> None:
    """More steps than are made ahead in one go, ragged, on any number of threads."""
    rng = np.random.default_rng(4)
    params = nr.init_params(cell, 9, 40, num_layers=2, bidirectional=True)
    x = rng.standard_normal((300, batch, 9)).astype(np.float32)
    lengths = rng.integers(0, 301, batch)
    lengths[0] = 300
    runs = [
        nr.forward(cell, x, params, lengths=lengths, need_grad=need_grad, num_threads=threads)
        for threads in (1, 2, 3, 7)
    ]
    for other in runs[1:]:
        assert other.y.tobytes() == runs[0].y.tobytes()
        assert other.h_n.tobytes() == runs[0].h_n.tobytes()

    single = nr.init_params(cell, 9, 40)
    whole = nr.forward(cell, x, single, lengths=lengths, need_grad=need_grad).y
    start = nr.forward(cell, x[:20], single, lengths=np.minimum(lengths, 20)).y
    assert whole[:20].tobytes() == start.tobytes()


@pytest.mark.parametrize("cell", LAYER_NORM)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [(6,), (6, 6), (6, 6, 6), (2, 6, 0)])
def test_few_sequences_share_out_the_units(
    lengths: tuple[int, ...], bidirectional: bool, dtype: str, cell: str
) -> None:
    """Workers wait for whole rows of each other's units, and the bits are those of one worker."""
    precision = "bfloat16" if dtype == "bfloat16" else None
    problem = replace(
        by_units(cell),
        batch=len(lengths),
        lengths=lengths if len(set(lengths)) > 1 else None,
        bidirectional=bidirectional,
        dtype="float32" if precision else dtype,
    )
    arrays = problem.arrays()
    penalties = [nr.ActivityL1(0.1), nr.ActivityL2(0.1), nr.AR(1), nr.TAR(1), nr.NormStabilizer(1)]
    dropped: tuple[dict[str, Any], dict[str, Any]] = (
        everything(cell, 0.2),
        {"state_penalty": penalties, "clip_state": 0.5},
    )
    for forward, backward in (({}, {}), dropped):
        passes = forward | {"precision": precision}, backward
        expected = outcome(nr, problem, arrays, *passes, num_threads=1)
        for threads in (2, 3, 7):
            actual = outcome(nr, problem, arrays, *passes, num_threads=threads)
            for name, array in expected.items():
                assert actual[name].tobytes() == array.tobytes(), f"{name}, {threads} threads"
            y = nr.forward(
                *(cell, arrays.x, arrays.params, arrays.h0, arrays.c0),
                **(problem.options | passes[0]),
                need_grad=False,
                num_threads=threads,
            ).y
            assert y.tobytes() == expected["y"].tobytes(), f"without a tape, {threads} threads"
