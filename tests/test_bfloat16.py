"""Operands in bfloat16: against the reference, exactly where that can be, and target by target."""

from pathlib import Path

import numpy as np
import pytest
import torch

import normrnn as nr
from normrnn import reference
from runs import run_python

CELLS = list(nr._core.cells())
USABLE = nr._core.config()["targets_usable"]


def network(cell: str, inputs: int, hidden: int) -> dict[str, np.ndarray]:
    return nr.init_params(cell, inputs, hidden, num_layers=2, bidirectional=True, rng=3)


def spread(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b))


@pytest.mark.parametrize(("inputs", "hidden"), [(3, 17), (8, 32), (1, 1), (5, 40)])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_reference(cell: str, inputs: int, hidden: int) -> None:
    rng = np.random.default_rng(4)
    params, lengths = network(cell, inputs, hidden), [6, 1, 0, 4, 6]
    x = rng.standard_normal((6, 5, inputs)).astype(np.float32)
    dy = rng.standard_normal((6, 5, 2 * hidden)).astype(np.float32)
    plain = nr.forward(cell, x, params, lengths=lengths)
    rounded = nr.forward(cell, x, params, lengths=lengths, precision="bfloat16")
    expected = reference.forward(cell, x, params, lengths=lengths, precision="bfloat16")
    no_tape = nr.forward(cell, x, params, lengths=lengths, precision="bfloat16", need_grad=False)
    np.testing.assert_array_equal(no_tape.y, rounded.y)
    # A last bit of h can decide how h is rounded, so agreement is not to the last bit; but it is
    # far closer than the rounding itself.
    if hidden > 1 or not reference.CELLS[cell].layer_norm:  # one number, normalised, is 0
        assert spread(rounded.y, plain.y) > 0
    assert spread(rounded.y, expected.y) <= 0.3 * spread(rounded.y, plain.y)
    np.testing.assert_allclose(rounded.y, expected.y, atol=4e-3)
    got = nr.backward(rounded.tape, dy)
    wanted, exact = reference.backward(expected.tape, dy), nr.backward(plain.tape, dy)
    assert spread(got.x, wanted.x) <= 0.3 * spread(got.x, exact.x)
    for name, gradient in wanted.params.items():
        # What depends on no product differs by the order of its sum alone: a few float32 ulp of 10.
        bound = 0.5 * spread(got.params[name], exact.params[name]) + 4e-6
        assert spread(got.params[name], gradient) <= bound, name


def test_products_are_exact() -> None:
    rng = np.random.default_rng(5)
    x, u = (rng.integers(-127, 128, shape).astype(np.float32) for shape in ((1, 9, 37), (21, 37)))
    params = {"weight_ih_l0": u, "weight_hh_l0": np.zeros((21, 21), np.float32)}
    y = nr.forward("rnn_relu", x, params, precision="bfloat16").y
    np.testing.assert_array_equal(y[0], np.maximum(x[0] @ u.T, 0))  # integers below 2^24


def test_rounds_to_nearest_even() -> None:
    one = np.ones((1, 1), np.float32)
    params = {"weight_ih_l0": one, "weight_hh_l0": one}
    x = [1.00390625, 1.01171875, 1.004, 3e38, 1e-39, np.inf, np.nan]
    y = nr.forward(
        "rnn_relu", np.array(x, np.float32).reshape(1, -1, 1), params, precision="bfloat16"
    ).y
    expected = reference.precision.bfloat16(np.array(x, np.float32))
    np.testing.assert_array_equal(y.ravel(), expected)
    assert expected[:3].tolist() == [1.0, 1.015625, 1.0078125]


@pytest.mark.parametrize("hidden", [1, 3, 16])
def test_padding_is_not_read(hidden: int) -> None:
    params = {
        "weight_ih_l0": np.ones((hidden, 1), np.float32),
        "weight_hh_l0": np.eye(hidden, dtype=np.float32),
    }
    x = np.array([np.inf, 0, 3.4e38, -1], np.float32).reshape(4, 1, 1)
    y = nr.forward("rnn_tanh", x, params, precision="bfloat16").y
    expected = reference.forward("rnn_tanh", x, params, precision="bfloat16").y
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 5, 40])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_for_any_number_of_threads(cell: str, batch: int) -> None:
    params = nr.init_params(cell, 20, 70, rng=6)
    x = np.random.default_rng(7).standard_normal((30, batch, 20)).astype(np.float32)
    runs = []
    for threads in (1, 2, 3):
        out = nr.forward(cell, x, params, precision="bfloat16", num_threads=threads)
        grads = nr.backward(out.tape, out.y, num_threads=threads)
        runs.append([out.y, grads.x, *grads.params.values()])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


BITS = """
import hashlib, numpy as np, normrnn as nr
params = nr.init_params("rnn_relu", 33, 65, rng=8)
x = np.random.default_rng(9).standard_normal((12, 7, 33)).astype(np.float32)
out = nr.forward("rnn_relu", x, params, precision="bfloat16")
grads = nr.backward(out.tape, out.y)
print(hashlib.sha256(out.y.tobytes() + grads.x.tobytes()).hexdigest())
"""


