"""How a file says quantities, text with a unit for what are SI floats here, and the base of all its tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from twin.errors import BadInput
from twin.units import EXAMPLE, parse


def quantity(kind: str, positive: bool = True) -> BeforeValidator:
    """Reads text with a unit of that kind into SI."""

    def read(text: object) -> float:
        if not isinstance(text, str):
            raise ValueError(f'needs a unit: write it as text, e.g. "{EXAMPLE[kind]}"')
        try:
            value = parse(text, kind)
        except BadInput as error:
            raise ValueError(f"{error.message}; {error.remedy}") from None
        if positive and not value > 0:
            raise ValueError(f'must be positive, not "{text}"')
        return value

    return BeforeValidator(read)


Flow = Annotated[float, quantity("flow")]
Length = Annotated[float, quantity("length")]
Temperature = Annotated[float, quantity("temperature")]
Position = Annotated[float, quantity("length", positive=False)]
Angle = Annotated[float, quantity("angle")]
Turn = Annotated[float, quantity("angle", positive=False)]
Diffusivity = Annotated[float, quantity("diffusivity")]
Concentration = Annotated[float, quantity("concentration")]
Density = Annotated[float, quantity("density")]
Viscosity = Annotated[float, quantity("viscosity")]
Volume = Annotated[float, quantity("volume")]
Time = Annotated[float, quantity("time")]


class Strict(BaseModel):
    """Unknown keys are mistakes; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
