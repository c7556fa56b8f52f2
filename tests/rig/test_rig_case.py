"""What a case may not say of its rig: refused in words, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.case import Case, load
from twin.errors import BadInput
from twin.rig.port import open_port

TEXT = (Path(__file__).parents[2] / "cases" / "liang2023" / "case.toml").read_text(encoding="utf-8")
SYRINGE = '[rig.syringes.ours]\ndiameter = "{}"\nvolume = "{}"\nmaterial = "steel"\ntoluene_safe = {}\n'
GAUGE = '[rig.sensors.pressure]\ndriver = "text"\nunit = "bar"\nport = "{}"\n'
DRY = '[rig.sensors.pressure]\ndriver = "simulated"\nunit = "bar"\nmax_age = "5 s"\n'


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[str, str], Case]:
    """Reads the case with what is said of the precursor's pump, and with more tables at its end."""

    def read(pump: str, tables: str = "") -> Case:
        text = TEXT.replace("address = 1\n", pump, 1)
        assert text != TEXT or tables
        (tmp_path / "case.toml").write_text(text + tables, encoding="utf-8")
        return load(tmp_path)

    return read


@pytest.mark.parametrize("value", ['"1"', "true", "1.5", "-1", "100", "[1]"])
def test_an_address_is_a_whole_number(loaded: Callable[[str], Case], value: str) -> None:
    with pytest.raises(BadInput, match=r"1 mistake\n  rig\.precursor\.address: ") as error:
        loaded(f"address = {value}\n")
    if value in ('"1"', "true"):
        assert "must be a number, without quotes" in error.value.message


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("precursor.baud", ""),
        ("sensors.pressure.value", DRY + "value = {}\n"),
        ("sensors.pressure.low", DRY + "value = 1.0\nlow = {}\n"),
        ("sensors.pressure.scale", GAUGE.format("/dev/x") + "scale = {}\n"),
    ],
)
@pytest.mark.parametrize("value", ['"9600"', "true"])
def test_so_are_other_numbers(loaded: Callable[[str, str], Case], key: str, table: str, value: str) -> None:
    pump = "" if table else f"baud = {value}\n"
    with pytest.raises(BadInput, match=f"rig.{key}: must be a number, without quotes"):
        loaded("address = 1\n" + pump, table.format(value))
    assert loaded("address = 1\n" + pump.replace(value, "9600"), table.format("9600"))


@pytest.mark.parametrize(
    "port", ["loop://", "spy:///dev/ttyUSB0", "hwgrep://0403", "alt:///dev/x", "serial://loop://", "SOCKET://h:1", "://"]
)
def test_a_port_that_leads_to_nothing_is_refused(loaded: Callable[[str, str], Case], port: str) -> None:
    for pump, tables in ((f'address = 1\nport = "{port}"\n', ""), ("address = 1\n", GAUGE.format(port))):
        with pytest.raises(BadInput, match="leads to no pump and no gauge; give a device path"):
            loaded(pump, tables)
    with pytest.raises(BadInput, match="give a device path"):
        open_port(port, 19200)


@pytest.mark.parametrize(
    "port", ["/dev/ttyUSB0", "serial:///dev/ttyUSB0", "COM3", "socket://h:1", "rfc2217://h:1", "simulated"]
)
def test_a_port_that_is_documented_is_taken(loaded: Callable[[str], Case], port: str) -> None:
    assert loaded(f'address = 1\nport = "{port}"\n').rig.precursor.port == port


@pytest.mark.parametrize(
    ("diameter", "volume", "fine"),
    [
        ("28.6 mm", "50 mL", True),
        ("4.6 mm", "1 mL", True),
        ("28.6 mm", "1e9 mL", False),
        ("2.86 mm", "50 mL", False),
        ("28.6 mm", "50 uL", False),
    ],
)
def test_a_syringe_has_a_likely_stroke(
    loaded: Callable[[str, str], Case], diameter: str, volume: str, fine: bool
) -> None:
    table = SYRINGE.format(diameter, volume, "true")
    if fine:
        assert loaded("address = 1\n", table).rig.syringes["ours"]
    else:
        with pytest.raises(BadInput, match=r"rig\.syringes\.ours: its plunger would go .* 10 to 300 mm"):
            loaded("address = 1\n", table)


@pytest.mark.parametrize("value", ['"yes"', '"true"', "1"])
def test_whether_a_syringe_stands_toluene_is_true_or_false(loaded: Callable[[str, str], Case], value: str) -> None:
    with pytest.raises(BadInput, match="toluene_safe: must be true or false, without quotes"):
        loaded("address = 1\n", SYRINGE.format("28.6 mm", "50 mL", value))
