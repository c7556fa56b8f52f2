"""Transport of the dissolved species in a given velocity, in bore and bulk-velocity units."""

from twin.transport.divergence import divergence_free, largest_divergence
from twin.transport.eulerian import Concentration, Transport
from twin.transport.tetrahedra import Tetrahedra, sampled, split, tetrahedra
from twin.transport.walkers import MOST_LOST, Alone, Comm, Crossings, Places, Planes, Step, Walkers, Walks

__all__ = [
    "MOST_LOST",
    "Alone",
    "Comm",
    "Concentration",
    "Crossings",
    "Places",
    "Planes",
    "Step",
    "Tetrahedra",
    "Transport",
    "Walkers",
    "Walks",
    "divergence_free",
    "largest_divergence",
    "sampled",
    "split",
    "tetrahedra",
]
