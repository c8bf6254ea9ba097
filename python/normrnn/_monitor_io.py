"""How a monitor keeps its numbers: columns in memory, and an npz file.

The file is whole or not there, and reading it never runs code.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"settings"} | {
    f"{k}_{n}" for k in ("each", "sampled") for n in ("step", "names", "values")
}


def write_arrays(path: str | PathLike[str], arrays: dict[str, NDArray[Any]]) -> None:
    """Write to a temporary file in the same folder, then rename it."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself, too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_arrays(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a monitor's file; ValueError for any other file, or a damaged one."""
    with Path(path).open("rb") as raw:  # an OSError from here is about the path
        try:
            with np.load(raw, allow_pickle=False) as file:
                if set(file.files) == NAMES:
                    return {name: file[name] for name in file.files}
                got = f"arrays named {sorted(file.files)}"
        except Exception as error:  # zipfile, zlib and NumPy raise of many kinds for damaged bytes
            got = f"{type(error).__name__}: {error}"
    raise other_file(path, got)


def other_file(path: str | PathLike[str], got: object) -> ValueError:
    """Make the error for a file that is something else."""
    return ValueError(f"{path}: expected a file that Monitor.save wrote, got {got}")


class Columns:
    """Numbers by name, one for each step, NaN where there was none.

    Its owner knows how many rows there are. What lies behind them is of a `put` that was
    interrupted, and the next one writes over it.
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.columns: dict[str, array[float]] = {}

    def put(self, row: int, step: int, values: Mapping[str, float]) -> None:
        """Write a row; all before it are there."""
        for name in values:
            if name not in self.columns:
                self.columns[name] = array("d", [math.nan]) * row
        for name, column in self.columns.items():
            value = values.get(name, math.nan)
            if len(column) == row:
                column.append(value)
            else:
                column[row] = value
        self.steps[row:] = array("q", [step])

    def fill(self, steps: NDArray[Any], names: NDArray[Any], values: NDArray[Any]) -> None:
        """Take in what a file has of all rows: steps [N], names [K] and values [K, N]."""
        if values.shape != (len(names), len(steps)):
            raise ValueError(f"values of shape {values.shape} for {len(names)}, {len(steps)}")
        self.steps = array("q", steps.tolist())
        for name, column in zip(names.tolist(), values, strict=True):
            self.columns[name] = array("d", column.tolist())

    def arrays(self, rows: int) -> dict[str, NDArray[Any]]:
        """Return the first rows of all columns."""
        found: dict[str, NDArray[Any]] = {"step": np.array(self.steps[:rows], np.int64)}
        return found | {name: np.array(c[:rows], np.float64) for name, c in self.columns.items()}
