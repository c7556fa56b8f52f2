"""What keeps the ranks in step."""

from __future__ import annotations

import gc


def collect_in_step() -> None:
    """Collects Python's cyclic garbage now, and from now on only when this is called: at the same place on every rank.

    A PETSc object that dies takes PETSc's private communicator with it when it was the last one there. Left to itself,
    the collector runs at moments that differ from rank to rank; then one rank duplicates that communicator anew, which
    all ranks must do together, and waits for ever.
    """
    gc.disable()
    gc.collect()
