"""From mixing to crystals: supersaturation, nucleation and growth, sizes, colour and quantum yield."""

from twin.crystal.engulfment import Engulfment
from twin.crystal.kinetics import Kinetics
from twin.crystal.optics import Optics, quantum_yield
from twin.crystal.parameters import PARAMETERS, Ligand, Parameter, known_ligand
from twin.crystal.population import Crystals, Templates, crystallize
from twin.crystal.verification import Check, checks

__all__ = [
    "PARAMETERS",
    "Check",
    "Crystals",
    "Engulfment",
    "Kinetics",
    "Ligand",
    "Optics",
    "Parameter",
    "Templates",
    "checks",
    "crystallize",
    "known_ligand",
    "quantum_yield",
]
