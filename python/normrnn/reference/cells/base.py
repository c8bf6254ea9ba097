"""What a cell says: how one step maps the state, and how its derivatives run back.

A cell sees only pointwise terms. The products with the weights and the loop over time are the same
for every cell and live in reference/sequence.py.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, ...]
Factor: TypeAlias = Array | float  # of an array's elements; 1 leaves them as they are


class Cell(ABC):
    """One step of a recurrent network, on pre = x U^T + b_ih and rec = h W^T + b_hh.

    Attributes
    ----------
    name : str
        What users call it.
    gates : int
        G: pre and rec are [B, G*H], gate by gate.
    states : int
        1 for h, 2 for h and c. states[0] is h, the output.
    candidate : bool
        Whether the cell has a candidate for the state that can be dropped.
    layer_norm : bool
        Whether x U^T and h W^T are normalised, see layer_norm.py. False for most.
    diagonal : bool
        Whether W is a vector [H], and rec = h * W + b_hh. False for most.
    own : tuple of str
        Parameters [H] of the cell itself, by kind; they follow `drop` in forward, and their
        gradients follow d_state from backward. Empty for most.
    """

    name: ClassVar[str]
    gates: ClassVar[int]
    states: ClassVar[int]
    candidate: ClassVar[bool] = False
    layer_norm: ClassVar[bool] = False
    diagonal: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parameter_shapes(
        cls, inputs: int, hidden: int, bias: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the parameters of one direction of one layer, by kind, and their shapes."""
        rows = cls.gates * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (hidden,) if cls.diagonal else (rows, hidden),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        if cls.layer_norm:
            shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
        shapes |= dict.fromkeys(cls.own, (hidden,))
        return {kind: s for kind, s in shapes.items() if bias or not kind.startswith("bias")}

    @staticmethod
    @abstractmethod
    def forward(pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0) -> tuple[Arrays, Arrays]:
        """Take one step.

        Parameters
        ----------
        pre, rec : ndarray, [B, G*H]
            The input's and the recurrent part of the gates.
        state : tuple of ndarray, [B, H] each
            The state before the step.
        drop : ndarray, [B, H], or float
            What the candidate is multiplied by, in a cell that has one.

        Returns
        -------
        state_next : tuple of ndarray, [B, H] each
            The state after the step.
        tape : tuple of ndarray
            What backward needs besides the states.
        """

    @staticmethod
    @abstractmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Run the step's derivatives back.

        Parameters
        ----------
        tape, state, state_next : tuple of ndarray
            As forward took and returned them.
        d_state_next : tuple of ndarray, [B, H] each
            dL/d state_next, complete.
        drop : ndarray, [B, H], or float
            As forward took it.

        Returns
        -------
        d_pre, d_rec : ndarray, [B, G*H]
            dL/d pre and dL/d rec.
        d_state : tuple of ndarray, [B, H] each
            The direct part of dL/d state: without the path through rec.
        """


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), computed from exp(-|a|), which cannot overflow."""
    e = np.exp(-np.abs(a))
    result: Array = np.where(a >= 0, 1, e) / (1 + e)
    return result
