"""The update rules and the reference update: against PyTorch, and by their definitions."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import normrnn as nr
from normrnn import reference
from normrnn.penalties import L1, L2, ElasticNet, Prox
from normrnn.rules import SGD, Adam, AdamW, Momentum, Rule, registry

STEPS = 6
STRENGTH = 0.05
SHAPES = {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,), "weight_hy": (1, 2)}
RULES = [
    SGD(lr=0.1),
    Momentum(lr=0.1),
    Momentum(lr=0.1, momentum=0.7, nesterov=True),
    Adam(),
    AdamW(lr=0.05, beta1=0.8, beta2=0.95, eps=1e-3),
]


def draw(seed: int, dtype: str = "float64") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: a.copy() for name, a in arrays.items()}


OPTIMISERS = {
    "sgd": (SGD(lr=0.1), torch.optim.SGD, {"lr": 0.1}),
    "momentum": (Momentum(lr=0.1), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        Momentum(lr=0.1, momentum=0.7, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.7, "nesterov": True},
    ),
    "adam": (Adam(lr=0.05), torch.optim.Adam, {"lr": 0.05}),
    "adam_options": (
        Adam(lr=0.05, beta1=0.5, beta2=0.9, eps=1e-2),
        torch.optim.Adam,
        {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2},
    ),
    "adamw": (AdamW(lr=0.05), torch.optim.AdamW, {"lr": 0.05}),
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("strength", [0.0, STRENGTH])
def test_agrees_with_torch_optim(name: str, strength: float) -> None:
    """L2 is weight_decay = 2 * strength: in the loss, and decoupled under AdamW."""
    rule, optimiser, options = OPTIMISERS[name]
    params = draw(0)
    tensors = {n: torch.nn.Parameter(torch.tensor(w)) for n, w in params.items()}
    decayed = [t for n, t in tensors.items() if "bias" not in n]
    biases = [t for n, t in tensors.items() if "bias" in n]
    groups = [{"params": decayed, "weight_decay": 2 * strength}, {"params": biases}]
    torch_rule = optimiser(groups, weight_decay=0.0, **options)

    state = reference.init_state(rule, params)
    for step in range(STEPS):
        grads = draw(step + 1)
        reference.update(params, grads, state, rule=rule, penalty=L2(strength))
        for n, t in tensors.items():
            t.grad = torch.tensor(grads[n])
        torch_rule.step()
        for n, t in tensors.items():
            # float64 and the same formula up to the order of a few products
            np.testing.assert_allclose(params[n], t.detach().numpy(), rtol=1e-12, atol=1e-14)
    assert state["step"] == STEPS


@pytest.mark.parametrize("name", sorted(registry()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_contract(name: str, dtype: str) -> None:
    """step leaves w and g alone, keeps the dtype, fills the slots; lr = 0 makes no step."""
    rule = registry()[name](lr=0.1)
    w, g = (a["weight_ih_l0"] for a in (draw(0, dtype), draw(1, dtype)))
    before = w.copy(), g.copy()
    slots = {slot: np.zeros_like(w) for slot in rule.slots}
    for t in (1, 2):
        delta, prox_step = rule.step(w, g, slots, t)
        assert delta.shape == w.shape
        assert delta.dtype == w.dtype
        assert np.shape(prox_step) in ((), w.shape)
        assert np.all(np.asarray(prox_step) > 0)
        assert all(a.dtype == w.dtype and a.any() for a in slots.values())
    np.testing.assert_array_equal(w, before[0])
    np.testing.assert_array_equal(g, before[1])
    assert {type(s) for s in rule.scalars(1)} == {float}
    assert isinstance(rule.kernel, str)
    still = registry()[name](lr=0)
    delta, _ = still.step(w, g, {slot: np.zeros_like(w) for slot in rule.slots}, 1)
    assert not delta.any()


def test_kernels_and_scalars() -> None:
    assert [rule.kernel for rule in RULES] == ["sgd", "momentum", "momentum", "adam", "adamw"]
    assert [rule.decoupled for rule in RULES] == [False, False, False, False, True]
    assert RULES[0].scalars(1) == (0.1,)
    assert RULES[1].scalars(3) == (0.1, 0.9, 0.1 / (1 - 0.9), 0)
    assert RULES[2].scalars(3)[3] == 1


@pytest.mark.parametrize("rule", [Adam(lr=0.3, eps=0.01), AdamW(lr=0.3, beta1=0.2, beta2=0.5)])
def test_adam_from_its_scalars(rule: Adam) -> None:
    """What the kernel computes: s0 m / (sqrt(v) s6 + s5)."""
    w = draw(0)["weight_ih_l0"]
    slots = {slot: np.zeros_like(w) for slot in rule.slots}
    for t in (1, 2, 3):
        delta, prox_step = rule.step(w, draw(t)["weight_ih_l0"], slots, t)
        s = rule.scalars(t)
        root = np.sqrt(slots["exp_avg_sq"]) * s[6] + s[5]
        np.testing.assert_allclose(delta, s[0] * slots["exp_avg"] / root, rtol=1e-14)
        expected = s[7] if rule.decoupled else s[7] / root
        np.testing.assert_allclose(prox_step, expected, rtol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kernel)
@pytest.mark.parametrize(
    "penalty", [L1(0.3), L2(0.3), ElasticNet(0.2, 0.1)], ids=lambda p: p.kernel
)
def test_prox_follows_the_plain_step(rule: Rule, penalty: L1) -> None:
    """Prox(R) = the rule's step without a penalty, then R's prox with the rule's own step size."""
    plain, params = draw(0), draw(0)
    plain_state, state = reference.init_state(rule, plain), reference.init_state(rule, params)
    for step in range(STEPS):
        grads = draw(step + 1)
        for name in plain:
            plain[name][...] = params[name]
        reference.update(plain, grads, plain_state, rule=rule)
        reference.update(params, grads, state, rule=rule, penalty=Prox(penalty))
        for name, w in plain.items():
            size: float | np.ndarray = rule.prox_step
            if rule.kernel == "adam":
                v_hat = state["exp_avg_sq"][name] / (1 - rule.beta2 ** (step + 1))
                size = rule.lr / (np.sqrt(v_hat) + rule.eps)
            expected = w if "bias" in name else penalty.prox(w, size)
            np.testing.assert_allclose(params[name], expected, rtol=1e-14)
        for slot in rule.slots:  # the penalty must not reach what the rule remembers
            for name in plain:
                np.testing.assert_array_equal(state[slot][name], plain_state[slot][name])


