import pytest

from twin.liquids import LIQUIDS, wilke_chang


@pytest.mark.parametrize(
    ("name", "celsius", "viscosity_mpa_s"), [("toluene", 25, 0.558), ("toluene", 30, 0.526), ("toluene", 35, 0.496)]
)
def test_viscosity_against_measurements(name, celsius, viscosity_mpa_s):
    # Nikam & Kharat, J. Chem. Eng. Data 50 (2005) 455
    assert 1e3 * LIQUIDS[name].viscosity_pa_s(273.15 + celsius) == pytest.approx(viscosity_mpa_s, rel=0.02)


def test_density_and_kinematic_viscosity_of_toluene():
    toluene = LIQUIDS["toluene"]
    assert toluene.density_kg_m3(298.15) == pytest.approx(862.2, rel=1e-3)
    assert toluene.kinematic_viscosity_m2_s(293.15) == pytest.approx(6.784e-7, rel=2e-3)


def test_outside_the_data_is_refused():
    with pytest.raises(ValueError, match="range of the data"):
        LIQUIDS["DMF"].viscosity_pa_s(400.0)


def test_wilke_chang_both_ways():
    toluene, dmf = LIQUIDS["toluene"], LIQUIDS["DMF"]
    assert 2.3e-9 < wilke_chang(dmf, toluene, 298.15) < 2.9e-9
    assert wilke_chang(toluene, dmf, 298.15) == pytest.approx(1.34e-9, rel=0.1)
