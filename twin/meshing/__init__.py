"""From a connector, or a mesh of the user's own, to second-order tetrahedra with named boundaries."""

from twin.meshing.build import MeshFolder, build_mesh

__all__ = ["MeshFolder", "build_mesh"]
