"""PyTorch as an outside oracle: passes, head, losses and whole training runs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from normrnn import reference
from normrnn.device.places import index_in
from runs import TOLERANCE, assert_close, in_float64, outcome
from strategies import Problem, ProblemArrays, problems

torch.set_num_threads(1)

MODULES = {
    "rnn_tanh": torch.nn.RNN,
    "rnn_relu": lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k),
    "gru": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
}


def make_module(problem: Problem, params: dict[str, np.ndarray]) -> torch.nn.RNNBase:
    dtype = next(iter(params.values())).dtype
    module = MODULES[problem.cell](
        problem.inputs,
        problem.hidden,
        problem.layers,
        bias=problem.bias,
        batch_first=problem.batch_first,
        bidirectional=problem.bidirectional,
        dtype=getattr(torch, str(dtype)),
    )
    # Strict: the names and the layouts are PyTorch's.
    module.load_state_dict({name: torch.tensor(w) for name, w in params.items()}, strict=True)
    return module


def test_a_device_of_torch_is_a_device() -> None:
    params, x = nr.init_params("gru", 3, 5), np.ones((4, 2, 3), np.float32)
    out = nr.forward("gru", x, params, device=torch.device("cpu"))
    np.testing.assert_array_equal(out.y, nr.forward("gru", x, params).y)
    assert index_in("device", torch.device("cuda", 1)) == 1


def torch_outcome(problem: Problem, arrays: ProblemArrays) -> dict[str, np.ndarray]:
    """What runs.outcome returns, but for h_norm, from torch.nn and its autograd."""
    module = make_module(problem, arrays.params)
    x = torch.tensor(arrays.x, requires_grad=True)
    zero = np.zeros_like(arrays.dh_n)
    h0, c0 = (
        torch.tensor(zero if a is None else a, requires_grad=True) for a in (arrays.h0, arrays.c0)
    )
    given_x = x
    if problem.lengths is not None:
        given_x = torch.nn.utils.rnn.pack_padded_sequence(
            x, list(problem.lengths), batch_first=problem.batch_first, enforce_sorted=False
        )
    y, last = module(given_x, (h0, c0) if problem.has_c else h0)
    if problem.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(
            y, batch_first=problem.batch_first, total_length=problem.times
        )
    named = {"y": y, "h_n": last[0], "c_n": last[1]} if problem.has_c else {"y": y, "h_n": last}
    sent = {"y": arrays.dy, "h_n": arrays.dh_n, "c_n": arrays.dc_n}
    sum((a * torch.tensor(sent[name])).sum() for name, a in named.items()).backward()
    named |= {"dx": x.grad, "dh0": h0.grad} | ({"dc0": c0.grad} if problem.has_c else {})
    named |= {f"d {name}": p.grad for name, p in module.named_parameters()}
    return {name: tensor.detach().numpy() for name, tensor in named.items()}


# PyTorch takes no empty sequences and no empty batches. It runs in float64 for both dtypes, so
# that a difference is normrnn's.
ACCEPTED = problems(cells=sorted(MODULES), min_times=1, min_batch=1, min_length=1)


@settings(max_examples=500)
@given(problem=ACCEPTED)
def test_forward_and_backward(problem: Problem) -> None:
    arrays = problem.arrays()
    actual = outcome(nr, problem, arrays)
    del actual["h_norm"]
    assert_close(actual, torch_outcome(problem, in_float64(arrays)), problem.dtype)


@settings(max_examples=100)
@given(problem=ACCEPTED)
def test_forward_and_backward_of_the_reference(problem: Problem) -> None:
    arrays = in_float64(problem.arrays())
    actual = outcome(reference, problem, arrays)
    del actual["h_norm"]
    assert_close(actual, torch_outcome(problem, arrays), "float64")


@given(
    shape=st.lists(st.integers(0, 9), max_size=3),
    inputs=st.integers(1, 70),
    outputs=st.integers(0, 40),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_head(
    shape: list[int], inputs: int, outputs: int, bias: bool, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def draw(*dims: int) -> np.ndarray:
        return rng.standard_normal(dims).astype(dtype)

    params = {"weight_hy": draw(outputs, inputs)} | ({"bias_hy": draw(outputs)} if bias else {})
    h, dy = draw(*shape, inputs), draw(*shape, outputs)

    h64, *wb = (
        torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (h, *params.values())
    )
    y64 = torch.nn.functional.linear(h64, *wb)
    y64.backward(torch.tensor(dy, dtype=torch.float64))
    y = nr.head_forward(h, params)
    dh, grads = nr.head_backward(h, dy, params)
    expected = {"y": y64.detach(), "dh": h64.grad} | dict(
        zip(params, (w.grad for w in wb), strict=True)
    )
    expected = {name: tensor.numpy() for name, tensor in expected.items()}
    assert_close({"y": y, "dh": dh} | grads, expected, dtype)
    assert [a.shape for a in (y, dh)] == [dy.shape, h.shape]


FUNCTIONS = {
    "squared_error": torch.nn.functional.mse_loss,
    "sigmoid_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
}


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=2),
    columns=st.integers(1, 40),
    reduction=st.sampled_from(["sum", "mean", "batch_mean"]),
    masked=st.booleans(),
    batch_first=st.booleans(),
    scale=st.sampled_from([1.0, 30.0, 1000.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_losses(
    name: str,
    shape: list[int],
    columns: int,
    reduction: str,
    masked: bool,
    batch_first: bool,
    scale: float,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    y = (scale * rng.standard_normal((*shape, columns))).astype(dtype)
    softmax = name == "softmax_cross_entropy"
    target = (
        rng.integers(columns, size=shape) if softmax else rng.uniform(size=y.shape).astype(dtype)
    )
    mask = rng.uniform(size=shape) < (0.6 if masked else 2)
    options = {"reduction": reduction, "mask": mask if masked else None}
    loss, dy = getattr(nr, name)(y, target, **options, batch_first=batch_first)

    y64 = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    target64 = torch.tensor(target, dtype=torch.int64 if softmax else torch.float64)
    counted = torch.tensor(mask)
    total = FUNCTIONS[name](y64[counted], target64[counted], reduction="sum")
    elements = mask.sum() * (1 if softmax else columns)
    batch = shape[1] if len(shape) == 2 and not batch_first else shape[0]
    # Where nothing is counted PyTorch's mean is NaN; the sum over nothing is 0 here.
    count = max(1, {"sum": 1, "mean": elements, "batch_mean": batch}[reduction])
    (total / count).backward()
    assert type(loss) is float
    # The value of an element is off by a few units in the last place, and a sum of them no more.
    np.testing.assert_allclose(loss, total.item() / count, rtol=TOLERANCE[dtype], atol=1e-300)
    assert_close({"dy": dy}, {"dy": y64.grad.numpy()}, dtype)


LR, STRENGTH = 0.02, 0.01
# Adam divides by the root of v: where a gradient is as small as its rounding error, the step is
# noise of size lr. In float32 a larger eps keeps such elements still, in both.
EPS = {"float32": 1e-3, "float64": 1e-8}
OPTIMIZERS = {
    "SGD": (lambda eps: nr.SGD(LR), lambda eps: (torch.optim.SGD, {})),
    "momentum": (lambda eps: nr.Momentum(LR), lambda eps: (torch.optim.SGD, {"momentum": 0.9})),
    "nesterov": (
        lambda eps: nr.Momentum(LR, nesterov=True),
        lambda eps: (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ),
    "Adam": (lambda eps: nr.Adam(LR, eps=eps), lambda eps: (torch.optim.Adam, {"eps": eps})),
    "AdamW": (lambda eps: nr.AdamW(LR, eps=eps), lambda eps: (torch.optim.AdamW, {"eps": eps})),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("cell", sorted(MODULES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps_of_training(name: str, cell: str, dtype: str) -> None:
    """Forward, head, loss, backward and update; weight_decay = 2 * strength, biases exempt."""
    problem = Problem(cell, 6, 4, 3, 9, 2, True, True, False, None, False, dtype, seed=0)
    arrays = problem.arrays()
    params = nr.init_params(
        cell, 3, 9, num_layers=2, bidirectional=True, output_size=2, dtype=dtype
    )
    rng = np.random.default_rng(1)
    target = rng.standard_normal((problem.times, problem.batch, 2)).astype(dtype)
    heads = {"weight_hy", "bias_hy"}
    module = make_module(problem, {n: w for n, w in params.items() if n not in heads})
    tensors = dict(module.named_parameters())
    tensors |= {n: torch.nn.Parameter(torch.tensor(params[n])) for n in heads}
    make_rule, make_optimizer = OPTIMIZERS[name]
    optimizer, options = make_optimizer(EPS[dtype])
    decayed = [t for n, t in tensors.items() if "bias" not in n]
    biases = [t for n, t in tensors.items() if "bias" in n]
    groups = [{"params": decayed, "weight_decay": 2 * STRENGTH}, {"params": biases}]
    optimizer = optimizer(groups, lr=LR, weight_decay=0.0, **options)

    rule, penalty = make_rule(EPS[dtype]), nr.L2(STRENGTH)
    state = nr.init_state(rule, params)
    for _ in range(10):
        out = nr.forward(cell, arrays.x, params)
        loss, dy = nr.squared_error(nr.head_forward(out.y, params), target, reduction="mean")
        dh, head_grads = nr.head_backward(out.y, dy, params)
        grads = nr.backward(out.tape, dh)
        nr.update(params, grads.params | head_grads, state, rule=rule, penalty=penalty)

        optimizer.zero_grad()
        y, _ = module(torch.tensor(arrays.x))
        y = torch.nn.functional.linear(y, tensors["weight_hy"], tensors["bias_hy"])
        torch_loss = torch.nn.functional.mse_loss(y, torch.tensor(target))
        torch_loss.backward()
        optimizer.step()
        # Each side adds its own rounding at each step, and the next steps carry it on.
        np.testing.assert_allclose(loss, torch_loss.item(), rtol=10 * TOLERANCE[dtype])
        for n, t in tensors.items():
            np.testing.assert_allclose(
                params[n], t.detach().numpy(), rtol=0, atol=10 * TOLERANCE[dtype], err_msg=n
            )
