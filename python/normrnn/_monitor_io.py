"""Arrays in an npz file that is whole or not there, and never runs code when read."""

from __future__ import annotations

import os
import zipfile
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
    """Read the arrays of a monitor's file; ValueError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if set(file.files) == NAMES:
                return {name: file[name] for name in file.files}
            got = f"arrays named {sorted(file.files)}"
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        got = str(error)
    raise ValueError(f"{path}: expected a file that Monitor.save wrote, got {got}")
