"""`twin doctor`: what it finds here, and what it says of machines that lack something."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import pytest

from twin import doctor
from twin.doctor import Finding, examine


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    began = perf_counter()
    found = {finding.name: finding for finding in examine()}
    assert perf_counter() - began < 30  # five seconds on an idle machine
    return found


def test_the_lab_half_is_whole(findings: dict[str, Finding]) -> None:
    lab = [finding for finding in findings.values() if finding.half == "lab"]
    assert [finding for finding in lab if not finding.ok] == []
    assert {"machine", "Python", "packages", "pictures"} <= {finding.name for finding in lab}
    assert "pydantic" in findings["packages"].value


@pytest.mark.field
def test_the_field_half_is_whole(findings: dict[str, Finding]) -> None:
    assert [finding for finding in findings.values() if not finding.ok] == []
    assert "MUMPS" in findings["PETSc packages"].value
    assert "Netgen" in findings["Gmsh"].value
    assert "GFLOP/s" in findings["BLAS of PETSc"].value


@pytest.mark.skipif(find_spec("dolfinx") is not None, reason="dolfinx is here")
def test_without_dolfinx_it_says_how_to_get_it(findings: dict[str, Finding]) -> None:
    for name in ("dolfinx", "PETSc", "MPI", "Gmsh", "Numba"):
        assert (findings[name].value, findings[name].ok, findings[name].half) == ("missing", False, "field")
        assert "conda" in findings[name].remedy


def petsc(blas: list[str], gflops: float, monkeypatch: pytest.MonkeyPatch, error: float = 0.0) -> dict[str, Finding]:
    """The findings about a PETSc that said this."""
    data = {"version": "3.22.5", "packages": {"MUMPS": error == 0, "hypre": True}}
    data |= {"mumps_error": error, "gflops": gflops, "blas": blas}
    monkeypatch.setattr(doctor, "_try", lambda name, module, remedy, read: read(data))
    return {finding.name: finding for finding in doctor._petsc()}


@pytest.mark.parametrize(
    ("blas", "gflops", "fine"),
    [
        (["/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.12.1"], 2.0, False),
        (["/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3", "/usr/lib/libopenblasp-r0.3.29.so"], 30.0, True),
        (["/opt/env/lib/libopenblasp-r0.3.30.so"], 30.0, True),
        (["/opt/env/lib/libmkl_rt.so.2"], 4.0, True),
        ([], 2.0, False),
        ([], 30.0, True),
    ],
)
def test_a_reference_blas_is_an_error(
    blas: list[str], gflops: float, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = petsc(blas, gflops, monkeypatch)["BLAS of PETSc"]
    assert finding.ok is fine
    assert ("OpenBLAS" in finding.remedy) is not fine


def test_a_petsc_without_mumps_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not petsc([], 30.0, monkeypatch, error=1.0)["PETSc packages"].ok


def test_only_what_petsc_itself_loads_counts_as_its_blas() -> None:
    assert doctor.is_blas("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3")
    assert not doctor.is_blas("/env/site-packages/numpy.libs/libscipy_openblas64_-4b.so")
    assert not doctor.is_blas("/env/numpy.libs/libopenblas.so")
    assert not doctor.is_blas("/usr/lib/libCombBLAS.so.2")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("sys.exit('libGL.so.1: cannot open shared object file')", "libGL.so.1: cannot open"),
        ("time.sleep(60)", "no answer in"),
    ],
)
def test_a_probe_that_crashes_fails_or_hangs_is_a_finding(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.5 if "sleep" in body else 20)
    (finding,) = doctor._picture()
    assert not finding.ok
    assert said in finding.value
    assert finding.remedy


def test_a_single_core_is_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_cores", lambda: 1)
    machine = doctor._machine()[0]
    assert machine.ok
    assert "two cores" in machine.remedy


def test_a_package_that_is_missing_or_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_requirements", lambda: [("numpy", "99.0"), ("no-such", "1.0"), ("pint", "0.1")])
    packages = doctor._python()[1]
    assert not packages.ok
    assert "no-such is missing" in packages.value
    assert "is older than 99.0" in packages.value
    assert "pip install" in packages.remedy
