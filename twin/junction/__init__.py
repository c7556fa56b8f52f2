"""The connector where the streams meet: its dimensions, and the names of its boundaries."""

from twin.junction.connector import BOUNDARIES, Connector, find_connector

__all__ = ["BOUNDARIES", "Connector", "find_connector"]
