"""How well the streams are mixed: indices from what passes each plane, and the time that mixing takes."""

from twin.mixing.indices import PlaneMixing, mixing_along
from twin.mixing.residence import RETURNS, Exposure, Residence, exposure, residence
from twin.mixing.segregation import Segregation, Striation, Swing, of_replicates, striations, swings, there_and_back
from twin.mixing.time import MixingTime, mixing_time

__all__ = [
    "RETURNS",
    "Exposure",
    "MixingTime",
    "PlaneMixing",
    "Residence",
    "Segregation",
    "Striation",
    "Swing",
    "exposure",
    "mixing_along",
    "mixing_time",
    "of_replicates",
    "residence",
    "striations",
    "swings",
    "there_and_back",
]
