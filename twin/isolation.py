"""Keeps dolfinx and Gmsh from each other's PETSc.

Where dolfinx finds Numba, its module `dolfinx.utils` loads PETSc's symbols into the whole process (for callbacks
that nobody here writes). Gmsh's wheel carries a PETSc of its own, which then meets the other's MPI and aborts in the
middle of a mesh. So Numba is not to be found while that module is imported; everyone else finds it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _Hidden(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "numba":
            asking = getattr(sys.modules.get("dolfinx.utils"), "__spec__", None)
            if getattr(asking, "_initializing", False):
                raise ModuleNotFoundError("numba is hidden from dolfinx.utils, see twin.isolation", name=name)


def isolate() -> None:
    """Hides Numba from `dolfinx.utils`; to be called before dolfinx is imported. Once is enough.

    A program that imports Numba itself must import twin before.
    """
    if not any(isinstance(finder, _Hidden) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hidden())
