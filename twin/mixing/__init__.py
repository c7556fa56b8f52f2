"""How well the streams are mixed: indices from what passes each plane, and the time that mixing takes."""

from twin.mixing.indices import PlaneMixing, mixing_along
from twin.mixing.time import MixingTime, mixing_time

__all__ = ["MixingTime", "PlaneMixing", "mixing_along", "mixing_time"]
