"""Which penalties apply to which parameter, or to which gate of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from normrnn.penalties.base import ElementwisePenalty, Penalty, Prox
from normrnn.penalties.groups import GroupPenalty
from normrnn.penalties.matrix import MatrixPenalty

One: TypeAlias = Penalty | Prox
Some: TypeAlias = One | Sequence[One] | None
Params: TypeAlias = Mapping[str, NDArray[Any]]

GATES = {3: "rzn", 4: "ifgo"}
_GATE = re.compile(r"(.*)\[([a-z]|\*)\]")
_LAYER = re.compile(r"(?:weight|bias|gain)_(?:ih|hh)_(l\d+(?:_reverse)?)")
_SPARED = re.compile(r"(?<![A-Za-z])(bias|gain)(?=(?:e?s)?(?![A-Za-z]))")  # words, not "against"
_KINDS: tuple[tuple[type, str], ...] = (
    (ElementwisePenalty, "penalty of each weight"),
    (GroupPenalty, "penalty of groups"),
)


class Piece(NamedTuple):
    """A parameter, or the rows of one or more of its gates, with what applies to it.

    Attributes
    ----------
    name : str
        The parameter.
    rows : slice or None
        Rows of the piece, or None for all.
    terms : tuple of Penalty or Prox
        What applies, with numbers for strengths and the arrays of this parameter.
    source : str
        The pattern that it comes from; "" without one.
    """

    name: str
    rows: slice | None = None
    terms: tuple[One, ...] = ()
    source: str = ""


def resolve(penalty: Some | Mapping[str, Some], params: Params, step: int = 1) -> list[Piece]:
    """Say for each parameter which penalties it has.

    One penalty, or a list of them, applies to every parameter whose name has neither of the words
    "bias" and "gain" in it. A mapping goes from a pattern (as in fnmatch, case-sensitive) to one, a
    list or None: the first pattern that matches counts, and a pattern matches a bias or a gain only
    if the pattern itself has "bias" or "gain" in it. ``"weight_hh_l0[f]"`` is the rows of gate f
    alone (i f g o for the LSTM, r z n for the GRU), ``"weight_hh_l0[*]"`` each gate by itself; so
    for a bias or a gain that has a part for each gate.

    A list may hold one penalty of each weight, one of groups, and any number of whole matrices; at
    most one of them may be a `Prox` or a constraint.

    Parameters
    ----------
    penalty : Penalty, Prox, sequence, mapping or None
        As ``update`` takes it.
    params : mapping of str to ndarray
        All parameters.
    step : int
        The number of the update, counted from 1, for strengths that are functions of it.

    Returns
    -------
    list of Piece
        In the order of `params`; together they are all rows of all parameters.

    Raises
    ------
    TypeError
        If something else than a penalty, a sequence or a mapping is given.
    ValueError
        If a pattern matches no parameter, a centre is missing, or a list holds too much.

    Examples
    --------
    >>> import normrnn as nr
    >>> from normrnn.penalties import L1, L2, resolve
    >>> params = nr.init_params("lstm", 2, 4)
    >>> for piece in resolve({"*_hh_*[f]": L2(0.1), "weight_*": L1(0.2)}, params):
    ...     print(piece.name, piece.rows, [type(term).__name__ for term in piece.terms])
    weight_ih_l0 None ['L1']
    weight_hh_l0 slice(0, 4, None) ['L1']
    weight_hh_l0 slice(4, 8, None) ['L2']
    weight_hh_l0 slice(8, 16, None) ['L1']
    bias_ih_l0 None []
    bias_hh_l0 None []
    """
    if penalty is None:
        return [Piece(name) for name in params]
    if not isinstance(penalty, Mapping):
        terms = _terms("penalty", penalty, step)
        return [Piece(name, None, () if _exempt(name) else _bind(terms, name)) for name in params]
    rules = []
    for pattern, some in penalty.items():
        if not isinstance(pattern, str):
            raise TypeError(f"penalty: expected patterns of type str, got {type(pattern).__name__}")
        gate = _GATE.fullmatch(pattern)
        glob, label = (gate[1], gate[2]) if gate else (pattern, None)
        terms = _terms(f"penalty[{pattern!r}]", some, step)
        _check_match(pattern, glob, label, params)
        rules.append((pattern, glob, label, terms))
    return [_weighted(piece, params) for name in params for piece in _pieces(name, rules, params)]


def gates_of(name: str, params: Params) -> str:
    """Return the letters of the gates that a parameter's rows are stacked from, or "".

    Examples
    --------
    >>> import normrnn as nr
    >>> from normrnn.penalties.resolve import gates_of
    >>> gates_of("bias_hh_l0", nr.init_params("gru", 2, 4))
    'rzn'
    >>> params = nr.init_params("lstm_ln", 2, 4)
    >>> gates_of("gain_hh_l0", params), gates_of("gain_c_l0", params)
    ('ifgo', '')
    """
    layer = _LAYER.fullmatch(name)
    recurrent = params.get(f"weight_hh_{layer[1]}") if layer else None
    if recurrent is None or recurrent.ndim != 2 or not recurrent.shape[1]:
        return ""
    gates = GATES.get(recurrent.shape[0] // recurrent.shape[1], "")
    return gates if gates and params[name].shape[0] % len(gates) == 0 else ""


def _pieces(name: str, rules: Iterable[Any], params: Params) -> list[Piece]:
    matching = [rule for rule in rules if _matches(rule[1], name)]
    gates = gates_of(name, params)
    if all(label is None or not gates for _, _, label, _ in matching):
        whole = [rule for rule in matching if rule[2] is None]
        if not whole:
            return [Piece(name)]
        pattern, _, _, terms = whole[0]
        return [Piece(name, None, _bind(terms, name), pattern)]
    height = params[name].shape[0] // len(gates)
    pieces: list[Piece] = []
    for i, gate in enumerate(gates):
        first = next((r for r in matching if r[2] in (None, "*", gate)), ("", "", None, ()))
        pattern, _, label, terms = first
        rows = slice(i * height, (i + 1) * height)
        last = pieces[-1] if pieces else None
        if last is not None and last.rows is not None and label is None and last.source == pattern:
            rows = slice(last.rows.start, rows.stop)  # gates that a pattern takes together
            pieces.pop()
        pieces.append(Piece(name, rows, _bind(terms, name), pattern))
    return pieces if any(piece.terms for piece in pieces) else [Piece(name)]


def _weighted(piece: Piece, params: Params) -> Piece:
    """Give penalties of whole matrices the weight of the gate that the piece is."""
    if not any(isinstance(inner_of(term), MatrixPenalty) for term in piece.terms):
        return piece
    letters, gate, gates = gates_of(piece.name, params), 0, 1
    if letters and piece.rows is not None:
        height = len(params[piece.name]) // len(letters)
        if piece.rows.stop - piece.rows.start == height:
            gate, gates = piece.rows.start // height, len(letters)

    def own(term: One) -> One:
        penalty = inner_of(term)
        if not isinstance(penalty, MatrixPenalty):
            return term
        return with_inner(term, penalty.for_block(piece.name, gate, gates))

    return piece._replace(terms=tuple(map(own, piece.terms)))


def _spared_words(name: str) -> list[str]:
    return _SPARED.findall(name)


def _exempt(name: str) -> bool:
    return bool(_spared_words(name))


def _matches(glob: str, name: str) -> bool:
    return fnmatchcase(name, glob) and all(word in glob for word in _spared_words(name))


def _check_match(pattern: str, glob: str, label: str | None, params: Params) -> None:
    matched = [name for name in params if _matches(glob, name)]
    if not matched:
        raise ValueError(
            f"penalty: expected a pattern that matches one of {list(params)}, got {pattern!r}"
        )
    if label is None:
        return
    gates = sorted({gates_of(name, params) for name in matched} - {""})
    if not gates or (label != "*" and not any(label in one for one in gates)):
        expected = f"a gate of {', '.join(gates)}" if gates else "parameters that have gates"
        raise ValueError(f"penalty: expected {expected}, got {pattern!r}")


def _terms(argument: str, some: Some, step: int) -> tuple[One, ...]:
    if some is None:
        return ()
    given = as_list(some)
    for term in given:
        if not isinstance(term, Penalty | Prox):
            raise TypeError(f"{argument}: expected a penalty, got {type(term).__name__}")
    terms = tuple(with_inner(term, inner_of(term).at(step)) for term in given)
    if len(terms) == 1:
        return terms
    for kind, words in _KINDS:
        same = [type(inner_of(term)).__name__ for term in terms if _is(inner_of(term), kind)]
        if len(same) > 1:
            raise ValueError(f"{argument}: expected at most one {words}, got {' and '.join(same)}")
    proxes = [type(inner_of(term)).__name__ for term in terms if is_prox(term)]
    if len(proxes) > 1:
        raise ValueError(
            f"{argument}: expected at most one Prox or constraint, got {' and '.join(proxes)}"
        )
    return terms


def _is(penalty: Penalty, kind: type) -> bool:
    if isinstance(penalty, GroupPenalty) and penalty.elementwise() is not None:
        return True  # of both kinds
    return isinstance(penalty, kind)


def as_list(some: Some) -> list[Any]:
    """Return what a sequence holds, or a list of what is given alone."""
    if not hasattr(some, "__len__"):  # asking for a class takes 0.3 us more, at each update
        return [some]
    return list(some) if isinstance(some, Sequence) and not isinstance(some, str) else [some]


def inner_of(term: One) -> Penalty:
    """Return the penalty itself."""
    return term.penalty if isinstance(term, Prox) else term


def with_inner(term: One, penalty: Penalty) -> One:
    """Return the term with another penalty in place of its own."""
    return Prox(penalty) if isinstance(term, Prox) else penalty


def is_prox(term: One) -> bool:
    """Whether it acts after the rule's step."""
    return isinstance(term, Prox) or term.constraint


def _bind(terms: tuple[One, ...], name: str) -> tuple[One, ...]:
    return tuple(with_inner(term, inner_of(term).for_parameter(name)) for term in terms)
