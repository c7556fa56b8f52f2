"""A case folder: `case.toml`, read strictly, with every mistake reported at once."""

from twin.case.load import load
from twin.case.schema import Case, ExpectedValue

__all__ = ["Case", "ExpectedValue", "load"]
