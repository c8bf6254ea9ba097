"""The tables of `--groups norms`: cost against the step without, streaming, and PyTorch's time."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

from bench.norms import suite
from bench.norms.monitor import EVERY
from bench.norms.updates import SMALL, PenaltyPoint
from bench.tables import Entry, built_with, digits, measured_on, table, times

Tell = Callable[[Entry], str]
CELLS = {
    "rnn_tanh": "tanh",
    "rnn_relu": "ReLU",
    "gru": "GRU",
    "lstm": "LSTM",
    "indrnn_tanh": "IndRNN",
}
RULES = {"sgd": "SGD", "momentum": "momentum", "nesterov": "Nesterov"}
RULES |= {"adam": "Adam", "adamw": "AdamW"}
OMEGA = ("Omega", "Omega, squared")

# What is wanted: in words, of which rows, the highest cost or the lowest fraction of streaming.
TARGETS: list[tuple[str, Callable[[Entry], bool], str, float]] = [
    (
        "state penalties and `clip_state`",
        lambda e: e["group"] == "states" and option(e) not in ("nothing", *OMEGA),
        "cost",
        1.05,
    ),
    ("`Omega`", lambda e: option(e) in OMEGA, "cost", 1.25),
    ("dropout", lambda e: e["group"] == "dropout", "cost", 1.15),
    ("layer norm", lambda e: e["point"].get("cell", "").endswith("_ln"), "cost", 1.35),
    ("`Monitor`", lambda e: e["point"].get("every") == EVERY, "cost", 1.02),
    (
        "update, each weight",
        lambda e: e["group"] == "elementwise" and is_large(e),
        "fraction",
        0.92,
    ),
    ("update, groups", lambda e: e["group"] == "weight groups" and is_large(e), "fraction", 0.85),
]


def markdown(data: Entry) -> str:
    """Return all tables of the norms that a run has rows for, with the machine first."""
    rows = steadied([e for e in data["rows"] if e["group"] in suite.GROUPS and "cost" in e])
    groups = {name: [e for e in rows if e["group"] == name] for name in suite.GROUPS}
    parts = [measured_on(data), built_with(data), targets(rows)]
    for name, make in SECTIONS.items():
        if groups[name]:
            parts += make(groups[name])
    return "\n\n".join(part for part in parts if part)


def steadied(rows: Sequence[Entry]) -> list[Entry]:
    """Set each update's fraction of streaming anew, from its cost and its rule's plain updates.

    Bandwidth doubles and halves with what else is on the machine, faster than turns change. So a
    rule's plain fraction is the median over all rows of the rule, and a row's own is that times
    its bytes over the plain ones, divided by its cost, which neighbouring calls have told.
    """
    share: dict[int, float] = {}  # bytes over the plain update's, by place
    plain: dict[str, list[float]] = defaultdict(list)
    for k, entry in enumerate(rows):
        if entry.get("bandwidth"):
            point = PenaltyPoint(**entry["point"])
            share[k] = 1 + (point.more_arrays or 0) / point.arrays
            moved = entry["bytes"] / share[k]
            plain[point.rule].append(moved / plain_seconds(entry) / entry["bandwidth"])
    steady = list(rows)
    for k, ratio in share.items():
        usual = statistics.median(plain[rows[k]["point"]["rule"]])
        steady[k] = rows[k] | {"fraction": usual * ratio / number(rows[k], "cost")}
    return steady


def option(entry: Entry) -> str:
    """Return what the row is about."""
    told: str = entry["point"].get("option", "")
    return told


def is_large(entry: Entry) -> bool:
    """Whether an update's arrays are larger than what the second cache holds."""
    return (entry["point"]["rows"], entry["point"]["columns"]) != SMALL


