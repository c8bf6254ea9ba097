"""Dropout, dropped weights and zoneout: what a training step leaves out at random."""

from dataclasses import dataclass, fields

from normrnn._numbers import check_fields, flag, fraction

__all__ = ["Dropout"]


@dataclass(frozen=True)
class Dropout:
    r"""Probabilities of being dropped, for ``forward(..., dropout=, seed=)``; 0 by default.

    With D a mask of its own for each kind, layer and direction, whose elements are 1/(1 - p) with
    probability 1 - p and 0 with probability p,

    ========= =========================================================================
    input     x_t becomes D x_t
    output    y_t = D h_t; the state h_t stays what it is
    between   a layer's h_t becomes D h_t on its way to the layer above
    state     h_{t-1} becomes D h_{t-1} in the product with W_hh, for all gates
    candidate g becomes D g in the LSTM (c' = f c + i D g), n becomes D n in the GRU
    weight    W_hh becomes D W_hh, for all steps and sequences of the call
    zoneout_h h_t = h_{t-1} where dropped, with probability p, else the new state
    zoneout_c the same for the LSTM's c; the new h is of the new c in either case
    ========= =========================================================================

    Both directions read one masked input: `input` has one mask for the two, `between` one for each
    direction below. Input, output, between and candidate draw a mask for each step, unless
    `per_sequence`; state has one for each sequence, zoneout one for each step. Gradients are exact
    for the masks drawn.

    Between the layers of a network with one there is nothing, and `between` does nothing, so that a
    search over depths may keep it; a candidate or a c that the cell does not have is an error.

    Which to use: `input`, `between` and `output` are the plain ones, to begin with; they leave the
    recurrence alone. With `per_sequence` and `state` together they are Gal and Ghahramani's
    variational dropout. For the recurrence itself take one of these: `candidate`, which never
    erases what an LSTM or GRU has stored; `weight`, as in language models (AWD-LSTM); `zoneout_h`
    and `zoneout_c`, small numbers such as 0.05 and 0.5, which carry state and gradient over
    more steps. A mask on `state` that changed from step to step would wipe out memory; hence one
    for each sequence.

    Parameters
    ----------
    input, output, between, state, candidate, weight, zoneout_h, zoneout_c : float
        Each in [0, 1). Taken in steps of 2**-16, and what is kept is scaled by the p so rounded.
    per_sequence : bool
        Whether input, output, between and candidate have one mask for all steps of a sequence.

    Raises
    ------
    TypeError, ValueError
        If a probability is not a number in [0, 1), or per_sequence not a bool.

    Notes
    -----
    Masks follow from the call's seed and, element by element, from the kind, layer, direction,
    place in the batch, time and column alone (Philox4x32-10): not from the number of threads, the
    CPU, the dtype or the other sequences.

    References
    ----------
    input, between, output: Zaremba, Sutskever & Vinyals, arXiv:1409.2329. state, per_sequence: Gal
    & Ghahramani, arXiv:1512.05287. candidate: Semeniuta, Severyn & Barth, arXiv:1603.05118. weight:
    Wan et al., ICML 2013; Merity, Keskar & Socher, arXiv:1708.02182. zoneout: Krueger et al.,
    arXiv:1606.01305. Philox: Salmon, Moraes, Dror & Shaw, SC 2011.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("rnn_tanh", input_size=3, hidden_size=4)
    >>> x = np.ones((2, 1, 3), np.float32)
    >>> y = nr.forward("rnn_tanh", x, params, dropout=nr.Dropout(output=0.5), seed=1).y
    >>> plain = nr.forward("rnn_tanh", x, params).y
    >>> np.rint(y / plain).astype(int).tolist()
    [[[2, 0, 0, 0]], [[0, 0, 0, 0]]]
    """

    input: float = 0.0
    output: float = 0.0
    between: float = 0.0
    state: float = 0.0
    candidate: float = 0.0
    weight: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    per_sequence: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        names = [field.name for field in fields(self) if field.name != "per_sequence"]
        check_fields(self, **dict.fromkeys(names, fraction), per_sequence=flag)
