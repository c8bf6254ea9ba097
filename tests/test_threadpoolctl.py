"""threadpoolctl sees the pool and limits it; and how many threads there are without it."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy.random
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import normrnn as nr
from normrnn import _core
from runs import run_python


@pytest.fixture(autouse=True)
def five_threads() -> Iterator[None]:
    before = nr.get_num_threads()
    nr.set_num_threads(5)
    yield
    nr.set_num_threads(before)


def entries(user_api: str) -> list[dict[str, Any]]:
    return [entry for entry in threadpool_info() if entry["user_api"] == user_api]


def test_info() -> None:
    assert entries("normrnn") == [
        {
            "user_api": "normrnn",
            "internal_api": "normrnn",
            "num_threads": 5,
            "prefix": "_core",
            "filepath": os.path.realpath(_core.__file__),
            "version": version("normrnn"),
        }
    ]


@pytest.mark.parametrize("limits", [1, {"normrnn": 1}])
def test_limits(limits: Any) -> None:
    with threadpool_limits(limits=limits):
        assert nr.get_num_threads() == entries("normrnn")[0]["num_threads"] == 1
        with threadpool_limits(limits=3):
            assert nr.get_num_threads() == 3
        assert nr.get_num_threads() == 1
    assert nr.get_num_threads() == 5


def test_limits_for_others_and_for_normrnn_alone() -> None:
    others = [entry for entry in threadpool_info() if entry["user_api"] != "normrnn"]
    assert others, "NumPy brings a BLAS, and torch an OpenMP"
    for user_api in {entry["user_api"] for entry in others}:
        with threadpool_limits(limits=1, user_api=user_api):
            assert nr.get_num_threads() == 5
    with threadpool_limits(limits=1, user_api="normrnn"):
        assert nr.get_num_threads() == 1
        assert [entry for entry in threadpool_info() if entry["user_api"] != "normrnn"] == others


def test_a_limit_that_is_none() -> None:
    with pytest.raises(ValueError, match="count: expected an integer from 1 to 1024, got 0"):
        threadpool_limits(limits={"normrnn": 0})


def test_a_limit_above_ours() -> None:
    with threadpool_limits(limits=5000):  # must not keep other libraries from being limited
        assert nr.get_num_threads() == 1024


def test_another_library_of_the_same_name(tmp_path: Path) -> None:
    other = tmp_path / "_core.so"
    shutil.copy(numpy.random._mt19937.__file__, other)
    loaded = ctypes.CDLL(str(other))
    assert [e["filepath"] for e in entries("normrnn")] == [os.path.realpath(_core.__file__)]
    assert loaded._name == str(other)


HELD = """
import os, sys
{imports}
params = nr.init_params("lstm", 64, 256)
x = np.ones((4, 64, 64), np.float32)

def new_threads():
    before = len(os.listdir("/proc/self/task"))
    nr.forward("lstm", x, params)
    return len(os.listdir("/proc/self/task")) - before

nr.set_num_threads(4)
with threadpoolctl.threadpool_limits(limits=1):
    assert new_threads() == 0
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        os._exit(nr.get_num_threads() != 1 or new_threads() != 0)
assert new_threads() == 3
"""


IMPORTS = ["import numpy as np, normrnn as nr", "import threadpoolctl"]


@pytest.mark.parametrize("imports", [IMPORTS, IMPORTS[::-1]], ids=["first", "last"])
def test_the_limit_holds_for_calls_and_in_a_child(imports: list[str]) -> None:
    run_python("-W", "ignore", "-c", HELD.format(imports="\n".join(imports)))


def test_without_threadpoolctl() -> None:
    code = "import sys; sys.modules['threadpoolctl'] = None; import normrnn as nr; "
    assert run_python("-c", code + "print(nr.get_num_threads() > 0)") == "True\n"


ON_ONE_CPU = """
import os
os.environ.pop("NORMRNN_NUM_THREADS", None)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import normrnn as nr
print(nr.get_num_threads())
"""


def test_default_is_what_the_affinity_allows() -> None:
    """cpp/tests/test_cgroup.cpp has the control groups."""
    assert run_python("-c", ON_ONE_CPU) == "1\n"
