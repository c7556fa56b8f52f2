"""What this machine has for the twin, and how to get what it lacks. Works without dolfinx, too.

Whatever loads a large library or a driver is tried in a process of its own, `python -m twin.doctor NAME`: one that
crashes or hangs is then a finding like any other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

DOLFINX_LEAST = (0, 9)
PATIENCE_S = 60.0
#: A reference BLAS reaches 1 to 3 GFLOP/s, an optimized one on a single core of the last ten years 10 and more.
SLOW_GFLOPS = 5.0

CONDA = "conda env create -f environment.yml && conda activate yjunction-twin"
FIELD = f"start with scripts/twin, which sets it up; or with conda: {CONDA}"
LAB = "pip install . in the folder of the twin; or start with scripts/twin"
BLAS = "install OpenBLAS (Debian: apt install libopenblas0-pthread) and make it the active one"


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Where `ok` is false, a part of the twin does not work here, and `remedy` says what to do. Beside a true `ok` it is
    advice. `half` is the half of the twin that needs it: a lab computer does well without "field".
    """

    name: str
    value: str
    ok: bool = True
    remedy: str = ""
    half: Literal["lab", "field"] = "lab"


def examine() -> list[Finding]:
    """Looks at everything; takes a few seconds."""
    looks: list[Callable[[], list[Finding]]] = [_machine, _python, _rig, _picture]
    looks += [_dolfinx, _petsc, _mpi, _gmsh, _numba]
    with ThreadPoolExecutor(max(2, _cores())) as pool:
        found = [finding for findings in pool.map(lambda look: look(), looks) for finding in findings]
    return sorted(found, key=lambda finding: finding.half == "field")


# ---- the looks: each gives findings, and none raises ---------------------------------------------------------------


def _machine() -> list[Finding]:
    cores = _cores()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else 0.0
    value = f"{cores} core{'s' * (cores != 1)}" + (f", {memory_gb:.0f} GB of memory" if memory_gb else "")
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    advice = "" if threads == "1" else "export OMP_NUM_THREADS=1: the MPI ranks have the cores"
    return [
        Finding("machine", value, True, "computing takes two cores or more" if cores < 2 else ""),
        Finding("threads a rank", threads, True, advice, "field"),
        Finding("Slurm", shutil.which("sbatch") or "none", True, "", "field"),
    ]


def _python() -> list[Finding]:
    packages, lacking = [], []
    for name, least in _requirements():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            lacking.append(f"{name} is missing")
            continue
        packages.append(f"{name} {version}")
        if _numbers(version) < _numbers(least):
            lacking.append(f"{name} {version} is older than {least}")
    if not packages and not lacking:
        lacking = ["the twin's own list of packages is missing"]
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding("Python", f"{version}, {sys.executable}"),
        Finding("packages", "; ".join(lacking) or ", ".join(packages), not lacking, LAB if lacking else ""),
    ]


def _rig() -> list[Finding]:
    if find_spec("serial") is None:
        return []  # among the lacking packages
    from serial.tools import list_ports

    ports = ", ".join(port.device for port in list_ports.comports())
    return [Finding("serial ports", ports or "none", True, "" if ports else "the pumps need one")]


def _dolfinx() -> list[Finding]:
    def read(data: dict[str, Any]) -> list[Finding]:
        real = data["scalar"] == "float64"
        new = _numbers(data["version"])[:2] >= list(DOLFINX_LEAST)
        value = f"{data['version']}, {'real' if real else data['scalar']}, forms compiled in {data['compile_s']:.1f} s"
        remedy = "" if real and new else f"a real build of 0.9 or newer is needed: {FIELD}"
        return [Finding("dolfinx", value, real and new, remedy, "field")]

    return _try("dolfinx", "dolfinx", FIELD, read)


def _petsc() -> list[Finding]:
    def read(data: dict[str, Any]) -> list[Finding]:
        packages = [name for name, there in data["packages"].items() if there]
        mumps = data["mumps_error"] < 1e-10
        remedy = "" if mumps else f"MUMPS is needed: {FIELD}"
        rate = data["gflops"]
        names = [Path(library).name for library in data["blas"]]
        reference = any(map(is_reference, data["blas"])) or (not names and rate < SLOW_GFLOPS)
        value = f"{', '.join(names) or 'built in'}, {rate:.0f} GFLOP/s on one core"
        if reference:
            value += ": the slow reference BLAS"
        return [
            Finding("PETSc", data["version"], True, "", "field"),
            Finding("PETSc packages", ", ".join(packages) or "none", mumps, remedy, "field"),
            Finding("BLAS of PETSc", value, not reference, BLAS if reference else "", "field"),
        ]

    return _try("PETSc", "petsc4py", FIELD, read)


