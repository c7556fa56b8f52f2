"""One row of a verification table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One row: it holds where |computed − reference| ≤ `tolerance` · max(|reference|, 1)."""

    name: str
    computed: float
    reference: float
    tolerance: float
    source: str

    @property
    def holds(self) -> bool:
        """Whether the computed value is within the tolerance."""
        return abs(self.computed - self.reference) <= self.tolerance * max(abs(self.reference), 1.0)
