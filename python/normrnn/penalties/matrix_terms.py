"""Penalties of whole matrices within one update."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.group_sets import piece_of
from normrnn.penalties.matrix import MatrixPenalty, Memory
from normrnn.penalties.resolve import Piece, inner_of, is_prox
from normrnn.results import UpdateInfo
from normrnn.rules import Rule

Array = NDArray[Any]


class MatrixTerms:
    """Penalties of whole matrices within one update: gradients before it, prox steps after it.

    Attributes
    ----------
    pull : dict of int to ndarray
        For the pieces that have such penalties the gradient of all that act through one.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        params: Mapping[str, Array],
        rule: Rule,
        state: dict[str, Any],
    ) -> None:
        self.pull: dict[int, Array] = {}
        self.value = 0.0
        self.params = params
        self.rule = rule
        self.state = state
        self.vectors: dict[str, Memory] = {}  # to be kept in the state if the core takes the step
        self.after: list[tuple[MatrixPenalty, Array, Array]] = []  # with the weights before
        for i, piece in enumerate(pieces):
            for term in piece.terms:
                penalty = inner_of(term)
                if not isinstance(penalty, MatrixPenalty):
                    continue
                w = piece_of(params[piece.name], piece)
                penalty.check(piece.name, w)
                if is_prox(term):
                    self._refuse_metric(penalty)
                    self.value += penalty.value(w)
                    self.after.append((penalty, w, w.copy()))
                    continue
                start = 0 if piece.rows is None else piece.rows.start
                key = f"{piece.name}[{start}]"
                memory = self.vectors.setdefault(key, dict(state.get("vectors", {}).get(key, {})))
                value, gradient = penalty.value_and_gradient(w, memory)
                self.value += value
                self.pull[i] = self.pull[i] + gradient if i in self.pull else gradient

    def _refuse_metric(self, penalty: MatrixPenalty) -> None:
        if not penalty.constraint and not self.rule.uniform_step:
            raise ValueError(
                f"rule: expected one with the same step size for all weights for "
                f"Prox({type(penalty).__name__}), such as SGD or AdamW, got "
                f"{type(self.rule).__name__}"
            )

    def finish(self, info: UpdateInfo) -> UpdateInfo:
        """Take the prox steps, keep what iterations start from, and return the sums with them.

        A matrix that the rule's step has made NaN or infinite has no prox, and stays so.
        """
        if any(self.vectors.values()):
            self.state.setdefault("vectors", {}).update(self.vectors)
        if not self.after and not self.value:
            return info
        update_squares, param_norm = info.update_norm**2, info.param_norm
        for penalty, w, before in self.after:
            if not np.all(np.isfinite(w)):
                continue
            stepped = w.copy()
            w[...] = penalty.prox(stepped, self.rule.prox_step)
            update_squares += _squares(w - before) - _squares(stepped - before)
        if self.after:  # not by differences: a constraint may have taken nearly all away
            param_norm = math.sqrt(sum(_squares(w) for w in self.params.values()))
        return replace(
            info,
            penalty=info.penalty + self.value,
            update_norm=math.sqrt(max(update_squares, 0.0)),
            param_norm=param_norm,
        )


def _squares(a: Array) -> float:
    return float(np.sum(np.square(a, dtype=np.float64)))
