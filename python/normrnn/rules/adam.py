"""Adam, and AdamW: the same step with the penalty decoupled from it."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import check_fields, fraction, non_negative, positive
from normrnn.rules.base import Rule

SMALLEST_EPS = 2.0**-126  # the smallest normal number of float32


@dataclass(frozen=True)
class Adam(Rule):
    """w <- w - lr * m^ / (sqrt(v^) + eps), with running means of g and of its square.

    m <- beta1 * m + (1 - beta1) * g and v <- beta2 * v + (1 - beta2) * g^2, both from zero;
    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) correct for that start. A penalty is part of
    g, so it is scaled like the loss; a ``Prox`` uses the step lr / (sqrt(v^) + eps) per coordinate.

    Parameters
    ----------
    lr : float
        Step size >= 0.
    beta1, beta2 : float
        What the running means keep at each step, in [0, 1).
    eps : float
        Added to the root, > 0.

    Raises
    ------
    TypeError, ValueError
        If one of them is not a finite number within these bounds.

    References
    ----------
    Kingma & Ba, Adam: a method for stochastic optimization, arXiv:1412.6980. The prox in the metric
    of the step: Duchi, Hazan & Singer, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.rules import Adam
    >>> slots = {"exp_avg": np.zeros(2), "exp_avg_sq": np.zeros(2)}
    >>> delta, _ = Adam(lr=0.1).step(np.zeros(2), np.array([4.0, -0.5]), slots, t=1)
    >>> delta.round(6).tolist()
    [0.1, -0.1]
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
        check_fields(self, lr=non_negative, beta1=fraction, beta2=fraction, eps=positive)
        if self.eps < SMALLEST_EPS:  # 1 / eps is infinite, and a weight without a gradient NaN
            raise ValueError(f"eps: expected a number >= 2**-126, got {self.eps}")

    @property
    def kernel(self) -> str:
        """``"adam"``, or ``"adamw"`` for the decoupled rule."""
        return "adamw" if self.decoupled else "adam"

    @property
    def uniform_step(self) -> bool:
        """No: a prox has a step size for each coordinate, unless the rule is decoupled."""
        return self.decoupled

    def scalars(self, step: int) -> tuple[float, ...]:
        """Both scales of the step, and the constants of the means, eps and lr; see adam.h."""
        m_scale = self.lr / (1 - self.beta1**step)
        root_scale = 1 / math.sqrt(1 - self.beta2**step)
        means = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2)
        return (m_scale, *means, self.eps, root_scale, self.lr)

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: dict[str, NDArray[Any]], t: int
    ) -> tuple[NDArray[Any], float | NDArray[Any]]:
        """Delta = lr * m^ / (sqrt(v^) + eps), with the new m and v."""
        m, v = slots["exp_avg"], slots["exp_avg_sq"]
        m[...] = self.beta1 * m + (1 - self.beta1) * g
        v[...] = self.beta2 * v + (1 - self.beta2) * g**2
        m_hat = m / (1 - self.beta1**t)
        root = np.sqrt(v) / math.sqrt(1 - self.beta2**t) + self.eps
        prox_step = self.lr if self.decoupled else self.lr / root
        return self.lr * m_hat / root, prox_step


@dataclass(frozen=True)
class AdamW(Adam):
    """w <- w - lr * (m^ / (sqrt(v^) + eps) + dR/dw): Adam, with the penalty left out of m and v.

    With ``L2(strength)`` this is torch.optim.AdamW with weight_decay = 2 * strength. A ``Prox``
    uses the step lr for every coordinate. Parameters are those of `Adam`.

    Raises
    ------
    TypeError, ValueError
        As `Adam` does.

    References
    ----------
    Loshchilov & Hutter, Decoupled weight decay regularization, arXiv:1711.05101.

    Examples
    --------
    >>> from normrnn.rules import AdamW
    >>> AdamW(lr=0.01).decoupled
    True
    """

    @property
    def decoupled(self) -> bool:
        """True: a penalty is subtracted as lr * dR/dw."""
        return True
