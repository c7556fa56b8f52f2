"""From an operating point to the product, with bands and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin.crystal import Ligand, known_ligand
from twin.crystal.parameters import MOLAR_MASS
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate, Label
from twin.operating import OperatingPoint
from twin.process.calibrate import Calibration
from twin.process.data import datum
from twin.process.ensemble import Member, deviates
from twin.surrogate import TARGETS, Surrogate

Array = NDArray[np.float64]

#: Every output of the model, with its unit. `yield` is the share of the feed that crystallizes.
OUTPUTS = {
    "size_nm": "nm", "peak_nm": "nm", "fwhm_nm": "nm", "plqy": "", "yield": "", "production_g_h": "g/h",
    "mixing_time_s": "s", "mixing_index": "", "pressure_drop_pa": "Pa",
}
_MIXING: tuple[str, ...] = TARGETS
_CRYSTAL = tuple(name for name in OUTPUTS if name not in _MIXING)
#: Percentiles of the ensemble that a band reaches from and to.
BAND = (5.0, 95.0)


@dataclass(frozen=True, eq=False)
class ProcessModel:
    """The surrogate of a campaign and the calibrated crystals on top of it.

    Raises `BadInput` where the calibration belongs to another surrogate.
    """

    surrogate: Surrogate
    calibration: Calibration
    _known: dict[tuple[OperatingPoint, Ligand], dict[str, Array]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.calibration.surrogate != self.surrogate.fingerprint:
            raise BadInput("the calibration belongs to another surrogate", "run twin calibrate again")

    def predict(self, point: OperatingPoint, ligand: str) -> dict[str, Estimate]:
        """Every output of `OUTPUTS` at a point, for the ligand "ps" or "oa".

        Values are medians of the ensemble and bands its central 90 %; the mixing outputs are the surrogate's own.
        Raises `BadInput` outside the campaign's hull or at another temperature, `TwinError` where no crystals form.
        """
        kind = known_ligand(ligand)
        mixing = self.surrogate.predict(point)
        draws = self.ensemble(point, kind)
        answer: dict[str, Estimate] = {}
        for name in _CRYSTAL:
            low, value, high = np.nanpercentile(draws[name], (BAND[0], 50.0, BAND[1])).tolist()
            answer[name] = Estimate(value, low, high, OUTPUTS[name], self.label(name, kind, point))
        return answer | {str(name): estimate for name, estimate in mixing.items()}

    def ensemble(self, point: OperatingPoint, ligand: Ligand) -> dict[str, Array]:
        """The crystal outputs of every member, shape (n,) each; sizes and colours are NaN where no crystals form.

        The n-th entry is the same member at every point, so differences between points can be taken member by member.
        Raises `TwinError` where fewer than half of the members form crystals.
        """
        if (point, ligand) not in self._known:
            self._known[point, ligand] = self._computed(point, ligand)
        return self._known[point, ligand]

    def label(self, output: str, ligand: Ligand, point: OperatingPoint) -> Label:
        """How far an output can be trusted.

        calibrated: its own datum covers the point (`Datum.covers`). bounded: a datum confines it everywhere, which is
        so for the size with templates (their load is the limit) and for the quantum yield (the loss to DMF is bounded
        by the flat sweep, and the limit by 1); mixing is bounded by the campaign's bracket. prior-only: the rest.
        """
        if output in _MIXING:
            return self.surrogate.label(output)  # type: ignore[arg-type]
        own = datum(self.calibration.data, output, ligand)
        if own is None:
            return "prior-only"
        if own.covers(point):
            return "calibrated"
        return "bounded" if output == "plqy" or (output == "size_nm" and ligand == "ps") else "prior-only"

    def _computed(self, point: OperatingPoint, ligand: Ligand) -> dict[str, Array]:
        members = self.calibration.members[ligand]
        z = deviates(members, "surrogate"), deviates(members, "bracket")
        times = self.surrogate.sample("mixing_time_s", [point], *z)[0]
        rows = [
            _outputs(member, ligand, point, float(time), self.calibration.feed)
            for member, time in zip(members, times, strict=True)
        ]
        draws = {name: np.array(column) for name, column in zip(_CRYSTAL, zip(*rows, strict=True), strict=True)}
        share = float(np.mean(np.isfinite(draws["size_nm"])))
        if share < 0.5:
            raise TwinError(
                f"at {point.name}, crystals form in {share:.0%} of the ensemble only",
                "choose a higher precursor flow, or a lower antisolvent flow: the product is hardly supersaturated",
            )
        return draws


def feed_g_h(point: OperatingPoint, feed: float) -> float:
    """CsPbBr3 that is fed, g/h: Q_p c₀ M, with c₀ = `feed` in mol per m³ of the precursor stream."""
    return point.precursor_m3_s * feed * MOLAR_MASS * 1e3 * 3600.0


def _outputs(member: Member, ligand: Ligand, point: OperatingPoint, time: float, feed: float) -> Sequence[float]:
    """The crystal outputs of one member, in the order of `OUTPUTS`."""
    crystals = member.crystals(ligand, point, time, feed)
    conversion, production = crystals.conversion, crystals.conversion * feed_g_h(point, feed)
    if not crystals.formed:
        return np.nan, np.nan, np.nan, 0.0, conversion, production
    optics = member.optics
    size, peak, width = 1e9 * crystals.mean_size, optics.peak_nm(crystals), optics.fwhm_nm(crystals)
    return size, peak, width, member.plqy(point, time), conversion, production
