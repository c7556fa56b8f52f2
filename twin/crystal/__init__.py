"""From mixing to crystals: supersaturation, nucleation and growth, sizes, colour and quantum yield."""

from twin.crystal.engulfment import Engulfment
from twin.crystal.histories import History, histories_of
from twin.crystal.kinetics import Kinetics
from twin.crystal.optics import Optics, quantum_yield
from twin.crystal.parameters import PARAMETERS, Ligand, Parameter, known_ligand
from twin.crystal.population import Crystals, Templates, Zone, averaged, crystallize
from twin.crystal.verification import Check, checks

__all__ = [
    "PARAMETERS",
    "Check",
    "Crystals",
    "Engulfment",
    "History",
    "Kinetics",
    "Ligand",
    "Optics",
    "Parameter",
    "Templates",
    "Zone",
    "averaged",
    "checks",
    "crystallize",
    "histories_of",
    "known_ligand",
    "quantum_yield",
]