def test_emulated_bit_for_bit() -> None:
    own = ("baseline", "amx")  # has no FMA; has sums of its own
    targets = [t for t in USABLE if t not in own]
    print(f"targets compared: {targets}")
    if targets:
        assert len({run_python("-c", BITS, NORMRNN_TARGET=target) for target in targets}) == 1


PRODUCT = """
import sys, numpy as np, normrnn as nr
given = np.load(sys.argv[1])
params = {"weight_ih_l0": given["u"], "weight_hh_l0": np.zeros((len(given["u"]),) * 2, np.float32)}
y = nr.forward("rnn_relu", given["x"][None], params, precision="bfloat16").y[0]
np.save(sys.argv[2], y)
"""


@pytest.mark.skipif("amx" not in USABLE, reason="this CPU has no AMX")
@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 1, 1), (37, 70, 21), (80, 3200, 40)])
def test_sums_of_the_matrix_unit(rows: int, inputs: int, units: int, tmp_path: Path) -> None:
    """Products of even and of odd places apart, 32 at a time, as docs/equations.md has it."""
    rng = np.random.default_rng(10)
    x = rng.standard_normal((rows, inputs), dtype=np.float32)
    u = rng.standard_normal((units, inputs), dtype=np.float32)
    np.savez(tmp_path / "given.npz", x=x, u=u)
    files = str(tmp_path / "given.npz"), str(tmp_path / "y.npy")
    run_python("-c", PRODUCT, *files, NORMRNN_TARGET="amx")
    rounded = reference.precision.bfloat16
    products = rounded(x)[:, None] * rounded(u)  # exact
    total = np.zeros((rows, units), np.float32)
    for begin in range(0, inputs, 32):
        block = products[..., begin : begin + 32]
        even, odd = (np.add.accumulate(block[..., i::2], axis=-1)[..., -1:] for i in (0, 1))
        total += even.sum(-1) + odd.sum(-1)  # of one number, or of none
    np.testing.assert_array_equal(np.load(files[1]), np.maximum(total, 0))


@pytest.mark.parametrize("batch", [1, 31, 300])
def test_weight_gradients_take_more_than_bfloat16(batch: int) -> None:
    """All of float32, or on a matrix unit 16 bits."""
    inputs, hidden = 37, 290
    rng = np.random.default_rng(11)
    params = nr.init_params("rnn_relu", inputs, hidden, rng=12)
    x, h0, dy = (
        rng.standard_normal((1, batch, width), dtype=np.float32)
        for width in (inputs, hidden, hidden)
    )
    out = nr.forward("rnn_relu", x, params, h0=h0, precision="bfloat16")
    grads = nr.backward(out.tape, dy)
    d_pre = (dy * (out.y > 0))[0].astype(np.float64)
    bits = 16 if nr._core.config()["target"] == "amx" else 22
    for name, operand in (("weight_ih_l0", x[0]), ("weight_hh_l0", h0[0])):
        bound = 2.0 ** (1 - bits) * (np.abs(d_pre).T @ np.abs(operand)) + 1e-30
        error = np.abs(grads.params[name] - d_pre.T @ operand.astype(np.float64))
        assert np.all(error <= bound), f"{name}: {np.max(error / bound)} of the bound"


def test_beside_pytorch_on_the_same_thread() -> None:
    """Both set a matrix unit's registers up, and neither may rely on what it left there."""
    params = nr.init_params("gru", 40, 70, rng=13)
    x = np.random.default_rng(14).standard_normal((3, 20, 40), dtype=np.float32)
    matrix = torch.arange(64 * 64, dtype=torch.bfloat16).reshape(64, 64) / 4096

    def ours() -> np.ndarray:
        return nr.forward("gru", x, params, precision="bfloat16", num_threads=1).y

    y, product = ours(), matrix @ matrix
    for _ in range(3):
        np.testing.assert_array_equal(ours(), y)
        assert torch.equal(matrix @ matrix, product)


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFFFFFFF, 0x7F800001, 0x7F800000])
def test_weight_gradients_keep_what_is_not_finite(bits: int) -> None:
    one = np.ones((3, 3), np.float32)
    params = {"weight_ih_l0": one, "weight_hh_l0": one}
    out = nr.forward("rnn_relu", np.ones((1, 2, 3), np.float32), params, precision="bfloat16")
    dy = np.ones((1, 2, 3), np.float32)
    dy.view(np.uint32)[0, 1, 2] = bits
    grads = nr.backward(out.tape, dy).params["weight_ih_l0"]
    assert np.isfinite(grads[:2]).all()
    assert not np.isfinite(grads[2]).any()


@pytest.mark.parametrize(
    ("precision", "dtype", "error", "message"),
    [
        ("float16", "float32", ValueError, "precision: expected None or 'bfloat16', got 'float16'"),
        (16, "float32", TypeError, "precision: expected a string, got int"),
        (
            "bfloat16",
            "float64",
            ValueError,
            "precision: expected None for float64 parameters, got 'bfloat16'",
        ),
    ],
)
def test_refuses(precision: object, dtype: str, error: type[Exception], message: str) -> None:
    params = nr.init_params("gru", 2, 3, dtype=dtype)
    with pytest.raises(error, match=f"^{message}$"):
        nr.forward("gru", np.zeros((2, 1, 2), dtype), params, precision=precision)