@pytest.mark.parametrize("rule", [SGD(0.01), Momentum(0.01), Momentum(0.01, nesterov=True)])
@pytest.mark.parametrize("penalty", [L1(0.5), L2(0.5)])
def test_prox_rests_where_loss_and_penalty_are_least(rule: Rule, penalty: L1 | L2) -> None:
    """(w - 1)^2 + 0.5 |w| is least at 0.75, (w - 1)^2 + 0.5 w^2 at 2/3; as a prox or a gradient."""
    for one in (penalty, Prox(penalty)):
        params = {"weight": np.array([0.3])}
        state = reference.init_state(rule, params)
        for _ in range(2000):
            grads = {"weight": 2 * (params["weight"] - 1)}
            reference.update(params, grads, state, rule=rule, penalty=one)
        least = 0.75 if isinstance(penalty, L1) else 2 / 3
        assert params["weight"][0] == pytest.approx(least, abs=1e-9)


def test_prox_of_l1_reaches_zero_and_its_gradient_does_not() -> None:
    params, other = ({"w": np.array([0.305, 2.0])} for _ in range(2))
    for _ in range(10):
        reference.update(params, {"w": np.zeros(2)}, rule=SGD(0.1), penalty=Prox(L1(1.0)))
        reference.update(other, {"w": np.zeros(2)}, rule=SGD(0.1), penalty=L1(1.0))
    np.testing.assert_allclose(params["w"], [0.0, 1.0], atol=1e-15)
    assert params["w"][0] == 0.0
    assert abs(other["w"][0]) > 1e-3


