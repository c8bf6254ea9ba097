"""Find implementations by looking, so that a new one is a new file and no edit elsewhere."""

import inspect
import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module that lies directly in a package.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    path : iterable of str
        The package's ``__path__``.
    """
    for module in pkgutil.iter_modules(path):
        import_module(f"{package}.{module.name}")


def concrete_subclasses(base: type[T]) -> dict[str, type[T]]:
    """Name and class of everything below `base` that has no abstract methods, sorted by name."""
    found: dict[str, type[T]] = {}
    pending = base.__subclasses__()
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return dict(sorted(found.items()))
