"""Threads, and what this build of the core has."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from normrnn import _core

__all__ = ["get_num_threads", "set_num_threads", "show_config"]


def get_num_threads() -> int:
    """Return the number of threads that calls use by default.

    At first the environment variable NORMRNN_NUM_THREADS, else the number of CPUs that the
    process's affinity and control groups allow.

    Examples
    --------
    >>> import normrnn as nr
    >>> nr.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(count: int) -> None:
    """Set the number of threads that calls use by default, 1 to 1024.

    Results are bitwise the same for any number; penalties of whole matrices have NumPy's threads,
    not these. The setting is the whole process's; a call's own
    ``num_threads`` goes before it. ``threadpoolctl.threadpool_limits`` sets it too, where
    threadpoolctl 3.2 or later is installed: ``limits=1``, or ``limits={"normrnn": 1}`` for
    normrnn alone.

    Examples
    --------
    >>> import normrnn as nr
    >>> before = nr.get_num_threads()
    >>> nr.set_num_threads(1)
    >>> nr.get_num_threads()
    1
    >>> nr.set_num_threads(before)
    """
    _core.set_num_threads(count)


def show_config() -> None:
    """Print version, compiler, targets built and in use, threads and CUDA.

    Examples
    --------
    >>> import normrnn as nr
    >>> nr.show_config()  # doctest: +ELLIPSIS
    normrnn         ...
    """
    config = _core.config()
    rows = {
        "normrnn": version("normrnn"),
        "numpy": np.__version__,
        "compiler": config["compiler"],
        "targets built": ", ".join(config["targets_built"]),
        "targets usable": ", ".join(config["targets_usable"]),
        "target in use": config["target"],
        "threads": str(config["num_threads"]),
        "CUDA": _cuda() if config["cuda"] else "not built",
    }
    for key, value in rows.items():
        print(f"{key:<16}{value}")


def _cuda() -> str:
    names = [f"cuda:{i} {_core.device_name(i)}" for i in range(_core.device_count())]
    return f"built; {', '.join(names) or 'no device'}"
