"""Keeps dolfinx and Gmsh from each other's PETSc.

Where dolfinx finds Numba, its module `dolfinx.utils`, since 0.10 `dolfinx.fem.petsc`, loads PETSc's symbols into the
whole process (for callbacks that nobody here writes). Gmsh's wheel carries a PETSc of its own, which then meets the
other's MPI and aborts in the middle of a mesh. So Numba is not to be found while that module is imported; everyone
else finds it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

#: The modules of dolfinx that do so: of 0.9, and since 0.10.
_LOADERS = ("dolfinx.utils", "dolfinx.fem.petsc")


class _Hidden(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in _LOADERS else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def without_numba(module: ModuleType) -> None:
            found = sys.modules.get("numba")  # since 0.11 ffcx has imported it before
            sys.modules["numba"] = None  # type: ignore[assignment]  # the import system's word for: not to be found
            try:
                run(module)
            finally:
                del sys.modules["numba"]
                if found is not None:
                    sys.modules["numba"] = found

        spec.loader.exec_module = without_numba  # type: ignore[method-assign]
        return spec


def isolate() -> None:
    """Hides Numba from what loads PETSc with it; to be called before dolfinx is imported. Once is enough."""
    if not any(isinstance(finder, _Hidden) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hidden())
