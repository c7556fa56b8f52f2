import pytest


@pytest.fixture(scope="session")
def small():
    """A coarse junction with six bores of outlet, and a solved flow in it."""
    from mpi4py import MPI

    from twin.flow import SteadySolver
    from twin.verification.flow import small_connector, small_domain, streams

    domain = small_domain(small_connector(4), 0.22, 0.25, MPI.COMM_SELF)
    return domain, SteadySolver(domain).solve(100.0, streams(domain, 0.06))
