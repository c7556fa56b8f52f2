import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.units import EXAMPLE, from_ml_per_h, parse, to_ml_per_h


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5000 mL/h", "flow", 5e-3 / 3600),
        ("20 degC", "temperature", 293.15),
        ("293.15 K", "temperature", 293.15),
        ("60 deg", "angle", math.pi / 3),
        ("1.5875 mm", "length", 1.5875e-3),
        ("3.996 mmol/L", "concentration", 3.996),
        ("2.45e-9 m^2/s", "diffusivity", 2.45e-9),
    ],
)
def test_quantities_are_read_into_si(text, kind, value):
    assert parse(text, kind) == pytest.approx(value, rel=1e-12)


def test_every_kind_has_an_example_that_can_be_read():
    for kind, example in EXAMPLE.items():
        assert math.isfinite(parse(example, kind))


@pytest.mark.parametrize(
    "text", ["5000", "5000 mL", "fast", "", "nan mL/h", "inf mL/h", "5000 mL/h/h", "5 (", 5000, None]
)
def test_what_is_no_flow_is_refused_with_an_example(text):
    with pytest.raises(BadInput, match="mL/h"):
        parse(text, "flow")


@pytest.mark.parametrize("kind", EXAMPLE)
def test_a_number_without_a_unit_is_refused_whatever_it_is_for(kind):
    with pytest.raises(BadInput, match="unit: '60'") as caught:
        parse("60", kind)
    assert EXAMPLE[kind] in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("60 %", "angle", '"60 %" is not an angle'),
        ("60 rpm", "angle", '"60 rpm" is not an angle'),
        ("2 sr", "angle", '"2 sr" is not an angle'),
        ("sixty deg", "angle", "can't be read as an angle"),
        ("0.1 rad", "share", '"0.1 rad" is not a share'),
        ("inf m^2/s", "flow", "not finite"),
        ("1e308 km", "length", "not finite"),
    ],
)
def test_what_has_no_dimension_is_told_apart_as_well(text, kind, words):
    with pytest.raises(BadInput, match=words):
        parse(text, kind)


@given(st.text(max_size=20))
def test_no_text_makes_the_parser_fail_otherwise(text):
    with suppress(BadInput):
        assert math.isfinite(parse(text, "flow"))


@given(st.floats(1e-3, 1e5))
def test_flows_survive_the_way_to_the_edge_and_back(flow):
    assert to_ml_per_h(from_ml_per_h(flow)) == pytest.approx(flow, rel=1e-14)


@pytest.mark.parametrize(("antisolvent", "precursor"), [(-1, 60), (5000, 0), (float("nan"), 60)])
def test_an_operating_point_needs_positive_flows(antisolvent, precursor):
    with pytest.raises(BadInput, match="must be positive"):
        OperatingPoint.from_ml_h(antisolvent, precursor)


def test_names_are_unique_and_sort_by_flow():
    points = [OperatingPoint.from_ml_h(a, p) for a in (999.5, 1000, 5000) for p in (0.25, 10, 60)]
    names = [point.name for point in points]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert points[-1].name == "a5000-p0060"
