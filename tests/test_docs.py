"""Every example in the documentation runs, and gives what it says."""

import doctest
import importlib
import pkgutil
import re
from functools import partial
from inspect import isfunction
from pathlib import Path

import pytest

import normrnn

MODULES = ["normrnn"] + [
    module.name
    for module in pkgutil.walk_packages(normrnn.__path__, "normrnn.")
    if not module.name.endswith("__main__")
]
ROOT = Path(__file__).parents[1]
# Every page with Python in it; the blocks of a page run one after the other, in one namespace.
PAGES = {
    page.relative_to(ROOT).as_posix(): blocks
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    if (blocks := re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M))
}


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_what_users_call_has_an_example() -> None:
    called = [getattr(normrnn, name) for name in normrnn.__all__]
    for module in (normrnn.device, normrnn.diagnostics, normrnn.plots, normrnn.selection):
        # Their classes are what their functions return.
        called += filter(isfunction, map(partial(getattr, module), module.__all__))
    for public in called:
        if callable(public):
            assert ">>>" in public.__doc__, public


@pytest.mark.parametrize("page", PAGES)
def test_pages(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    namespace: dict[str, object] = {}
    for block in PAGES[page]:
        exec(compile(block, page, "exec"), namespace)


def test_the_readme_has_an_example() -> None:
    assert "README.md" in PAGES
