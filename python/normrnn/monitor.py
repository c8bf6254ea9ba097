"""What training looks like from inside, recorded as it runs."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._monitor_io import Columns, other_file, read_arrays, write_arrays
from normrnn._numbers import flag, integer
from normrnn._quantities import QUANTITIES, Moment
from normrnn.results import Gradients, UpdateInfo

__all__ = ["Monitor", "Problem"]

EACH_STEP = ("loss", "info")
SAMPLED = ("weight_l2", "weight_sigma", "grad_l2", "flow", "saturation", "silent")
LAST = 2**63 - 1


@dataclass(frozen=True)
class Problem:
    """A quantity that could not be recorded: when first, how often, and why the last time."""

    step: int
    count: int
    message: str


class Monitor:
    """Record norms, gradient flow and saturation during training.

    What is cheap is recorded at every call, what is not at every n-th: with these defaults that is
    less than 2 % of the time of training steps of an LSTM with 128 units (docs/diagnostics.md).

    A call of `record` does not fail: a training run is worth more than its record. A quantity that
    cannot be computed is NaN for this step, is warned of (RuntimeWarning, the first time) and is
    listed in `problems`.

    Parameters
    ----------
    every : int
        Calls from one sample of the dearer quantities to the next; the first call is one.
    each_step, sampled : iterable of str
        What to record at each call and at every n-th. Any of

        - ``"loss"``, and ``"info"``: each number in `normrnn.UpdateInfo`;
        - ``"weight_l2"``, ``"weight_zeros"``: of every parameter and gate;
        - ``"weight_sigma"``, ``"weight_radius"``: σ₁ of every weight_hh as a whole, and the
          spectral radius of its gates;
        - ``"grad_l2"``, ``"flow"``: norms of the parameters' gradients, and rate and reach of
          `normrnn.diagnostics.gradient_flow`;
        - ``"saturation"``, ``"silent"``: of every gate, and the fraction of silent units.
    strict : bool
        Whether `record` raises instead of warning; for tests.

    Attributes
    ----------
    problems : dict of str to Problem
        By quantity.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, x = nr.init_params("gru", 3, 8), np.ones((20, 2, 3), np.float32)
    >>> monitor = nr.Monitor(every=10)
    >>> for step in range(30):
    ...     out = nr.forward("gru", x, params)
    ...     loss, dy = nr.squared_error(out.y, np.zeros_like(out.y), reduction="mean")
    ...     grads = nr.backward(out.tape, dy)
    ...     info = nr.update(params, grads.params, rule=nr.SGD(lr=0.1))
    ...     monitor.record(step, params=params, grads=grads, info=info, tape=out.tape, loss=loss)
    >>> history = monitor.history
    >>> history["grad_norm"].shape, history["sampled_step"].tolist()
    ((30,), [0, 10, 20])
    >>> [name for name in history if name.startswith("saturation_high")]
    ['saturation_high/l0[r]', 'saturation_high/l0[z]', 'saturation_high/l0[n]']
    """

    def __init__(
        self,
        *,
        every: int = 100,
        each_step: Iterable[str] = EACH_STEP,
        sampled: Iterable[str] = SAMPLED,
        strict: bool = False,
    ) -> None:
        self.every = integer("every", every, 1)
        self.each_step = _quantities("each_step", each_step)
        self.sampled = _quantities("sampled", sampled)
        for name in self.sampled:
            if name in self.each_step:
                raise ValueError(f"sampled: expected none of each_step, got {name!r}")
        self.strict = flag("strict", strict)
        self.problems: dict[str, Problem] = {}
        self._each, self._samples = Columns(), Columns()
        self._rows = (0, 0)  # of both; together, so that no interrupt comes between them
        self._vectors: dict[str, NDArray[np.float64]] = {}  # singular ones, to start from

    def record(
        self,
        step: int,
        *,
        params: Mapping[str, NDArray[Any]] | None = None,
        grads: Gradients | None = None,
        info: UpdateInfo | None = None,
        tape: object = None,
        loss: float | None = None,
    ) -> None:
        """Record a training step; what is left out is not recorded.

        Parameters
        ----------
        step : int
            Its number, as it is to stand in the history.
        params : mapping of str to ndarray, optional
            The parameters, as they are now.
        grads : Gradients, optional
            What `normrnn.backward` returned.
        info : UpdateInfo, optional
            What `normrnn.update` returned.
        tape : Tape, optional
            ``out.tape`` of `normrnn.forward`.
        loss : float, optional
            The loss.
        """
        try:
            number = integer("step", step, 0)
            if number > LAST:
                raise ValueError(f"step: expected an integer below 2**63, got {number}")
        except (TypeError, ValueError) as error:
            number = -1
            self._report("step", number, error, depth=3)
        moment = Moment(params, grads, info, tape, loss, self._vectors)
        each, samples = self._rows
        due = each % self.every == 0
        values = self._values(self.each_step, moment, number)
        if due:
            self._samples.put(samples, number, self._values(self.sampled, moment, number))
        self._each.put(each, number, values)
        self._rows = (each + 1, samples + due)

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """Everything recorded, by name; NaN where there was nothing to record.

        ``"step"`` [N] and the numbers of each step [N], then ``"sampled_step"`` [M] and the sampled
        numbers [M]. The arrays are copies.
        """
        each, samples = self._arrays()
        return each | {"sampled_step": samples.pop("step")} | samples

    def steps_of(self, name: str) -> NDArray[np.int64]:
        """Return the steps at which the numbers ``history[name]`` were recorded."""
        for table, rows in zip((self._each, self._samples), self._rows, strict=True):
            if name in table.columns:
                return np.array(table.steps[:rows], np.int64)
        raise ValueError(f"name: expected one in the history, got {name!r}")

    def table(self) -> NDArray[Any]:
        """Return the history as one structured array with a row for each call of `record`.

        Sampled numbers are NaN in between. ``np.savetxt`` writes it, ``pandas.DataFrame`` takes it.
        """
        each, samples = self._arrays()
        del samples["step"]
        kinds = [(name, column.dtype) for name, column in (each | samples).items()]
        table = np.empty(len(each["step"]), dtype=kinds)
        for name, values in each.items():
            table[name] = values
        for name, values in samples.items():
            table[name] = math.nan
            table[name][:: self.every] = values
        return table

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to an npz file, without pickle; the file is whole or not there."""
        settings = {
            "format": 1,
            "every": self.every,
            "each_step": self.each_step,
            "sampled": self.sampled,
            "problems": {name: vars(p) for name, p in self.problems.items()},
        }
        arrays = {"settings": np.array(json.dumps(settings))}
        for kind, found in zip(("each", "sampled"), self._arrays(), strict=True):
            steps = arrays[f"{kind}_step"] = found.pop("step")
            arrays[f"{kind}_names"] = np.array(list(found), dtype=np.str_)
            values = list(found.values())
            arrays[f"{kind}_values"] = np.array(values).reshape(len(values), len(steps))
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | PathLike[str], *, strict: bool = False) -> Monitor:
        """Read what `save` wrote; recording goes on where it ended.

        Parameters
        ----------
        path : str or path-like
            The file.
        strict : bool
            As for `Monitor`; the file does not say.

        Raises
        ------
        OSError
            If there is no such file, or it may not be read.
        ValueError
            If the file is something else, or damaged.
        """
        strict = flag("strict", strict)
        arrays = read_arrays(path)
        try:
            settings = json.loads(str(arrays["settings"]))
            version = settings.get("format")
            monitor = cls._of(settings, arrays) if version == 1 else None
        except Exception as error:
            raise other_file(path, f"{type(error).__name__}: {error}") from error
        if monitor is None:
            raise ValueError(f"{path}: expected format 1, got {version!r}")
        monitor.strict = strict
        return monitor

    @classmethod
    def _of(cls, settings: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Monitor:
        names = ("every", "each_step", "sampled")
        monitor = cls(**{name: settings[name] for name in names})
        monitor.problems = {name: Problem(**p) for name, p in settings["problems"].items()}
        for kind, columns in (("each", monitor._each), ("sampled", monitor._samples)):
            columns.fill(*(arrays[f"{kind}_{part}"] for part in ("step", "names", "values")))
        monitor._rows = (len(monitor._each.steps), len(monitor._samples.steps))
        return monitor

    def _arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        each, samples = self._rows
        return self._each.arrays(each), self._samples.arrays(samples)

    def _values(self, names: Iterable[str], moment: Moment, step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        for name in names:
            try:
                values |= QUANTITIES[name](moment)
            except Exception as error:
                self._report(name, step, error)
        return values

    def _report(self, name: str, step: int, error: Exception, depth: int = 4) -> None:
        if self.strict:
            raise error
        known = self.problems.get(name)
        message = f"{type(error).__name__}: {error}"
        if known is None:
            self.problems[name] = Problem(step, 1, message)
            text = f"Monitor: {name!r} could not be recorded at step {step}: {message}"
            warnings.warn(text, RuntimeWarning, stacklevel=depth)
        else:
            self.problems[name] = Problem(known.step, known.count + 1, message)


def _quantities(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument}: expected names, got {type(names).__name__}")
    found = tuple(names)
    for name in found:
        if name not in QUANTITIES:
            raise ValueError(f"{argument}: expected some of {list(QUANTITIES)}, got {name!r}")
    return found
