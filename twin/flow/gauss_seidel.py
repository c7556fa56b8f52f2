"""A few steps of GMRES with symmetric Gauss–Seidel over the nodes of each rank, in single precision.

With A = D + L + U by nodes, scaled from the left so that D = 1, GMRES runs on

    (1 + L)⁻¹ A (1 + U)⁻¹ = T + (1 + L)⁻¹ (1 − T),  T = (1 + U)⁻¹,

which takes one pass over the matrix where a product with A and two sweeps take two (Eisenstat, SIAM J. Sci. Stat.
Comput. 2 (1981) 1). L and U are a rank's own; what couples a row to the nodes of other ranks, O, is in the product
only: 1 − T becomes 1 − T + O T.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numba as nb
import numpy as np
from dolfinx import la
from mpi4py import MPI
from petsc4py import PETSc

from twin.fem import _compat

_NOTHING = 1e-6  # what is left of a direction without those before it, where it is nothing but rounding

_compile = nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
# petsc4py does not hand out the numbers of a matrix in blocks. The symbols stay in this handle (see twin.isolation).
_petsc = ctypes.CDLL(PETSc.__file__)
_Index = np.ctypeslib.as_ctypes_type(PETSc.IntType)


class GaussSeidel:
    """Solves roughly with a matrix in blocks of two or three (PETSc's BAIJ), a row of blocks for each node."""

    def __init__(self, matrix: PETSc.Mat, steps: int) -> None:
        """`steps` is the number of GMRES's. To be followed by `update` once the matrix is assembled."""
        self._matrix, self._width, self._comm = matrix, matrix.getBlockSize(), matrix.getComm().tompi4py()
        shape = steps, matrix.getLocalSize()[0]
        self._basis, self._swept = np.empty(shape, np.float32), np.empty(shape, np.float32)

    def update(self) -> None:
        """Takes over the numbers of the matrix."""
        with _blocks(self._matrix) as (own, others, ghosts):
            starts, columns, values = own
            inverse = np.linalg.inv(values[_diagonal(starts, columns)].transpose(0, 2, 1))
            self._below, self._above = _split((own, others), inverse)
            rows = np.array(self._matrix.getOwnershipRanges()) // self._width
            owners = np.searchsorted(rows, ghosts, side="right") - 1
            nodes = _compat.index_map(self._comm, len(inverse), ghosts, owners.astype(np.int32))
        self._inverse = inverse.astype(np.float32)
        self._new, self._shared = (la.vector(nodes, self._width, np.float32) for _ in range(2))

    def solve(self, right: PETSc.Vec, into: PETSc.Vec) -> None:
        """What the inverse makes of `right`, roughly."""
        scale = right.norm()
        if scale == 0:
            into.set(0.0)
            return
        nodes = -1, self._width
        owned = self._basis.shape[1]
        whole, shared = self._new.array, self._shared.array  # ghosts after the rank's own
        new, t = whole[:owned], shared[:owned]
        _scaled(self._inverse, right.array_r.reshape(nodes), 1 / scale, whole.reshape(nodes))
        whole[owned:] = 0
        _sweep(self._below, whole.reshape(nodes), False)
        size = first = self._norm(new)
        steps = len(self._basis)
        found = np.zeros((steps + 1, steps))
        for step in range(steps):
            basis, swept = self._basis[: step + 1], self._swept[: step + 1]
            np.divide(new, np.float32(size), out=basis[-1])
            t[:] = basis[-1]
            _sweep(self._above, shared.reshape(nodes), True)
            self._shared.scatter_forward()
            swept[-1] = t
            np.subtract(basis[-1], t, out=new)
            np.negative(shared[owned:], out=whole[owned:])
            _sweep(self._below, whole.reshape(nodes), False)
            new += t
            before = self._norm(new)
            along = self._over_ranks(basis @ new)
            new -= along.astype(np.float32) @ basis
            size = self._norm(new)
            found[: step + 1, step], found[step + 1, step] = along, size
            if size < _NOTHING * before:
                break
        goal = np.zeros(step + 2)
        goal[0] = first
        best = np.linalg.lstsq(found[: step + 2, : step + 1], goal, rcond=None)[0]
        np.multiply(best.astype(np.float32) @ swept, scale, out=into.array)

    def megabytes(self) -> float:
        """The memory of the matrix's copy and of the vectors, over all ranks."""
        arrays = [self._basis, self._swept, self._new.array, self._shared.array, self._inverse]
        mine = sum(array.nbytes for array in (*arrays, *self._below, *self._above))
        return self._comm.allreduce(mine) * 1e-6

    def _over_ranks(self, values: np.ndarray) -> np.ndarray:
        total = np.asarray(values, np.float64)
        self._comm.Allreduce(MPI.IN_PLACE, total)
        return total

    def _norm(self, vector: np.ndarray) -> float:
        return float(np.sqrt(self._over_ranks(vector @ vector)))


_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # where each row starts, columns, blocks


@contextmanager
def _blocks(matrix: PETSc.Mat) -> Iterator[tuple[_Rows, _Rows, np.ndarray]]:
    """A rank's rows as PETSc holds them, blocks by columns: in its own columns, in those of other ranks, and the
    numbers of the latter in the whole. Columns count from the rank's first, those of others after its own.

    They are more than the ghosts of the space: rows that are assembled on two ranks couple to nodes of both.
    """
    width, handle = matrix.getBlockSize(), ctypes.c_void_p(matrix.handle)
    size = matrix.getLocalSize()[0] // width
    if matrix.getComm().size == 1:
        with _sequential(handle, width) as own:
            yield own, (np.zeros_like(own[0]), own[1][:0], own[2][:0]), np.empty(0, np.int64)
        return
    mine, others, names = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.POINTER(_Index)()
    _call("MatMPIBAIJGetSeqBAIJ", handle, *map(ctypes.byref, (mine, others, names)))
    with _sequential(mine, width) as own, _sequential(others, width) as (starts, columns, values):
        ghosts = np.array(names[: int(columns.max(initial=-1)) + 1], np.int64)
        yield own, (starts, columns + columns.dtype.type(size), values), ghosts


@contextmanager
def _sequential(matrix: ctypes.c_void_p, width: int) -> Iterator[_Rows]:
    rows, done = _Index(), ctypes.c_int()
    starts, columns = ctypes.POINTER(_Index)(), ctypes.POINTER(_Index)()
    values = ctypes.POINTER(ctypes.c_double)()
    pattern = 0, 0, 1, *map(ctypes.byref, (rows, starts, columns, done))
    _call("MatGetRowIJ", matrix, *pattern)
    _call("MatSeqBAIJGetArray", matrix, ctypes.byref(values))
    ends = np.ctypeslib.as_array(starts, (rows.value + 1,))
    if entries := int(ends[-1]):
        blocks = np.ctypeslib.as_array(columns, (entries,)), np.ctypeslib.as_array(values, (entries, width, width))
    else:
        blocks = np.empty(0, PETSc.IntType), np.empty((0, width, width))
    yield ends, *blocks
    _call("MatSeqBAIJRestoreArray", matrix, ctypes.byref(values))
    _call("MatRestoreRowIJ", matrix, *pattern)


def _call(name: str, *arguments: object) -> None:
    if getattr(_petsc, name)(*arguments) != 0:
        raise RuntimeError(f"PETSc's {name} failed")


@_compile
def _diagonal(starts: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Where each row has its diagonal."""
    places = np.empty(len(starts) - 1, np.int64)
    for i in range(len(places)):
        for k in range(starts[i], starts[i + 1]):
            if columns[k] == i:
                places[i] = k
    return places


@_compile
def _split(parts, inverse):  # type: ignore[no-untyped-def]
    """D⁻¹L with D⁻¹O, and D⁻¹U with its rows from the last to the first; both without blocks of zeros."""
    size, width = len(inverse), inverse.shape[1]
    below, above = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    for i in range(size):
        for starts, columns, values in parts:
            for k in range(starts[i], starts[i + 1]):
                if columns[k] != i and np.any(values[k] != 0.0):
                    if i < columns[k] < size:
                        above[size - i] += 1
                    else:
                        below[i + 1] += 1
    below, above = np.cumsum(below), np.cumsum(above)
    lower = below, np.empty(below[-1], np.int32), np.empty((below[-1], width, width), np.float32)
    upper = above, np.empty(above[-1], np.int32), np.empty((above[-1], width, width), np.float32)
    for i in range(size):
        low, up = below[i], above[size - 1 - i]
        for starts, columns, values in parts:
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                if j == i or not np.any(values[k] != 0.0):
                    continue
                if i < j < size:
                    half, at = upper, up
                    up += 1
                else:
                    half, at = lower, low
                    low += 1
                half[1][at] = j
                for r in range(width):
                    for s in range(width):
                        total = 0.0
                        for m in range(width):
                            total += inverse[i, r, m] * values[k, s, m]
                        half[2][at, r, s] = total
    return lower, upper


@_compile
def _scaled(inverse, right, factor, into):  # type: ignore[no-untyped-def]
    """D⁻¹ times a multiple of a vector."""
    width = inverse.shape[1]
    for i in range(len(inverse)):
        for r in range(width):
            total = 0.0
            for s in range(width):
                total += inverse[i, r, s] * right[i, s]
            into[i, r] = factor * total


@_compile
def _sweep(rows, x, backwards):  # type: ignore[no-untyped-def]
    """(1 + T)⁻¹ x in place of x, for T below the diagonal, or above it with its rows stored from the last to the first.

    A sweep runs at the speed of memory only where it reads upwards; unsigned indices need no test of their sign.
    """
    starts, columns, values = rows
    size = np.uint64(len(starts) - 1)
    for row in range(size):
        i = size - np.uint64(1) - row if backwards else row
        blocks = range(np.uint64(starts[row]), np.uint64(starts[row + np.uint64(1)]))
        if values.shape[1] == 3:
            a, b, c = x[i, 0], x[i, 1], x[i, 2]
            for k in blocks:
                j, t = np.uint64(columns[k]), values[k]
                u, v, w = x[j, 0], x[j, 1], x[j, 2]
                a -= t[0, 0] * u + t[0, 1] * v + t[0, 2] * w
                b -= t[1, 0] * u + t[1, 1] * v + t[1, 2] * w
                c -= t[2, 0] * u + t[2, 1] * v + t[2, 2] * w
            x[i, 0], x[i, 1], x[i, 2] = a, b, c
        else:
            a, b = x[i, 0], x[i, 1]
            for k in blocks:
                j, t = np.uint64(columns[k]), values[k]
                u, v = x[j, 0], x[j, 1]
                a -= t[0, 0] * u + t[0, 1] * v
                b -= t[1, 0] * u + t[1, 1] * v
            x[i, 0], x[i, 1] = a, b