def _mpi() -> list[Finding]:
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None and find_spec("mpi4py") is not None:
        return [Finding("MPI", "no mpirun", False, FIELD, "field")]

    def read(data: dict[str, Any]) -> list[Finding]:
        both = data["ranks"] == 2
        value = f"{data['library']}, {launcher}" + ("" if both else ": two processes don't find each other")
        remedy = "mpirun and mpi4py belong to different MPIs: take both from one source, as environment.yml does"
        return [Finding("MPI", value, both, "" if both else remedy, "field")]

    return _try("MPI", "mpi4py", FIELD, read, [launcher or "mpirun", "-n", "2"])


def _gmsh() -> list[Finding]:
    def read(data: dict[str, Any]) -> list[Finding]:
        lacking = [name for name in ("Netgen", "OpenCASCADE") if not data[name]]
        value = f"{data['version']} with " + ", ".join(name for name in ("Netgen", "OpenCASCADE") if data[name])
        remedy = f"this build lacks {' and '.join(lacking)}: pip install --force-reinstall gmsh" if lacking else ""
        return [Finding("Gmsh", value, not lacking, remedy, "field")]

    return _try("Gmsh", "gmsh", f"pip install gmsh meshio; {FIELD}", read)


def _numba() -> list[Finding]:
    def read(data: dict[str, Any]) -> list[Finding]:
        return [Finding("Numba", f"{data['version']}, compiles", data["right"], "", "field")]

    return _try("Numba", "numba", f"pip install numba; {FIELD}", read)


def _picture() -> list[Finding]:
    def read(data: dict[str, Any]) -> list[Finding]:
        remedy = "" if data["drawn"] else "Debian: apt install libosmesa6 libegl1; or pip install --upgrade vtk"
        value = f"VTK {data['version']}, {data['window']}" + ("" if data["drawn"] else ": the picture is empty")
        return [Finding("pictures", value, data["drawn"], remedy)]

    remedy = f"{LAB} (a crash here: apt install libosmesa6 libegl1 libgl1)"
    return _try("pictures", "vtkmodules", remedy, read, half="lab")


# ---- processes -----------------------------------------------------------------------------------------------------


def _try(
    name: str,
    module: str,
    remedy: str,
    read: Callable[[dict[str, Any]], list[Finding]],
    launcher: list[str] | None = None,
    half: Literal["lab", "field"] = "field",
) -> list[Finding]:
    """What `read` makes of the data of the probe for `module`; one finding in words where it gives none."""
    if find_spec(module) is None:
        return [Finding(name, "missing", False, remedy, half)]
    home = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}
    command = [*(launcher or []), sys.executable, "-m", "twin.doctor", module]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output.json")
        code, errors = _finish([*command, str(output)], environment)
        if code == 0 and output.exists():
            return read(json.loads(output.read_text(encoding="utf-8")))
    if code is None:
        reason = f"no answer in {PATIENCE_S:.0f} s"
    elif code < 0:
        reason = f"crashed with {signal.Signals(-code).name}"
    else:
        reason = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")
    return [Finding(name, reason, False, remedy, half)]


