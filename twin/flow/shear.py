"""The shear of the fluid on a wall: how large it is, point by point, and where along a curve it changes direction.

From the weak form instead of the gradient at the wall, as in `twin.flow.forces`: the traction t of first degree on the
wall for which ∫ t·v = −R(v) with every v that is of first degree on the wall, and zero at all nodes off it. On a pipe
whose cells are a quarter of its bore it is off by 0.3 % (root mean square), and its mean by 0.01 %; the gradient at the
wall is off by 0.8 % and 0.7 %. A t of second degree has as good a mean, but swings from node to node, by 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import basix
import basix.ufl
import numpy as np
import scipy.sparse
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from dolfinx.la import InsertMode
from scipy.sparse.linalg import spsolve

from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.flow.forces import turning
from twin.flow.turns import sign_changes

DEGREE = 6  # of the quadrature: the shear shall not have an error of its own
SAMPLES = 2  # the degree of the Gauss points where it is told: a projection of first degree is most accurate there
FIRST = (1.0, 0.6)  # a wall's points begin with the lowest in this direction: few bodies are symmetric about it


@dataclass(frozen=True)
class WallShear:
    """The shear on one wall, the same on every rank: `at` and `shear`, (n, dim), and the area of each point, (n,), in
    the units of mesh and fields. The shear is the tangential traction of the fluid on the wall.

    In 2-D the points follow each other along the wall, `pieces` are its connected parts as (first, last + 1, whether it
    is closed), `along` is the shear in this direction, (n,), and `begins` where the facet of each point begins, (n, 2),
    which may be a corner of the wall. In 3-D all three are empty.
    """

    at: np.ndarray
    shear: np.ndarray
    area: np.ndarray
    along: np.ndarray
    begins: np.ndarray
    pieces: tuple[tuple[int, int, bool], ...]

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return float(np.linalg.norm(self.shear, axis=1).max())

    @property
    def mean(self) -> float:
        """The mean magnitude over the wall."""
        return float(np.average(np.linalg.norm(self.shear, axis=1), weights=self.area))

    def scaled(self, length: float, stress: float) -> WallShear:
        """The same in other units of length and stress; only the areas stay."""
        at, begins = self.at * length, self.begins * length
        return replace(self, at=at, begins=begins, shear=self.shear * stress, along=self.along * stress)

    def turns(self) -> list[tuple[str, np.ndarray]]:
        """Where the shear changes its direction along the wall, in order, (dim,): a `separation` where the fluid comes
        from both sides, an `attachment` where it leaves to both. Stretches where the shear is weak don't count.
        """
        found = []
        for first, end, closed in self.pieces:
            here = self.along[first:end]
            for one, other in sign_changes(here, self.mean, closed):
                share = here[one] / (here[one] - here[other])
                kind = "separation" if here[other] < 0 else "attachment"
                found.append((kind, self._between(first + one, first + other, share)))
        return found

    def _between(self, one: int, other: int, share: float) -> np.ndarray:
        """The place at a share of the way along the wall from one point to the next, which may lead round a corner."""
        path = self.at[[one, other]]
        if not np.array_equal(self.begins[one], self.begins[other]):
            path = np.insert(path, 1, self.begins[other], axis=0)
        gone = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
        return np.array([np.interp(share * gone[-1], gone, part) for part in path.T])


def wall_shear(
    domain: Domain, velocity: fem.Function, pressure: fem.Function, reynolds: float, name: str, change: Any = None
) -> WallShear:
    """The shear of a pair of fields on a wall that rests, or moves along itself, in ρU². `change` is ∂u/∂t of an
    unsteady flow.
    """
    facets = _Facets(domain, name)
    traction = facets.carry(_held(domain, velocity, pressure, reynolds, name, change))
    points, weights = basix.make_quadrature(facets.kind, SAMPLES)
    at, slopes, area = facets.geometry(points, weights)
    values = np.einsum("qv,fvd->fqd", facets.hats(points), traction[facets.ends])
    if domain.dim == 3:
        normal = np.cross(slopes[0], slopes[1])
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        values = values - np.sum(values * normal, axis=-1, keepdims=True) * normal
        return WallShear(at.reshape(-1, 3), values.reshape(-1, 3), area.ravel(), np.empty(0), np.empty((0, 3)), ())
    tangent = slopes[0] / np.linalg.norm(slopes[0], axis=-1, keepdims=True)
    along = np.sum(values * tangent, axis=-1)
    shear = along[..., None] * tangent
    order: list[int] = []
    begins: list[np.ndarray] = []
    pieces = []
    for chain, closed in _chains(facets.ends, facets.places):
        begin = len(order)
        for facet, backwards in chain:
            numbers = range(facet * len(weights), (facet + 1) * len(weights))
            order += reversed(numbers) if backwards else numbers
            begins += len(weights) * [facets.places[facets.ends[facet][int(backwards)]]]
            along[facet] *= -1 if backwards else 1
        pieces.append((begin, len(order), closed))
    at, shear = at.reshape(-1, 2)[order], shear.reshape(-1, 2)[order]
    return WallShear(at, shear, area.ravel()[order], along.ravel()[order], np.array(begins), tuple(pieces))


def _held(
    domain: Domain, u: fem.Function, p: fem.Function, reynolds: float, name: str, change: Any
) -> dict[int, np.ndarray]:
    """−R(v) for each node of a wall, by its number in the mesh file, (dim,), on every rank.

    The pressure is integrated by parts, which leaves its push out; so is what acts on the other boundaries at the rim.
    """
    mesh, dim, space = domain.mesh, domain.dim, u.function_space
    v, n, nu = ufl.TestFunction(space), ufl.FacetNormal(mesh), fem.Constant(mesh, 1 / reynolds)
    inertia = ufl.dot(ufl.grad(u), u)
    if change is not None:
        inertia += change
    facets, own = dmesh.exterior_facet_indices(mesh.topology), domain.facets.find(domain.tag(name))
    marked = dmesh.meshtags(mesh, dim - 1, facets, np.where(np.isin(facets, own), 2, 1).astype(np.int32))
    ds = ufl.Measure("ds", mesh, subdomain_data=marked, metadata={"quadrature_degree": DEGREE})
    form = (ufl.inner(inertia + ufl.grad(p), v) + nu * ufl.inner(ufl.grad(u), ufl.grad(v))) * domain.dx(DEGREE)
    form += nu * ufl.inner(turning(u, n), v) * ds(2) - nu * ufl.inner(ufl.dot(ufl.grad(u), n), v) * ds(1)
    vector = fem.assemble_vector(compiled(form))
    vector.scatter_reverse(InsertMode.add)
    values = vector.array.reshape(-1, dim)
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[space.dofmap.list.ravel()] = mesh.geometry.input_global_indices[_compat.geometry_dofmap(mesh).ravel()]
    mine = domain.dofs(space, name)
    mine = mine[mine < space.dofmap.index_map.size_local]
    parts = domain.comm.allgather((numbers[mine], -values[mine]))
    return {int(number): value for some, values in parts for number, value in zip(some, values, strict=True)}


class _Facets:
    """The facets of a wall, all of them on every rank, in an order that does not depend on the number of ranks.

    `places` are the vertices, (n, dim), `ends` those of each facet, (facets, dim).
    """

    def __init__(self, domain: Domain, name: str) -> None:
        mesh, dim = domain.mesh, domain.dim
        self.kind = basix.CellType.interval if dim == 2 else basix.CellType.triangle
        degree = _compat.geometry_degree(mesh)
        self._element = basix.create_element(basix.ElementFamily.P, self.kind, degree)
        self._linear = basix.create_element(basix.ElementFamily.P, self.kind, 1)
        cell = basix.create_element(basix.ElementFamily.P, getattr(basix.CellType, mesh.basix_cell().name), degree)
        mesh.topology.create_connectivity(dim, dim - 1)
        owners = mesh.topology.connectivity(dim - 1, dim)
        sides = mesh.topology.connectivity(dim, dim - 1).array.reshape(-1, dim + 1)
        facets = domain.facets.find(domain.tag(name))
        facets = facets[facets < mesh.topology.index_map(dim - 1).size_local]
        cells = owners.array[owners.offsets[facets]]
        side = np.argmax(sides[cells] == facets[:, None], axis=1)
        closure = np.array(cell.entity_closure_dofs[dim - 1])
        nodes = _compat.geometry_dofmap(mesh)[cells[:, None], closure[side]]
        numbers = mesh.geometry.input_global_indices[nodes]
        parts = domain.comm.allgather((numbers, mesh.geometry.x[nodes][..., :dim]))
        numbers, nodes_at = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.lexsort(np.sort(numbers[:, :dim], axis=1).T)
        self._nodes_at = nodes_at[order]  # (facets, nodes, dim)
        self._numbers = numbers[order]  # (facets, nodes), in the mesh file
        vertices, index = np.unique(self._numbers[:, :dim], return_inverse=True)
        self.ends = index.reshape(-1, dim)
        self.places = np.empty((len(vertices), dim))
        self.places[self.ends] = self._nodes_at[:, :dim]

    def hats(self, points: np.ndarray) -> np.ndarray:
        """The shape functions of first degree at reference points, (points, vertices)."""
        return np.asarray(self._linear.tabulate(0, points)[0, ..., 0])

    def geometry(self, points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where reference points lie on each facet, (facets, points, dim), the slopes of that map in each reference
        direction, (dim − 1, facets, points, dim), and the area that goes with the weights, (facets, points).
        """
        table = self._element.tabulate(1, points)[..., 0]
        at, *slopes = np.einsum("jqn,fnd->jfqd", table, self._nodes_at)
        stretch = np.linalg.norm(np.cross(*slopes) if len(slopes) == 2 else slopes[0], axis=-1)
        return at, np.array(slopes), stretch * weights

    def carry(self, held: dict[int, np.ndarray]) -> np.ndarray:
        """The traction of first degree, at the vertices, (n, dim), from what is held at the nodes."""
        points, weights = basix.make_quadrature(self.kind, DEGREE)
        hats, area = self.hats(points), self.geometry(points, weights)[2]
        masses = np.einsum("fq,qv,qw->fvw", area, hats, hats)
        rows, columns = np.broadcast_arrays(self.ends[:, :, None], self.ends[:, None, :])
        matrix = scipy.sparse.coo_matrix((masses.ravel(), (rows.ravel(), columns.ravel())))
        _, once = np.unique(self._numbers, return_index=True)  # each node in one of its facets
        facet, node = np.unravel_index(once, self._numbers.shape)
        at_nodes = np.array([held[int(number)] for number in self._numbers.ravel()[once]])
        right = np.zeros_like(self.places)
        np.add.at(right, self.ends[facet], self.hats(self._element.points)[node][..., None] * at_nodes[:, None])
        return np.asarray(spsolve(matrix.tocsc(), right))


def _chains(ends: np.ndarray, places: np.ndarray) -> list[tuple[list[tuple[int, bool]], bool]]:
    """The facets of a curve one after the other: for each connected part its facets, each with whether it is passed
    from its second end to its first, and whether the part is closed.
    """
    height = places @ FIRST
    beside: dict[int, set[int]] = {}
    for facet, pair in enumerate(ends):
        for end in pair:
            beside.setdefault(int(end), set()).add(facet)
    found = []
    while open_ends := {end: facets for end, facets in beside.items() if facets}:
        start = min(open_ends, key=lambda end: (len(open_ends[end]) != 1, height[end]))
        chain, now = [], start
        while beside[now]:
            other = {facet: int(ends[facet].sum()) - now for facet in beside[now]}
            facet = min(other, key=lambda one: places[other[one]][1])  # a closed one is begun downwards
            chain.append((facet, bool(ends[facet][0] != now)))
            beside[now].remove(facet)
            now = other[facet]
            beside[now].remove(facet)
        found.append((chain, now == start))
    return sorted(found, key=lambda one: height[ends[one[0][0][0]][int(one[0][0][1])]])
