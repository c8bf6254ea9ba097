"""The largest singular value by Golub and Kahan's bidiagonalisation; for penalties and diagnostics.

Neighbouring singular values of recurrent weights are a few per cent apart. Power iteration on WᵀW
then needs hundreds of products; the best combination of all its vectors needs 10 to 60. Golub &
Kahan, SIAM J. Numer. Anal. B 2(2), 1965; Golub & Van Loan, Matrix computations, section 10.4.

Products go through einsum, which has no threads: BLAS libraries keep theirs spinning for some 50 ms
after a product as small as these, beside whatever the program does next.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Leading(NamedTuple):
    """What was found.

    Attributes
    ----------
    sigma : float
        σ₁, from below; off by residual² / σ₁ or so.
    u, v : ndarray, [rows] and [columns]
        Its vectors, in the matrix's dtype.
    residual : float
        ‖Wᵀu − σ₁v‖: W has a singular value within this of what was found.
    products : int
        Products with W, and as many with Wᵀ.
    """

    sigma: float
    u: NDArray[Any]
    v: NDArray[Any]
    residual: float
    products: int


# A space of fewer vectors may have missed σ₁ altogether: one random start in a thousand has next to
# nothing of its vector, and up to 8 products look done on σ₂. (None in 24,000 after 16.)
ENOUGH = 16


def leading_singular_vectors(
    W: NDArray[Any], start: NDArray[Any], tolerance: float, most: int, *, warm: bool
) -> Leading:
    """Grow a space from `start` [columns] until a residual of `tolerance` σ₁, or `most` products.

    `warm`: the start is known to lie near the vector, so that a few products may be enough. The
    squares of W's elements must neither overflow nor vanish.
    """
    rows, columns = W.shape
    # W V = U B with B upper bidiagonal, and WᵀU = V Bᵀ + r e_kᵀ; vectors are rows of U and V here.
    tiny = 4 * np.finfo(W.dtype).eps * _norm(W)
    limit = max(1, min(most, columns, rows + 1))  # rows + 1: v may lie beside their span
    V, U = np.zeros((limit, columns), W.dtype), np.zeros((limit, rows), W.dtype)
    B = np.zeros((limit, limit))
    v = unit(start).astype(W.dtype)
    for k in range(limit):
        V[k] = v
        p = _orthogonal(_product(W, v), U[:k])
        B[k, k] = alpha = _norm(p)
        if alpha > 0:
            U[k] = p / W.dtype.type(alpha)
        r = _orthogonal(_product(W.T, U[k]), V[: k + 1])
        beta = _norm(r)
        exhausted = k + 1 == limit or beta <= tiny or alpha <= tiny
        look = warm or k + 1 >= ENOUGH  # a small SVD costs more than a small product
        if exhausted or (look and (k < 4 or k % 4 == 3)):
            left, sigma, right = np.linalg.svd(B[: k + 1, : k + 1])
            residual = beta * abs(float(left[k, 0]))
            if exhausted or residual <= tolerance * sigma[0]:
                best_u = _product(U[: k + 1].T, left[:, 0].astype(W.dtype))
                best_v = unit(_product(V[: k + 1].T, right[0].astype(W.dtype)))
                return Leading(float(sigma[0]), best_u, best_v, residual, k + 1)
        v = r / W.dtype.type(beta)
        B[k, k + 1] = beta
    raise AssertionError("the last step is exhausted")


def unit(v: NDArray[Any]) -> NDArray[Any]:
    """Return v / ‖v‖, or zeros."""
    norm = _norm(v)
    direction: NDArray[Any] = v / v.dtype.type(norm) if norm > 0 else v
    return direction


def _orthogonal(p: NDArray[Any], to: NDArray[Any]) -> NDArray[Any]:
    """`p` without its part in the rows of `to`; twice, since once leaves rounding behind."""
    for _ in range(2):
        p = p - _product(to.T, _product(to, p))
    return p


def _product(A: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return A v."""
    product: NDArray[Any] = np.einsum("ij,j->i", A, v)
    return product


def _norm(A: NDArray[Any]) -> float:
    """Return the root of the sum of squares."""
    flat = A.ravel()
    return float(np.sqrt(np.einsum("i,i->", flat, flat)))
