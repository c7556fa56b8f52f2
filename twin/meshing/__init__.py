"""From a connector, a STEP file or a mesh of the user's own to second-order simplices with named boundaries."""

from twin.meshing.build import MeshFolder, build_mesh, mesh_connector, mesh_file

__all__ = ["MeshFolder", "build_mesh", "mesh_connector", "mesh_file"]