def _finish(command: list[str], environment: dict[str, str]) -> tuple[int | None, str]:
    """The exit code (none: it had to be ended) and what went wrong. The whole group is ended with its leader."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            errors = process.communicate(timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            return None, ""
    return process.returncode, errors


def _probe_dolfinx() -> dict[str, Any]:
    import dolfinx
    import ufl
    from mpi4py import MPI

    mesh = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 2, 2)
    began = perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        form = dolfinx.fem.form(dolfinx.fem.Constant(mesh, 1.0) * ufl.dx(mesh), jit_options={"cache_dir": cache})
        area = dolfinx.fem.assemble_scalar(form)
    seconds = perf_counter() - began
    if abs(area - 1) > 1e-12:
        raise ArithmeticError(f"the area of the unit square came out as {area}")
    return {"version": dolfinx.__version__, "scalar": str(dolfinx.default_scalar_type.__name__), "compile_s": seconds}


def _probe_petsc4py() -> dict[str, Any]:
    import petsc4py

    petsc4py.init(["-options_left", "no"])
    from petsc4py import PETSc

    labels = {"mumps": "MUMPS", "hypre": "hypre", "superlu_dist": "SuperLU_DIST", "ptscotch": "PT-SCOTCH"}
    labels |= {"parmetis": "ParMETIS", "scalapack": "ScaLAPACK", "slepc": "SLEPc"}
    there = {label: bool(PETSc.Sys.hasExternalPackage(name)) for name, label in labels.items()}
    there["SLEPc"] = find_spec("slepc4py") is not None
    version = ".".join(map(str, PETSc.Sys.getVersion())) + f", {PETSc.IntType().itemsize * 8}-bit indices"
    data = {"version": version, "packages": there, "mumps_error": 1.0, "gflops": _gflops(PETSc)}
    if there["MUMPS"]:
        data["mumps_error"] = _mumps_error(PETSc)
    maps = Path("/proc/self/maps")
    lines = maps.read_text(encoding="utf-8").splitlines() if maps.exists() else []
    loaded = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    data["blas"] = sorted(path for path in loaded if is_blas(path))
    return data


def _gflops(petsc: Any) -> float:
    """The speed of a product of dense matrices, which is what the factors of MUMPS are made with."""
    size = 600
    left = petsc.Mat().createDense([size, size], comm=petsc.COMM_SELF)
    left.setUp()
    left.setRandom()
    product = left.matMult(left)
    best = float("inf")
    for _ in range(3):
        began = perf_counter()
        left.matMult(left, product)
        best = min(best, perf_counter() - began)
    return 2e-9 * size**3 / best


def _mumps_error(petsc: Any) -> float:
    """The error of a small system solved with MUMPS."""
    matrix = petsc.Mat().createAIJ([3, 3], nnz=3, comm=petsc.COMM_SELF)
    for row in range(3):
        matrix.setValue(row, row, 2.0)
        if row:
            matrix.setValue(row, row - 1, -1.0)
    matrix.assemble()
    solver = petsc.KSP().create(petsc.COMM_SELF)
    solver.setOperators(matrix)
    solver.setType("preonly")
    solver.getPC().setType("lu")
    solver.getPC().setFactorSolverType("mumps")
    solution, right = matrix.createVecs()
    right.set(1.0)
    solver.solve(right, solution)
    return float((matrix * solution - right).norm())


def _probe_mpi4py() -> dict[str, Any]:
    from mpi4py import MPI

    ranks = MPI.COMM_WORLD.allreduce(1)
    library = re.split(r"[,\n]", MPI.Get_library_version().strip("\0 \n"))[0]
    return {"library": library, "ranks": ranks} if MPI.COMM_WORLD.rank == 0 else {}


def _probe_numba() -> dict[str, Any]:
    import numba

    @numba.njit
    def twice(number: float) -> float:
        return 2 * number

    return {"version": numba.__version__, "right": twice(1.5) == 3.0}


def _probe_gmsh() -> dict[str, Any]:
    import gmsh

    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    options = gmsh.option.getString("General.BuildOptions").split()
    data = {"version": gmsh.option.getString("General.Version"), "Netgen": "Netgen" in options}
    data["OpenCASCADE"] = "OpenCASCADE" in options
    if data["Netgen"] and data["OpenCASCADE"]:
        gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
        gmsh.model.occ.synchronize()
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.5)
        gmsh.model.mesh.generate(3)
        gmsh.model.mesh.optimize("Netgen")
        data["Netgen"] = len(gmsh.model.mesh.getElementsByType(4)[0]) > 0
    gmsh.finalize()
    return data


def _probe_vtkmodules() -> dict[str, Any]:
    import pyvista

    plotter = pyvista.Plotter(off_screen=True, window_size=(64, 64))
    plotter.add_mesh(pyvista.Sphere(), color="red")
    plotter.show(auto_close=False)
    picture = plotter.screenshot(return_img=True)
    window = type(plotter.render_window).__name__.removeprefix("vtk").removesuffix("RenderWindow")
    plotter.close()
    return {
        "version": ".".join(map(str, pyvista.vtk_version_info)),
        "window": {"OSOpenGL": "OSMesa"}.get(window, window),
        "drawn": bool(picture[..., 0].std() > 1),
    }


# ---- small things --------------------------------------------------------------------------------------------------


def is_blas(path: str) -> bool:
    """Whether a loaded library is a BLAS, and not one that only NumPy or SciPy brought along for themselves."""
    known = r"lib(blas|openblas|mkl_rt|mkl_core|blis|[st]?atlas|armpl|nvpl_blas|essl)"
    bundled = re.search(r"/(numpy|scipy|scikit_learn)\.libs/", path)
    return not bundled and re.match(known, Path(path).name) is not None


def is_reference(path: str) -> bool:
    """Whether a BLAS is the reference one: a bare libblas that no faster one stands behind."""
    return Path(path).name.startswith("libblas.so") and not re.search("openblas|mkl|blis|atlas|armpl|nvpl", path)


def _requirements() -> list[tuple[str, str]]:
    """The lab half's packages with their least versions, as pyproject.toml gives them."""
    try:
        lines = metadata.requires("yjunction-twin") or []
    except metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        if not project.exists():
            return []
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = (re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in lines)
    return [(match[1], match[2]) for match in found if match]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _probe(module: str, output: str) -> None:
    """The work of `python -m twin.doctor MODULE OUTPUT`."""
    data = globals()[f"_probe_{module}"]()
    if data:
        Path(output).write_text(json.dumps(data), encoding="utf-8")


if __name__ == "__main__":
    _probe(*sys.argv[1:])
