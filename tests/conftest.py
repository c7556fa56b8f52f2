"""What all tests share: the slow ones run by request only, those of the field half where dolfinx is installed.

A test module of the field half says `pytestmark = pytest.mark.field` at its top level. Where dolfinx is missing such a
module is not even imported, so it may import dolfinx at its top. A single test may carry `@pytest.mark.field`, too.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import twin

HAS_DOLFINX = find_spec("dolfinx") is not None
FIELD_MODULE = re.compile(r"^pytestmark\b[^\n]*=[^#]*?\bmark\.field\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", dest="slow", help="the slow verification as well")


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.option.markexpr
    named = any("::" in argument for argument in config.args)
    if not (config.option.slow or named or "slow" in wanted):
        config.option.markexpr = f"({wanted}) and not slow" if wanted else "not slow"


def pytest_report_header() -> str:
    dolfinx = "with dolfinx" if HAS_DOLFINX else "no dolfinx, so the tests of the field half are left out"
    return f"twin: {Path(twin.__file__).parent}, {dolfinx}"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if HAS_DOLFINX or not collection_path.match("test_*.py"):
        return None
    return True if FIELD_MODULE.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if HAS_DOLFINX:
        return
    left_out = [item for item in items if item.get_closest_marker("field")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