def targets(rows: Sequence[Entry]) -> str:
    """Tabulate how many rows keep within what is wanted, and the farthest from it."""
    lines = [["", "wanted", "rows within", "median", "farthest", "where"]]
    for name, belongs, metric, bound in TARGETS:
        some = [e for e in rows if belongs(e) and metric in e]
        if not some:
            continue
        values = [number(e, metric) for e in some]
        worst = max(values) if metric == "cost" else min(values)
        tell = times if metric == "cost" else "{:.0%}".format
        within = sum(keeps(value, metric, bound) for value in values)
        where = some[values.index(worst)]["title"]
        wanted = f"at {'most' if metric == 'cost' else 'least'} {tell(bound)}"
        median = tell(statistics.median(values))
        lines.append([name, wanted, f"{within} of {len(some)}", median, tell(worst), where])
    nothing = [number(e, "cost") for e in rows if option(e) == "nothing"]
    noise = (
        f"\n\nThe same step twice, as a measure of the noise: {min(nothing):.2f} to "
        f"{max(nothing):.2f}, median {statistics.median(nothing):.2f}."
    )
    return table(lines) + (noise if nothing else "")


def number(entry: Entry, metric: str) -> float:
    """Return the cost (a median) or the fraction of streaming."""
    value: float = entry["cost"]["median"] if metric == "cost" else entry[metric]
    return value


def keeps(value: float, metric: str, bound: float) -> bool:
    """Whether a figure, as it is told, is what is wanted."""
    return round(value, 2) <= bound if metric == "cost" else round(value, 2) >= bound


def told(metric: str) -> Tell:
    """Return how a figure stands in a table: bold where it is not what is wanted."""

    def tell(entry: Entry) -> str:
        if metric not in entry:
            return "—"
        value = number(entry, metric)
        text = times(value) if metric == "cost" else f"{value:.0%}"
        bounds = [b for _, belongs, m, b in TARGETS if m == metric and belongs(entry)]
        return text if all(keeps(value, metric, b) for b in bounds) else f"**{text}**"

    return tell


def of_peer(name: str) -> Tell:
    return lambda entry: times(entry.get("ratios", {}).get(name, float("nan")))


def plain_seconds(entry: Entry) -> float:
    seconds: float = entry["beside"]["median"]
    return seconds


def plain_ms(entry: Entry) -> str:
    return digits(1e3 * plain_seconds(entry))


def pivot(
    rows: Sequence[Entry], line: Tell, column: Tell, tell: Tell, *, with_plain: bool = False
) -> str:
    """Tabulate; rows that share a place stand there side by side, in their order.

    `with_plain` puts the step without into the first line: the least of a column's medians.
    """
    if not rows:
        return ""
    columns = list(dict.fromkeys(map(column, rows)))
    places: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in rows:
        places[line(entry), column(entry)].append(entry)
    lines = [["", *columns]]
    if with_plain:
        own = [[some for (_, c), some in places.items() if c == one] for one in columns]
        least = [[min(each, key=plain_seconds) for each in zip(*one, strict=False)] for one in own]
        lines.append(["without, ms", *(" / ".join(map(plain_ms, some)) for some in least)])
    for name in dict.fromkeys(map(line, rows)):
        some = [places.get((name, c), []) for c in columns]
        lines.append([name, *(" / ".join(map(tell, each)) or "" for each in some)])
    return table(lines)


def both(rows: Sequence[Entry], line: Tell, column: Tell) -> list[str]:
    """Tabulate cost and PyTorch's time."""
    return [
        pivot(rows, line, column, told("cost"), with_plain=True),
        "PyTorch's time over normrnn's:",
        pivot(rows, line, column, of_peer("torch")),
    ]


def code(entry: Entry) -> str:
    return f"`{option(entry)}`"


def cell(entry: Entry) -> str:
    name: str = entry["point"]["cell"]
    return name


def called(entry: Entry) -> str:
    return CELLS[cell(entry)]


def rule(entry: Entry) -> str:
    return RULES[entry["point"]["rule"]]


def states(rows: Sequence[Entry]) -> list[str]:
    note = "Forward + backward over the step without, with 128 / 256 units."
    return ["### State penalties", note, *both(rows, code, called)]


def dropout(rows: Sequence[Entry]) -> list[str]:
    note = (
        "The same; probabilities 0.3. `variational` is input, state and output, each with one "
        "mask a sequence."
    )
    return ["### Dropout", note, *both(rows, code, called)]


