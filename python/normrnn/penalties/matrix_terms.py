"""Penalties of whole matrices within one update."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
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

    Prox steps come after the core's, and a singular value decomposition may fail: with any of them
    all that the core changes is copied first, which takes a small part of the time of one.

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
        self.after: list[tuple[MatrixPenalty, Piece, Memory]] = []
        self.before: list[tuple[Array, Array]] = []  # all that the core changes, and copies of it
        vectors = state.get("vectors", {})
        if not isinstance(vectors, dict) or not all(isinstance(v, dict) for v in vectors.values()):
            got = type(vectors).__name__
            raise TypeError(f"state['vectors']: expected the dict that `update` left, got a {got}")
        for i, piece in enumerate(pieces):
            for term in piece.terms:
                penalty = inner_of(term)
                if not isinstance(penalty, MatrixPenalty):
                    continue
                w = piece_of(params[piece.name], piece)
                first = 0 if piece.rows is None else piece.rows.start
                penalty.check(piece.name, w, first)
                key = f"{piece.name}[{first}]"
                memory = self.vectors.setdefault(key, dict(vectors.get(key, {})))
                if is_prox(term):
                    self._refuse_metric(penalty)
                    self.value += _value_of(penalty, w, memory)
                    self.after.append((penalty, piece, memory))
                    continue
                value, gradient = penalty.value_and_gradient(w, memory)
                self.value += value
                self.pull[i] = self.pull[i] + gradient if i in self.pull else gradient
        if self.after:
            kept = (params, *(state[slot] for slot in rule.slots))
            self.before = [
                (arrays[name], np.array(arrays[name])) for arrays in kept for name in params
            ]

    def _refuse_metric(self, penalty: MatrixPenalty) -> None:
        if not penalty.constraint and not self.rule.uniform_step:
            raise ValueError(
                f"rule: expected one with the same step size for all weights for "
                f"Prox({type(penalty).__name__}), such as SGD or AdamW, got "
                f"{type(self.rule).__name__}"
            )

    def finish(self, core: Callable[[], UpdateInfo]) -> UpdateInfo:
        """Take the core's step and then the prox steps, and keep what iterations start from.

        A matrix that the rule's step has made NaN or infinite has no prox, and stays so. Whatever
        is raised, as by a decomposition that does not converge, nothing has changed.

        Parameters
        ----------
        core : callable
            Takes the core's step, counts it in the state, and returns its sums.

        Returns
        -------
        UpdateInfo
            The sums with those of the matrices.
        """
        step = self.state["step"]
        try:
            info = self._prox_steps(core())
            if any(self.vectors.values()):
                self.state.setdefault("vectors", {}).update(self.vectors)
            return info
        except BaseException:  # Ctrl-C, too, which Python raises only when the core has returned
            if self.after:  # else the core's step is all there is, and is taken or not
                for array, before in self.before:
                    # Others the core refuses before it changes anything.
                    if isinstance(array, np.ndarray) and array.flags.writeable:
                        array[...] = before
                self.state["step"] = step
            raise

    def _prox_steps(self, info: UpdateInfo) -> UpdateInfo:
        if not self.after and not self.value:
            return info
        update_squares, param_norm = info.update_norm**2, info.param_norm
        copies = dict(zip(self.params, self.before, strict=False))  # parameters come first
        for penalty, piece, memory in self.after:
            w, before = (piece_of(array, piece) for array in copies[piece.name])
            if not np.all(np.isfinite(w)):
                continue
            stepped = w.copy()
            w[...], size = penalty.prox_and_size(stepped, self.rule.prox_step)
            _keep_value(penalty, w, size, memory)
            update_squares += _squares(w - before) - _squares(stepped - before)
        if self.after:  # not by differences: a constraint may have taken nearly all away
            param_norm = math.sqrt(sum(_squares(w) for w in self.params.values()))
        return replace(
            info,
            penalty=info.penalty + self.value,
            update_norm=math.sqrt(max(update_squares, 0.0)),
            param_norm=param_norm,
        )


def _keep_value(penalty: MatrixPenalty, w: Array, size: float | None, memory: Memory) -> None:
    """Keep what a prox knows of the weights that it leaves: R / strength."""
    if size is not None:
        name = type(penalty).__name__
        memory |= {f"{name} of": _digest(w), name: np.array(size)}


def _value_of(penalty: MatrixPenalty, w: Array, memory: Memory) -> float:
    """R, from what was kept if the weights are those of then."""
    name = type(penalty).__name__
    if name not in memory or not np.array_equal(memory[f"{name} of"], _digest(w)):
        return penalty.value(w)
    return penalty.weighted("strength") * float(memory[name])


def _digest(w: Array) -> NDArray[np.uint8]:
    return np.frombuffer(blake2b(w.tobytes(), digest_size=16).digest(), np.uint8)


def _squares(a: Array) -> float:
    return float(np.sum(np.square(a, dtype=np.float64)))
