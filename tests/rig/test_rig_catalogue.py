"""The catalogues: what each pump can do with each syringe, and what they are refused for."""

from __future__ import annotations

import pytest

from twin.case import Case
from twin.case.rig import OwnPump, OwnSyringe
from twin.errors import BadInput
from twin.rig.planning.limits import equipment
from twin.rig.pumps.catalogue import PUMP_MODELS, SYRINGES, Syringe, pump_model
from twin.rig.pumps.drivers import baud_of


def with_pumps(case: Case, **entries: dict[str, object]) -> Case:
    changed = {role: getattr(case.rig, role).model_copy(update=entry) for role, entry in entries.items()}
    return case.model_copy(update={"rig": case.rig.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("diameter_mm", "low_nl_min", "high_ml_min"),
    [
        *((14.43, 25.0404, 26.0035), (4.699, 2.6553, 2.75747), (4.608, 2.553, 2.652), (8.585, 8.863, 9.204)),
        (26.59, 85.02, 88.29),
    ],
)
def test_the_limits_of_an_elite_are_those_that_it_prints(
    diameter_mm: float, low_nl_min: float, high_ml_min: float
) -> None:
    """The first two are answers to `irate lim` that public drivers quote, the second without its syringe, which is a
    bd-1ml by that; the others are from the table in its manual, where they are nominal."""
    low, high = pump_model("11 Elite").range_ml_h(Syringe("a", diameter_mm, 10.0, "glass", True))
    printed = 2e-6 if diameter_mm == 14.43 else 5e-4
    assert low * 1e6 / 60 == pytest.approx(low_nl_min, rel=printed)
    assert high / 60 == pytest.approx(high_ml_min, rel=printed)


def test_the_limits_of_an_ne_1010_are_those_of_its_sheet() -> None:
    for name, low_ul_h, high_ml_h in (("bd-10ml", 13.76, 1802), ("bd-20ml", 23.97, 3141), ("bd-60ml", 46.70, 6120)):
        low, high = pump_model("NE-1010").range_ml_h(SYRINGES[name])
        assert low * 1000 == pytest.approx(low_ul_h, rel=1e-3)
        assert high == pytest.approx(high_ml_h, rel=1e-3)


def test_a_syringe_that_is_too_wide_is_refused() -> None:
    with pytest.raises(BadInput, match=r"monoject-140ml \(38 mm\) is too wide for the 11 Elite") as error:
        PUMP_MODELS["11 Elite"].range_ml_h(SYRINGES["monoject-140ml"])
    assert "33 mm" in error.value.remedy
    PUMP_MODELS["11 Elite"].range_ml_h(SYRINGES["hamilton-50ml"])
    PUMP_MODELS["NE-1010"].range_ml_h(SYRINGES["monoject-140ml"])


def test_every_mistake_of_a_rig_is_told_at_once(case: Case) -> None:
    bad = with_pumps(
        case,
        antisolvent={"model": "11 Elite", "syringe": "monoject-140ml"},
        precursor={"model": "NE-9", "syringe": "bd-61ml"},
    )
    with pytest.raises(BadInput) as error:
        equipment(bad)
    for part in ("too wide", "toluene attacks monoject-140ml", "no pump model", "no syringe"):
        assert part in error.value.message


def test_two_families_can_not_share_a_port(case: Case) -> None:
    with pytest.raises(BadInput, match="two families can't share a port"):
        equipment(with_pumps(case, precursor={"model": "11 Elite"}))
    apart = with_pumps(case, precursor={"model": "11 Elite", "port": "/dev/other"})
    assert equipment(apart)["precursor"].model.family == "harvard"


def test_a_harvard_pump_may_go_slower_than_three_decimals_of_a_ml_h(case: Case) -> None:
    found = equipment(with_pumps(case, precursor={"model": "11 Elite", "port": "/dev/other"}))["precursor"]
    assert found.range_ml_h[0] == pytest.approx(0.00524, rel=1e-2)
    assert equipment(case)["precursor"].range_ml_h[0] == 0.1


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_syringe_of_no_size_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="inner diameter"):
        Syringe("mine", value, 5.0, "glass", True)
    with pytest.raises(BadInput, match="mL"):
        Syringe("mine", 10.0, value, "glass", True)


def test_volume_and_bore_of_every_syringe_make_a_plausible_stroke() -> None:
    for syringe in SYRINGES.values():
        assert 3.0 < syringe.volume_ml / syringe.area_cm2 < 16.0, syringe.name  # cm


def test_what_toluene_attacks_is_plastic_or_rubber() -> None:
    for syringe in SYRINGES.values():
        assert syringe.toluene_safe is ("polypropylene" not in syringe.material), syringe.name


def test_every_pump_has_a_driver_and_speeds_in_order() -> None:
    for model in PUMP_MODELS.values():
        assert baud_of(model.family) in (19200, 115200)
        assert 0 < model.min_cm_h < model.max_cm_h


def test_a_case_may_bring_its_own_pump_and_syringe(case: Case) -> None:
    """A data sheet gives the rates with one syringe; with any other they go with its area."""
    own = {
        "models": {
            "NE-4000": OwnPump.model_validate(
                {"family": "newera", "number": "4000", "diameter": "26.59 mm", "lowest": "50 uL/h",
                 "highest": "4000 mL/h", "widest": "50 mm"}
            )
        },
        "syringes": {
            "ours": OwnSyringe.model_validate(
                {"diameter": "13.295 mm", "volume": "20 mL", "material": "steel", "toluene_safe": True}
            )
        },
    }  # fmt: skip
    antisolvent = case.rig.antisolvent.model_copy(update={"model": "NE-4000", "syringe": "ours"})
    rig = case.rig.model_copy(update={**own, "antisolvent": antisolvent})
    pump = equipment(case.model_copy(update={"rig": rig}))["antisolvent"]
    assert pump.range_ml_h == pytest.approx((0.1, 1000.0))  # a quarter of the area; below 0.1 four digits don't resolve
    assert (pump.model.number, pump.syringe.volume_ml) == ("4000", pytest.approx(20.0))
    narrow = own["models"]["NE-4000"].model_copy(update={"widest": 10e-3})
    with pytest.raises(BadInput, match="too wide"):
        equipment(case.model_copy(update={"rig": rig.model_copy(update={"models": {"NE-4000": narrow}})}))