def layer_norm(rows: Sequence[Entry]) -> list[str]:
    note = (
        "Over the plain cell, with 128 / 256 units. IndRNN, which has no product with W_hh, is "
        "measured against the Elman cell."
    )
    columns: dict[str, Tell] = {
        "without, ms": plain_ms,
        "cost": told("cost"),
        "× torch": of_peer("torch"),
    }
    batches = list(dict.fromkeys(e["point"]["batch"] for e in rows))
    lines = [["", *(f"{name}, B = {b}" for b in batches for name in columns)]]
    for name in dict.fromkeys(map(cell, rows)):
        own = [[e for e in rows if cell(e) == name and e["point"]["batch"] == b] for b in batches]
        figures = [" / ".join(map(tell, some)) for some in own for tell in columns.values()]
        lines.append([f"`{name}`", *figures])
    return ["### Layer norm and IndRNN", note, table(lines)]


def elementwise(rows: Sequence[Entry]) -> list[str]:
    return [
        "### Penalties of each weight",
        "An update of 2048² weights, as a fraction of streaming: of the bytes that must move, at "
        "the bandwidth measured between the turns. The plain update's is the median over all rows "
        "of its rule; the others' follow from it by their bytes and cost.",
        pivot([e for e in rows if is_large(e)], code, rule, told("fraction")),
        "Over the plain update, of 2048² / 512 × 128 weights:",
        *both(rows, code, rule),
    ]


def clips(rows: Sequence[Entry]) -> list[str]:
    note = "Over the plain update, of 2048² / 512 × 128 weights."
    return ["### Clipped gradients", note, *both(rows, code, rule)]


def groups(rows: Sequence[Entry]) -> list[str]:
    large = [e for e in rows if is_large(e)]
    return [
        "### Groups of weights",
        "4.2 million weights: 2048², or 4096 × 1024 for gates and outgoing columns, these with a "
        "head of 128 rows. As a fraction of streaming:",
        pivot(large, code, rule, told("fraction")),
        "Over the plain update, of these / of 512 × 128 weights, which the second cache holds:",
        *both(rows, code, rule),
    ]


def matrices(rows: Sequence[Entry]) -> list[str]:
    columns: dict[str, Tell] = {
        "ms": lambda e: digits(1e3 * e["results"]["normrnn"]["median"]),
        "× torch": of_peer("torch"),
        "× parametrization": of_peer("torch-parametrized"),
    }
    names = list(dict.fromkeys(map(code, rows)))
    lines = [["", *columns]]
    for name in names:
        some = [e for e in rows if code(e) == name]
        lines.append([name, *(" / ".join(map(tell, some)) for tell in columns.values())])
    note = (
        "An update with SGD of 512² / 128² weights. PyTorch's parametrizations are another remedy "
        "for the same ill: `orthogonal` beside `SoftOrthogonality`, `spectral_norm` beside the two "
        "of σ₁."
    )
    return ["### Penalties of matrices", note, table(lines)]


def monitor(rows: Sequence[Entry]) -> list[str]:
    lines = [["recorded", "of", "an update without, ms", "cost", "a sample, ms", "× torch"]]
    for entry in rows:
        plain = plain_seconds(entry)
        sample = plain * (entry["cost"]["median"] - 1)
        figures = [digits(1e3 * plain / entry["point"]["steps"]), told("cost")(entry)]
        figures.append(f"{1e3 * sample:.1f}")
        what = entry["title"].partition(", ")[2]
        lines.append([what, called(entry), *figures, of_peer("torch")(entry)])
    note = (
        "Training with Adam at T 100, B 32, I 64, H 128, with `Monitor` over the same without, in "
        "blocks of updates that begin with a sample. PyTorch's hooks see neither gates nor the "
        "gradients of steps."
    )
    return ["### Monitor", note, table(lines)]


SECTIONS: dict[str, Callable[[Sequence[Entry]], list[str]]] = {
    "states": states,
    "dropout": dropout,
    "layer norm": layer_norm,
    "elementwise": elementwise,
    "clips": clips,
    "weight groups": groups,
    "matrices": matrices,
    "monitor": monitor,
}
