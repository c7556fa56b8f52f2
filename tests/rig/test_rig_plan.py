"""Catalogues, limits, and what a run is going to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Setpoint, check, load_setpoint, plan
from twin.rig.clock import Clock, VirtualClock
from twin.rig.planning.limits import equipment
from twin.rig.pumps.catalogue import PUMP_MODELS, SYRINGES, pump_model, syringe


@pytest.mark.parametrize(
    ("name", "ne1000", "ne1010"),
    [
        ("bd-60ml", 1699, 6120),
        ("glass-50ml", 1747, 6292),
        ("steel-50ml", 1966, 7080),
        ("monoject-140ml", 3471, 12500),
    ],
)
def test_the_fastest_rates(name: str, ne1000: float, ne1010: float) -> None:
    """Worked out apart, from the speeds in docs/rig.md; those of the NE-1010 are rounded."""
    assert PUMP_MODELS["NE-1000"].range_ml_h(SYRINGES[name])[1] == pytest.approx(ne1000, abs=0.5)
    assert PUMP_MODELS["NE-1010"].range_ml_h(SYRINGES[name])[1] == pytest.approx(ne1010, rel=1e-3)


def test_the_slowest_rate() -> None:
    assert PUMP_MODELS["NE-1000"].range_ml_h(SYRINGES["bd-60ml"])[0] * 1000 == pytest.approx(23.35, rel=1e-3)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(BadInput, match="steel-50ml, glass-50ml"):
        syringe("steel")
    with pytest.raises(BadInput, match="NE-1000, NE-1010"):
        pump_model("NE1000")


def altered(case: Case, role: str, **changes: object) -> Case:
    entry = getattr(case.rig, role).model_copy(update=changes)
    return case.model_copy(update={"rig": case.rig.model_copy(update={role: entry})})


@pytest.mark.parametrize(
    ("role", "changes", "message"),
    [
        ("antisolvent", {"syringe": "bd-60ml"}, "toluene attacks bd-60ml"),
        ("precursor", {"syringe": "bd-61ml"}, "no syringe"),
        ("precursor", {"model": "NE-9"}, "no pump model"),
        ("precursor", {"address": 0}, "same address"),
    ],
)
def test_a_rig_that_can_not_be_is_refused(case: Case, role: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        equipment(altered(case, role, **changes))


def test_the_ramp_holds_the_flow_ratio_and_rises(case: Case, setpoint: Setpoint) -> None:
    steps = plan(case, setpoint).steps
    ratios = [step.rates_ml_h["precursor"] / step.rates_ml_h["antisolvent"] for step in steps]
    assert ratios == pytest.approx([60 / 5000] * len(steps), rel=2e-3)
    rates = [step.rates_ml_h["antisolvent"] for step in steps]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (500.0, 5000.0)
    assert [step.start_s for step in steps[1:]] == [step.end_s for step in steps[:-1]]


def test_a_syringe_lasts_as_long_as_it_lasts(case: Case, setpoint: Setpoint) -> None:
    made = plan(case, setpoint)
    assert made.supply[0].lasts_s == pytest.approx(36.0)
    assert made.supply[1].lasts_s == pytest.approx(3000.0)
    assert made.hold_s == 20.0
    text = "\n".join(made.lines())
    assert "lasts 36 s at 5000 mL/h" in text
    assert "50 min at 60 mL/h" in text


def test_a_hold_that_outlasts_a_syringe_is_refused_or_shortened(case: Case, setpoint: Setpoint) -> None:
    with pytest.raises(BadInput, match=r"outlasts the antisolvent syringe.*36 s(.|\n)*two pumps in turn"):
        plan(case, setpoint, hold_s=36.0)
    short = plan(case, setpoint, hold_s=36.0, shorten=True)
    assert short.hold_s < 36.0
    assert short.supply[0].needed_ml <= 50.0 * 0.98
    assert plan(case, setpoint, hold_s=short.hold_s).hold_s == short.hold_s
    with pytest.raises(BadInput):
        plan(case, setpoint, hold_s=short.hold_s + 0.2)
    with pytest.raises(BadInput, match="outlasts"):
        plan(case, setpoint, filled_ml={"antisolvent": 25.0})
    with pytest.raises(BadInput, match="not even last for the way to the last hold"):
        plan(case, setpoint, filled_ml={"antisolvent": 1.0}, shorten=True)
    with pytest.raises(BadInput, match="can't hold 51 mL"):
        plan(case, setpoint, filled_ml={"antisolvent": 51.0})


@pytest.mark.parametrize("hold", [0.0, -1.0, float("nan"), float("inf")])
def test_no_hold_is_refused(case: Case, setpoint: Setpoint, hold: float) -> None:
    with pytest.raises(BadInput):
        plan(case, setpoint, hold_s=hold)


def test_the_temperature_is_the_operators(case: Case, propose: Callable[..., Path]) -> None:
    warm = load_setpoint(propose(temperature_k=303.15), case)
    assert any("30.0 °C" in note for note in plan(case, warm).notes)


def test_a_dry_run_opens_nothing_and_shows_the_bytes(
    case: Case, setpoint: Setpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a dry run must not open a port")

    monkeypatch.setattr("serial.serial_for_url", forbidden)
    real = altered(altered(case, "antisolvent", port="/dev/nowhere"), "precursor", port="/dev/nowhere")
    dry = check(real, setpoint)
    messages = [entry.message for entry in dry.sent]
    for message in (b"00VER\r", b"00DIA28.60\r", b"01DIA26.96\r", b"00SAF4\r", b"01SAF4\r"):
        assert message in messages
    # From SAF on every command is a packet of Safe mode.
    orders = [b"00RAT500.0MH", b"01RAT6.000MH", b"00RUN", b"01RUN", b"00RAT5000", b"01STP", b"00STP"]
    places = [next(index for index, message in enumerate(messages) if order in message) for order in orders]
    assert places == sorted(places)
    assert all(messages[place].startswith(b"\x02") for place in places)
    assert all((b"DIS" in entry.message) == entry.poll for entry in dry.sent)
    assert not (case.folder / "results").exists()
    assert check(real, setpoint).sent == dry.sent
    assert "00RUN" in "\n".join(dry.lines())


def test_the_steps_of_a_ramp_are_folded(case: Case, setpoint: Setpoint) -> None:
    dry = check(case, setpoint)
    folded, everything = dry.lines(), dry.lines(everything=True)
    assert len(folded) < 90 < 250 < len(everything)
    told = [line for line in everything if "00RAT" in line and "MH" not in line and "RAT4%" not in line]
    shown = [line for line in folded if line in told]
    assert [told.index(line) for line in shown] == [0, len(told) // 2, len(told) - 1]
    left_out = [int(line.split()[1]) for line in folded if "more such steps" in line]
    assert sum(left_out) == len(told) - 3
    assert [line for line in everything if line not in folded and "RAT" not in line and "look" not in line] == []


def test_clocks() -> None:
    virtual = VirtualClock()
    virtual.sleep(5.0)
    assert virtual.now() == 5.0
    for speed in (0.0, -1.0, float("nan"), 1e6):
        with pytest.raises(BadInput):
            Clock(speed)
