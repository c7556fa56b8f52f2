"""The mark of tests that need OpenFOAM."""

import pytest

from twin.errors import TwinError
from twin.verification import openfoam_tools


def _present() -> bool:
    try:
        openfoam_tools.environment()
    except TwinError:
        return False
    return True


needs_openfoam = pytest.mark.skipif(not _present(), reason="there is no OpenFOAM here")
