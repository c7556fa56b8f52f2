"""The connector where the streams meet: its dimensions, the names of its boundaries, its dimensionless groups."""

from twin.junction.connector import BOUNDARIES, Arm, Connector, find_connector
from twin.junction.groups import MOST_REYNOLDS, Groups, bore_m, bulk_velocity_m_s, groups, outlet_area

__all__ = [
    "BOUNDARIES",
    "MOST_REYNOLDS",
    "Arm",
    "Connector",
    "Groups",
    "bore_m",
    "bulk_velocity_m_s",
    "find_connector",
    "groups",
    "outlet_area",
]
