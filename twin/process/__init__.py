"""From an operating point to the product, its calibration, and the proposal of a setpoint."""

from twin.process.calibrate import Calibration, calibrate
from twin.process.compare import Row, compare
from twin.process.model import OUTPUTS, ProcessModel
from twin.process.setpoint import OBJECTIVES, Proposal, propose, write_setpoint
from twin.process.storage import load_calibration, parameter_table, save_calibration

__all__ = [
    "OBJECTIVES",
    "OUTPUTS",
    "Calibration",
    "ProcessModel",
    "Proposal",
    "Row",
    "calibrate",
    "compare",
    "load_calibration",
    "parameter_table",
    "propose",
    "save_calibration",
    "write_setpoint",
]
