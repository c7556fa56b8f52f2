"""The surrogate of a campaign: mixing at any flows inside its hull, with calibrated bands."""

from twin.surrogate.artifact import load_surrogate, save_surrogate
from twin.surrogate.dataset import Dataset, read_campaign
from twin.surrogate.emulator import TARGETS, LeaveOneOut, Surrogate, Target, fit
from twin.surrogate.hull import Hull

__all__ = [
    "TARGETS",
    "Dataset",
    "Hull",
    "LeaveOneOut",
    "Surrogate",
    "Target",
    "fit",
    "load_surrogate",
    "read_campaign",
    "save_surrogate",
]
