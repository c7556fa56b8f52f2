from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "cases"


@pytest.fixture(scope="session")
def small():
    """A coarse junction with six bores of outlet, and a solved flow in it."""
    from mpi4py import MPI

    from twin.flow import SteadySolver
    from twin.verification.flow import small_connector, small_domain, streams

    domain = small_domain(small_connector(4), 0.22, 0.25, MPI.COMM_SELF)
    return domain, SteadySolver(domain).solve(100.0, streams(domain, 0.06))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The paper's case on a small junction, one point of it solved: case, results, mesh, point."""
    from twin.campaign import run_points
    from twin.case import Results, load
    from twin.meshing import build_mesh
    from twin.operating import OperatingPoint

    point = OperatingPoint.from_ml_h(300, 60, 293.15)
    folder = tmp_path_factory.mktemp("cases") / "tiny"
    folder.mkdir()
    text = (CASES / "liang2023" / "case.toml").read_text()
    text = text.replace("wall_size = 0.10", "wall_size = 0.3").replace("core_size = 0.16", "core_size = 0.35")
    text = text.replace("walkers = 5000", "walkers = 2000\nelements = 10")
    (folder / "case.toml").write_text(text.replace('"ptfe-y-60"', '"short"'))
    (folder / "short.toml").write_text(
        'bore = "1.5875 mm"\nangle = "60 deg"\narm_bores = 1.5\noutlet_bores = 3\nsource = "made for tests"\n'
    )
    case = load(folder)
    results = Results.of(case, "coarse", tmp_path_factory.mktemp("results"))
    mesh = build_mesh(case, "coarse", results.mesh)
    run_points(case, "coarse", results, mesh, [point], 2, lambda event: None)
    return case, results, mesh, point


@pytest.fixture
def case_of(tmp_path):
    """Writes a flow case's folder, with the channel's mesh where the case names it, and loads it."""
    from flow_cases import CHANNEL, channel

    from twin.case import load_any

    def make(text=CHANNEL, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "case.toml").write_text(text)
        if "channel.msh" in text and not (tmp_path / "channel.msh").exists():
            channel(tmp_path / "channel.msh")
        return load_any(tmp_path)

    return make
