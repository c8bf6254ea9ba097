"""The random bits of dropout, and the masks made of them.

Philox4x32-10 maps a counter of four 32-bit words and a key of two to four random words, so that any
element of any mask can be made by itself. The key is the call's seed. The counter says which block
of 8 columns, which place in the batch, which time and which stream: a number for each kind, layer
and direction. Every output word holds two 16-bit numbers, each of which decides about one element.

Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.dropout import Dropout
from normrnn.reference.cells.base import Array, Factor

KINDS = ("input", "output", "between", "state", "candidate", "weight", "zoneout_h", "zoneout_c")
STEPS = 1 << 16  # probabilities are multiples of 1 / STEPS


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of one direction of one layer; each broadcasts to [T, B, H].

    Those that scale hold 0 or 1/(1 - p). `update` says, for each state, which share of the new
    value is taken: 1 or 0 at random in training, 1 - p in evaluation; the rest is the value before.
    """

    output: Factor = 1.0
    state: Factor = 1.0
    candidate: Factor = 1.0
    weight: Factor = 1.0  # [G*H, H]
    update: tuple[Factor, Factor] = (1.0, 1.0)

    def row(self) -> Factor:
        """Return the first row of that of W, [H], for cells whose W is a vector."""
        if not isinstance(self.weight, np.ndarray):
            return self.weight
        row: Array = self.weight[0]
        return row

    def at(self, t: int) -> "Masks":
        """Those of one step, each [B, H] or a number."""

        def take(factor: Factor) -> Factor:
            if not isinstance(factor, np.ndarray):
                return factor
            row: Array = factor[min(t, len(factor) - 1)]
            return row

        return replace(
            self,
            output=take(self.output),
            state=take(self.state),
            candidate=take(self.candidate),
            update=(take(self.update[0]), take(self.update[1])),
        )


def philox(counter: tuple[Any, Any, Any, Any], seed: int) -> tuple[Any, Any, Any, Any]:
    """Philox4x32-10 of counters, four arrays of words that broadcast, under a 64-bit key.

    Examples
    --------
    >>> from normrnn.reference.masks import philox
    >>> [hex(int(word)) for word in philox((0, 0, 0, 0), 0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = (np.asarray(word, np.uint64) for word in np.broadcast_arrays(*counter))
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (
            (second >> shift) ^ b ^ np.uint64(keys[0]),
            second & low,
            (first >> shift) ^ d ^ np.uint64(keys[1]),
            first & low,
        )
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return a, b, c, d


def numbers(seed: int, stream: int, times: int, rows: int, columns: int) -> NDArray[np.uint16]:
    """16 random bits for each element of [times, rows, columns].

    Half s of word w of the counter of block 8 q + l belongs to column
    64 q + 32 (w // 2) + 4 l + 2 (w % 2) + s.
    """
    groups = -(-columns // 64)
    t, row, block = np.ogrid[:times, :rows, : 8 * groups]
    words = np.stack(philox((block, row, t, stream), seed), axis=-1)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=-1)
    halves = halves.reshape(times, rows, groups, 8, 2, 2, 2)  # q, l, w // 2, w % 2, s
    halves = halves.swapaxes(3, 4).reshape(times, rows, groups * 64)
    return halves[:, :, :columns].astype(np.uint16)


def probability(dropout: Dropout, kind: str) -> int:
    """Return the probability of a kind in units of 1 / STEPS."""
    p: float = getattr(dropout, kind)
    return min(round(p * STEPS), STEPS - 1)


def kept(
    dropout: Dropout, seed: int, kind: str, index: int, shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Say which elements of [T, B, columns] are kept; index is 2 layer + direction."""
    drawn = numbers(seed, 16 * index + KINDS.index(kind), *shape)
    return drawn >= probability(dropout, kind)


def factor(
    dropout: Dropout | None,
    seed: int | None,
    kind: str,
    index: int,
    shape: tuple[int, int, int],
    dtype: Any,
) -> Factor:
    """Return 0 where an element is dropped and 1/(1 - p) elsewhere; 1 if nothing is dropped."""
    if dropout is None or seed is None or probability(dropout, kind) == 0:
        return 1.0
    of_a_sequence = kind == "state" or (dropout.per_sequence and kind != "weight")
    if of_a_sequence:
        shape = (min(shape[0], 1), *shape[1:])
    scale = STEPS / (STEPS - probability(dropout, kind))
    return np.where(kept(dropout, seed, kind, index, shape), scale, 0).astype(dtype)


def draw(
    dropout: Dropout | None,
    seed: int | None,
    training: bool,
    index: int,
    last_layer: bool,
    gates: int,
    shape: tuple[int, int, int],
    dtype: Any,
) -> Masks:
    """Draw the masks of one direction of one layer.

    Parameters
    ----------
    dropout, seed, training
        As `forward` has them; `seed` is not None where one is needed.
    index : int
        2 layer + direction.
    last_layer : bool
        Whether its output is y, or the input of another layer.
    gates : int
        G.
    shape : tuple of int
        (T, B, H).
    dtype : dtype
        Of the masks that scale.
    """
    if dropout is None:
        return Masks()
    zoneouts = ("zoneout_h", "zoneout_c")
    if not training:
        h, c = (1 - probability(dropout, kind) / STEPS for kind in zoneouts)
        return Masks(update=(h, c))

    def of(kind: str, shape: tuple[int, int, int] = shape) -> Factor:
        return factor(dropout, seed, kind, index, shape, dtype)

    def update(kind: str) -> Factor:
        if seed is None or probability(dropout, kind) == 0:
            return 1.0
        return kept(dropout, seed, kind, index, shape).astype(dtype)

    weight = of("weight", (1, gates * shape[2], shape[2]))
    return Masks(
        output=of("output" if last_layer else "between"),
        state=of("state"),
        candidate=of("candidate"),
        weight=weight[0] if isinstance(weight, np.ndarray) else weight,
        update=(update(zoneouts[0]), update(zoneouts[1])),
    )


def check(
    dropout: Dropout | None,
    seed: int | None,
    training: bool,
    need_grad: bool,
    cell: str,
    states: int,
    candidate: bool,
) -> None:
    """Refuse what does not go together."""
    if seed is not None and not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed}")
    if dropout is None:
        return
    if dropout.candidate > 0 and not candidate:
        raise ValueError(
            f"dropout.candidate: expected 0 for the cell {cell!r}, which has no candidate, "
            f"got {dropout.candidate}"
        )
    if dropout.zoneout_c > 0 and states < 2:
        raise ValueError(
            f"dropout.zoneout_c: expected 0 for the cell {cell!r}, which has one state, "
            f"got {dropout.zoneout_c}"
        )
    if training and seed is None and any(getattr(dropout, kind) > 0 for kind in KINDS):
        raise TypeError(
            "seed: expected an integer from 0 to 2**64 - 1 with dropout in training, got NoneType"
        )
    if not training and need_grad and dropout.zoneout_h + dropout.zoneout_c > 0:
        raise ValueError("need_grad: expected False for zoneout with training=False, got True")
