"""Every example in the documentation runs, and gives what it says."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import normrnn

MODULES = ["normrnn"] + [
    module.name
    for module in pkgutil.walk_packages(normrnn.__path__, "normrnn.")
    if not module.name.endswith("__main__")
]
README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_what_users_call_has_an_example() -> None:
    for name in normrnn.__all__:
        public = getattr(normrnn, name)
        if callable(public):
            assert ">>>" in public.__doc__, name


@pytest.mark.parametrize("code", BLOCKS)
def test_readme(code: str) -> None:
    exec(compile(code, str(README), "exec"), {})
