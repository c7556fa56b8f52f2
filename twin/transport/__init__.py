"""Transport of the dissolved species in a given velocity, in bore and bulk-velocity units."""

from twin.transport.divergence import divergence_free, largest_divergence
from twin.transport.eulerian import Concentration, Transport

__all__ = ["Concentration", "Transport", "divergence_free", "largest_divergence"]
