"""The connector where the streams meet: its dimensions, the names of its boundaries, its dimensionless groups."""

from twin.junction.connector import BOUNDARIES, Arm, Connector, find_connector
from twin.junction.groups import (
    LEAST_PECLET,
    MOST_REYNOLDS,
    Groups,
    bore_m,
    bulk_velocity_m_s,
    groups,
    outlet_area,
    species_peclet,
)

__all__ = [
    "BOUNDARIES",
    "LEAST_PECLET",
    "MOST_REYNOLDS",
    "Arm",
    "Connector",
    "Groups",
    "bore_m",
    "bulk_velocity_m_s",
    "find_connector",
    "groups",
    "outlet_area",
    "species_peclet",
]
