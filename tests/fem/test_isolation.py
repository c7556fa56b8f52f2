"""PETSc's symbols stay where they are wanted: Gmsh's wheel brings a PETSc of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.field

_LOOK = """
import ctypes, sys
{first}
import dolfinx.fem.petsc
try:
    import dolfinx.utils
except ImportError:
    pass  # since 0.10 it is a part of dolfinx.fem.petsc
import numba
print(hasattr(ctypes.CDLL(None), "PetscInitialize"), numba.__version__ == sys.modules["numba"].__version__)
"""


@pytest.mark.parametrize("first", ["import twin.fem._compat", "import numba; import twin.fem._compat"])
def test_petsc_is_not_loaded_for_everyone(first):
    done = subprocess.run([sys.executable, "-c", _LOOK.format(first=first)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
