"""What every field solver shares: the mesh with named boundaries, reductions over ranks, nodal storage."""
