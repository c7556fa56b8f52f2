"""Flow cases on meshes of a few triangles: their text and meshes, solved in this process."""

import csv
import json

import gmsh
import numpy as np
from mpi4py import MPI

from twin.campaign import flow_worker
from twin.campaign.flow_case import flow_mesh, unit_m
from twin.campaign.flow_problem import FlowProblem
from twin.case import Results
from twin.fem.domain import read_domain

CHANNEL = """
name = "channel"
title = "Poiseuille"
[junction]
mesh = "channel.msh"
bore = "1 mm"
[fluid]
density = "1000 kg/m^3"
viscosity = "1 mPa*s"
[boundaries]
walls = ["bottom", "top"]
[boundaries.inlets.in]
mean_velocity = "10 mm/s"
[boundaries.outlets.out]
pressure = "5 Pa"
[flow]
[output]
forces = ["bottom"]
shear = ["bottom"]
[output.probes]
middle = ["1 mm", "0.5 mm"]
[output.lines.across]
from = ["1.5 mm", "0 mm"]
to = ["1.5 mm", "1 mm"]
points = 5
"""
UNSTEADY = CHANNEL + '[time]\nend = "0.2 s"\nstep = "0.02 s"\nsave = "0.1 s"\n'


def rectangles(path, boxes, name_of, size):
    """A mesh of joined rectangles (x, y, width, height) with boundaries named by `name_of(x, y)` of their middle."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ = gmsh.model.occ
    parts = [(2, occ.addRectangle(x, y, 0, width, height)) for x, y, width, height in boxes]
    if len(parts) > 1:
        parts, _ = occ.fuse(parts[:1], parts[1:])
    occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(1):
        x, y, _ = occ.getCenterOfMass(1, tag)
        names.setdefault(name_of(round(x, 6), round(y, 6)), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(1, tags, name=name)
    gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    gmsh.option.setNumber("Mesh.MeshSizeMin", size)
    gmsh.model.mesh.generate(2)
    gmsh.write(str(path))
    gmsh.finalize()


def channel(path, size=0.34):
    rectangles(path, [(0, 0, 2, 1)], lambda x, y: {0: "in", 2: "out"}.get(x, "bottom" if y < 0.5 else "top"), size)


def problem_of(case):
    level = case.level_names[0]
    mesh = flow_mesh(case, level, case.folder / "results" / level / "mesh")
    return FlowProblem(case, read_domain(mesh.msh, MPI.COMM_SELF), unit_m(case, level))


def job_of(case, scales=(1.0,), level=None, allow_high_reynolds=False):
    """The job of a worker on one of a case's meshes, the first by default."""
    level = level or case.level_names[0]
    results = Results.of(case, level)
    mesh = flow_mesh(case, level, results.mesh)
    return {
        "case": str(case.folder),
        "level": level,
        "results": str(results.folder),
        "mesh_hash": mesh.hash,
        "unit_m": unit_m(case, level),
        "scales": list(scales),
        "allow_high_reynolds": allow_high_reynolds,
    }


def worker_of(case):
    return flow_worker.FlowWorker(case, job_of(case), MPI.COMM_SELF)


def solved(case, scales=(1.0,), level=None, allow_high_reynolds=False):
    """The records of a case on one of its meshes, the first by default, on one rank."""
    flow_worker.run(job_of(case, scales, level, allow_high_reynolds), MPI.COMM_SELF)
    results = Results.of(case, level or case.level_names[0])
    return [json.loads((results.point(case.point_name(scale)) / "record.json").read_text()) for scale in scales]


def table_of(case, name):
    with (Results.of(case, case.level_names[0]).point("flow") / name).open() as file:
        header, *rows = list(csv.reader(file))
    return header, np.array(rows, dtype=float)
