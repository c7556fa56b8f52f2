"""A mesh of polyhedra as OpenFOAM keeps it on disk, and the measures of its faces and cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PolyMesh:
    """Points (n, 3) and faces, whose corners stand one face after the other: face f has corners[starts[f]:starts[f+1]].

    Their normals lead from owner to neighbour, or outwards; the internal faces (as many as `neighbour` has) come first,
    then patch by patch: `patches` gives (first face, faces) by name.
    """

    points: Floats
    corners: Ints
    starts: Ints
    owner: Ints
    neighbour: Ints
    patches: dict[str, tuple[int, int]]

    @property
    def cells(self) -> int:
        """The number of polyhedra."""
        return int(np.max(self.owner)) + 1

    def patch(self, name: str) -> slice:
        """The faces of a patch."""
        start, count = self.patches[name]
        return slice(start, start + count)

    @cached_property
    def face_areas(self) -> Floats:
        """Area vectors (faces, 3)."""
        return self._faces[0]

    @cached_property
    def face_centres(self) -> Floats:
        """Centres of the faces' area (faces, 3)."""
        return self._faces[1]

    @cached_property
    def cell_volumes(self) -> Floats:
        """Volumes (cells)."""
        return self._sum((self.face_areas * self.face_centres).sum(axis=1) / 3, -1.0)

    @cached_property
    def cell_centres(self) -> Floats:
        """Centres of volume (cells, 3): of the pyramids from the middle of a cell's faces to each of them."""
        size = np.linalg.norm(self.face_areas, axis=1)
        middle = self._sum(self.face_centres * size[:, None], 1.0) / self._sum(size, 1.0)[:, None]
        total, volume = np.zeros_like(middle), np.zeros(self.cells)
        for cell, faces, sign in (
            (self.owner, slice(None), 1.0),
            (self.neighbour, slice(len(self.neighbour)), -1.0),
        ):
            centre = self.face_centres[faces]
            pyramid = sign * (self.face_areas[faces] * (centre - middle[cell])).sum(axis=1) / 3
            np.add.at(total, cell, pyramid[:, None] * (0.75 * centre + 0.25 * middle[cell]))
            np.add.at(volume, cell, pyramid)
        return np.asarray(total / volume[:, None])

    @cached_property
    def _faces(self) -> tuple[Floats, Floats]:
        first, count = self.starts[:-1], np.diff(self.starts)
        here = self.points[self.corners]
        following = np.arange(1, len(self.corners) + 1)
        following[self.starts[1:] - 1] = first
        there = here[following]
        middle = np.repeat(np.add.reduceat(here, first) / count[:, None], count, axis=0)
        triangles = 0.5 * np.cross(here - middle, there - middle)
        size = np.linalg.norm(triangles, axis=1)[:, None]
        centres = np.add.reduceat(size * (here + there + middle) / 3, first) / np.add.reduceat(size, first)
        return np.add.reduceat(triangles, first), centres

    def _sum(self, of_faces: Floats, sign: float) -> Floats:
        """Sums of the faces' values over each cell; those of a neighbour with this sign."""
        total = np.zeros((self.cells, *of_faces.shape[1:]))
        np.add.at(total, self.owner, of_faces)
        np.add.at(total, self.neighbour, sign * of_faces[: len(self.neighbour)])
        return total


def read_polymesh(folder: Path) -> PolyMesh:
    """The mesh of a case, written as text in `constant/polyMesh`."""
    where = folder / "constant" / "polyMesh"
    count, body = _entries(where / "faces")
    faces = [face.split() for face in re.findall(r"\(([^()]*)\)", body)]
    if len(faces) != count:
        raise ValueError(f"{where / 'faces'} has {len(faces)} faces, and says that it has {count}")
    return PolyMesh(
        points=_numbers(where / "points").reshape(-1, 3),
        corners=np.array([corner for face in faces for corner in face], dtype=np.int64),
        starts=np.concatenate([[0], np.cumsum([len(face) for face in faces])]),
        owner=_numbers(where / "owner").astype(np.int64),
        neighbour=_numbers(where / "neighbour").astype(np.int64),
        patches={
            found[1]: (int(found[3]), int(found[2]))
            for found in re.finditer(
                r"(\w+)\s*\{[^{}]*?nFaces\s+(\d+);[^{}]*?startFace\s+(\d+);", _entries(where / "boundary")[1]
            )
        },
    )


def _entries(file: Path) -> tuple[int, str]:
    """How many entries a list has, and its text, without the header of the file."""
    text = file.read_text(encoding="ascii")
    found = re.compile(r"(\d+)\s*\(").search(text, text.index("}"))
    if found is None:
        raise ValueError(f"{file} holds no list")
    return int(found[1]), text[found.end() : text.rindex(")")]


def _numbers(file: Path) -> Floats:
    return np.array(_entries(file)[1].replace("(", " ").replace(")", " ").split(), dtype=float)
