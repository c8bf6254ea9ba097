"""The update over 4 million weights: rule, penalty, its value and the norms, in one pass.

Bytes counted are those the update must move: weights and slots read and written, gradients read.
The look at the gradients before anything is changed reads them once more; it is not counted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import normrnn as nr
from bench.points import assert_close
from normrnn import reference

SIZE = 1 << 22
RULES = [nr.SGD(0.1), nr.Momentum(0.1), nr.Momentum(0.1, nesterov=True), nr.Adam(), nr.AdamW()]
PENALTIES = [None, nr.L2(1e-4), nr.L1(1e-5), nr.Prox(nr.L1(1e-5)), nr.ElasticNet(1e-5, 1e-4)]


def name_of(value: object) -> str:
    if isinstance(value, nr.Prox):
        return f"Prox{type(value.penalty).__name__}"
    nesterov = getattr(value, "nesterov", False)
    return "Nesterov" if nesterov else type(value).__name__.replace("NoneType", "plain")


@pytest.mark.parametrize("penalty", PENALTIES, ids=name_of)
@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_update(
    rule: nr.rules.Rule, penalty: object, engine: str, timed: Callable[..., None]
) -> None:
    rng = np.random.default_rng(0)
    params = {"weight": rng.standard_normal(SIZE, np.float32)}
    grads = {"weight": rng.standard_normal(SIZE, np.float32)}
    twin = {"weight": params["weight"].copy()}
    state, twin_state = nr.init_state(rule, params), nr.init_state(rule, twin)
    nr.update(params, grads, state, rule=rule, penalty=penalty)
    reference.update(twin, grads, twin_state, rule=rule, penalty=penalty)
    assert_close(params["weight"], twin["weight"])
    run = nr.update if engine == "core" else reference.update
    bytes_ = 4 * SIZE * (3 + 2 * len(rule.slots))
    timed(
        lambda: run(params, grads, state, rule=rule, penalty=penalty),
        bytes_=bytes_,
        slow=engine == "numpy",
    )
