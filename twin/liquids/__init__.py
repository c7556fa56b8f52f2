"""Properties of the liquids: sourced, in SI, refused outside the range of their data."""

from twin.liquids.diffusion import wilke_chang
from twin.liquids.pure import LIQUIDS, Liquid

__all__ = ["LIQUIDS", "Liquid", "wilke_chang"]
