"""Print cpp/src/tanh_table.h: the polynomials by which tanh of float32 is found with AVX-512.

There are 32 intervals of |x|, each a quarter of a power of two wide, and the bits of |x| that name
an interval look up its polynomial. It is in the distance from a centre near the interval's middle,
a float so chosen that tanh there is almost a float, too (Gal's accurate tables): then the last
addition's rounding is nearly all there is.

    python cpp/tools/tanh_table.py > cpp/src/tanh_table.h
"""

from __future__ import annotations

import textwrap

import mpmath
import numpy as np

DEGREE = 5
LIMIT = 9.1  # tanh rounds to 1 from 9.011 on
SHIFT = 21  # leaves of a float's bits the exponent and two of the mantissa: an interval's number
LAST = int(np.float32(8).view(np.int32)) >> SHIFT
FIRST = LAST - 31  # goes down to 0


def edge(number: int) -> float:
    """Return where the interval of this number begins."""
    return float(np.int32(number << SHIFT).view(np.float32))


def centre_near(middle: float, width: float) -> tuple[float, float]:
    """Return the float around the middle whose tanh is nearest to a float, and that float."""
    found = []
    value = np.float32(np.tanh(middle))
    for step in range(-60, 61):
        rounded = float(value + step * np.spacing(value))
        if 0 < rounded < 1:
            centre = float(np.float32(mpmath.atanh(rounded)))
            if abs(centre - middle) < width / 3:
                found.append((abs(mpmath.tanh(centre) - rounded), centre, rounded))
    return min(found)[1:]


def column(lower: float, upper: float) -> list[float]:
    """Return the centre and the coefficients for lower <= |x| < upper."""
    if lower == 0:  # x - x^3 / 3 + 2 x^5 / 15: a small x itself
        return [0, 0, 1, 0, -1 / 3, 0, 2 / 15]
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    centre, value = centre_near(middle, upper - lower)
    # (tanh(centre + r) - tanh(centre)) / r through the Chebyshev points of the interval
    points = [middle + half * mpmath.cospi((i + 0.5) / DEGREE) - centre for i in range(DEGREE)]
    slopes = [(mpmath.tanh(centre + r) - mpmath.tanh(centre)) / r for r in points]
    powers = mpmath.matrix([[r**j for j in range(DEGREE)] for r in points])
    return [centre, value, *mpmath.lu_solve(powers, mpmath.matrix(slopes))]


def table() -> np.ndarray:
    """Return the numbers: float32 array of shape (1 + DEGREE + 1, 32)."""
    columns = np.empty((DEGREE + 2, 32), np.float32)
    with mpmath.workdps(50):
        for number in range(FIRST, LAST + 1):
            lower = 0.0 if number == FIRST else edge(number)
            upper = min(LIMIT, edge(number + 1))
            columns[:, number % 32] = [float(entry) for entry in column(lower, upper)]
    return columns


def header() -> str:
    """Return the text of cpp/src/tanh_table.h."""
    rows = []
    for row in table().astype(float):
        numbers = [f"{entry:.9g}" for entry in row]
        floats = ", ".join(f"{n}f" if "." in n or "e" in n else f"{n}.0f" for n in numbers)
        rows.append(textwrap.fill(floats, 98, initial_indent="{", subsequent_indent=" ") + "},")
    return TEXT.format(limit=LIMIT, first=edge(FIRST), rows="\n".join(rows), count=len(rows))


TEXT = """\
// Printed by cpp/tools/tanh_table.py, which says what the numbers are.
#pragma once

// clang-format off
namespace normrnn {{

constexpr float kTanhLimit = {limit}f;  // on |x|: tanh is 1 from there on
constexpr float kTanhFirst = {first}f;  // the first interval's, which goes down to 0

// Rows: the centre of an interval, then the coefficients of its polynomial from the constant up.
// Columns: the interval's number modulo 32, three bits of the exponent and two of the mantissa.
alignas(64) constexpr float kTanhTable[{count}][32] = {{
{rows}
}};

}}  // namespace normrnn
"""

if __name__ == "__main__":
    print(header(), end="")
