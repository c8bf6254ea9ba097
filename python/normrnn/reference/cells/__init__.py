"""The cells, one file per family. Every module in this package is imported: a new cell is a file.

CELLS goes from a cell's name to its class.
"""

from normrnn._registry import concrete_subclasses, import_modules
from normrnn.reference.cells.base import Cell

__all__ = ["CELLS", "Cell"]

import_modules(__name__, __path__)

_CLASSES = concrete_subclasses(Cell)  # type: ignore[type-abstract]
CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in _CLASSES.values()}