@given(
    clip_norm=st.sampled_from([None, 1e-3, 1.0, 100.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 2),
)
def test_clipping_and_what_update_reports(clip_norm: float | None, dtype: str, seed: int) -> None:
    params, grads = draw(seed, dtype), draw(seed + 1, dtype)
    before, given_grads = copies(params), copies(grads)
    info = reference.update(params, grads, rule=SGD(0.1), penalty=L2(STRENGTH), clip_norm=clip_norm)

    def norm(arrays: dict[str, np.ndarray]) -> float:
        return float(np.linalg.norm(np.concatenate([a.ravel() for a in arrays.values()])))

    # The penalty is not clipped.
    scale = 1.0 if clip_norm is None else min(1.0, clip_norm / norm(grads))
    rtol = {"float32": 1e-5, "float64": 1e-12}[dtype]  # some ten roundings of the dtype
    for name, w in before.items():
        decay = 0.0 if "bias" in name else 2 * STRENGTH
        expected = w - 0.1 * (scale * given_grads[name] + decay * w)
        np.testing.assert_allclose(params[name], expected, rtol=rtol, atol=rtol)
        np.testing.assert_array_equal(grads[name], given_grads[name])
        assert params[name].dtype == dtype
    weights = {n: w for n, w in before.items() if "bias" not in n}
    moved = {n: params[n] - w for n, w in before.items()}
    np.testing.assert_allclose(info.penalty, STRENGTH * norm(weights) ** 2, rtol=rtol)
    np.testing.assert_allclose(info.grad_norm, norm(grads), rtol=rtol)
    np.testing.assert_allclose(info.update_norm, norm(moved), rtol=rtol)
    np.testing.assert_allclose(info.param_norm, norm(params), rtol=rtol)
    np.testing.assert_allclose(info.clip_scale, scale, rtol=rtol)
    assert {type(getattr(info, f.name)) for f in fields(info)} == {float}


def test_zero_gradients_are_not_scaled() -> None:
    info = reference.update({"w": np.ones(2)}, {"w": np.zeros(2)}, rule=SGD(0.1), clip_norm=1.0)
    assert (info.grad_norm, info.clip_scale, info.update_norm) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_norms_whose_squares_leave_float64(size: float) -> None:
    info = reference.update({"w": np.zeros(4)}, {"w": np.full(4, size)}, rule=SGD(0.5))
    np.testing.assert_allclose(info.grad_norm, 2 * size, rtol=1e-15)
    np.testing.assert_allclose([info.update_norm, info.param_norm], size, rtol=1e-15)


def test_a_mapping_gives_each_parameter_its_penalty() -> None:
    params, centers = draw(0), draw(1)
    before = copies(params)
    penalty = {"weight_hh_*": L2(0.5, center=centers), "bias_*": Prox(L2(1.0))}
    grads = {name: np.zeros_like(w) for name, w in params.items()}
    info = reference.update(params, grads, rule=SGD(0.1), penalty=penalty)
    hh, bias = before["weight_hh_l0"], before["bias_ih_l0"]
    pulled = hh - 0.1 * (hh - centers["weight_hh_l0"])
    np.testing.assert_allclose(params["weight_hh_l0"], pulled, rtol=1e-14)
    np.testing.assert_allclose(params["bias_ih_l0"], bias / 1.2, rtol=1e-14)
    np.testing.assert_array_equal(params["weight_hy"], before["weight_hy"])
    expected = 0.5 * np.sum((hh - centers["weight_hh_l0"]) ** 2) + np.sum(bias**2)
    np.testing.assert_allclose(info.penalty, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grads": {}}, r"^grads: expected names \['bias_ih_l0', .*\], got \[\]$"),
        (
            {"grads": draw(1) | {"weight_hy": np.ones((2, 1))}},
            r"^grads\['weight_hy'\]: expected shape \(1, 2\), got \(2, 1\)$",
        ),
        ({"penalty": {"nothing": L1(1.0)}}, r"^penalty: expected a pattern that matches"),
        (
            {"penalty": {"weight_hy": L2(1.0, center=np.ones(2))}},
            r"^center\[weight_hy\]: expected shape \(1, 2\), got \(2,\)$",
        ),
        ({"rule": Momentum(0.1)}, r"^state: expected init_state\(rule, params\) for .*, got None$"),
        (
            {"grads": draw(1) | {"weight_hy": np.array([[1.0, np.nan]])}},
            r"^grads\['weight_hy'\]: expected finite values, got nan at index \(0, 1\)$",
        ),
        ({"clip_norm": 0.0}, r"^clip_norm: expected a finite number > 0, got 0.0$"),
    ],
)
def test_nothing_changes_when_an_argument_is_wrong(changes: dict, message: str) -> None:
    params = draw(0)
    arguments = {"params": params, "grads": draw(1), "rule": SGD(0.1)} | changes
    with pytest.raises((TypeError, ValueError, FloatingPointError), match=message):
        reference.update(**arguments)
    for name, w in draw(0).items():
        np.testing.assert_array_equal(params[name], w)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-1), "lr: expected a finite number >= 0, got -1.0"),
        (lambda: SGD(float("nan")), "lr: expected a finite number >= 0, got nan"),
        (lambda: Momentum(float("inf")), "lr: expected a finite number >= 0, got inf"),
        (lambda: Momentum(0.1, 1.0), "momentum: expected a number in [0, 1), got 1.0"),
        (lambda: Adam(beta1=-0.1), "beta1: expected a number in [0, 1), got -0.1"),
        (lambda: Adam(beta2=1.0), "beta2: expected a number in [0, 1), got 1.0"),
        (lambda: AdamW(eps=0.0), "eps: expected a finite number > 0, got 0.0"),
        (lambda: Adam(eps=1e-39), "eps: expected a number >= 2**-126, got 1e-39"),
    ],
)
def test_hyper_parameters_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_of_numpy_is_a_flag(value: bool) -> None:
    rule = Momentum(0.1, nesterov=np.bool_(value))
    assert rule.nesterov is value
    assert repr(rule) == repr(Momentum(0.1, nesterov=value))
    assert nr.Omega(1.0, squared=np.bool_(value)).squared is value
    assert nr.Dropout(per_sequence=np.bool_(value)).per_sequence is value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD("0.1"), "lr: expected a finite number >= 0, got str"),
        (lambda: Momentum(0.1, nesterov=1), "nesterov: expected True or False, got int"),
        (lambda: Adam(beta1=(0.9, 0.999)), "beta1: expected a number in [0, 1), got tuple"),
    ],
)
def test_hyper_parameters_of_a_wrong_type(make, message: str) -> None:
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value) == message
