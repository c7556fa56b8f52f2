"""A case folder: `case.toml`, read strictly, with every mistake reported at once."""

from twin.case.flow import FlowCase
from twin.case.load import load, load_any, load_expected
from twin.case.results import START, Results
from twin.case.schema import Case, ExpectedValue

__all__ = ["START", "Case", "ExpectedValue", "FlowCase", "Results", "load", "load_any", "load_expected"]
