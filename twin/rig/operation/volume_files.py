"""The two files that keep what is left in the syringes from one run to the next.

`volumes.json` holds what was known when nothing moved; it is synced to disk. During a run `volumes-run.json` holds what
the pumps have counted since, once a second: replaced whole, so that a killed process leaves the old one or the new one,
but not synced, since the loop must not wait for the disk. A power cut may therefore leave it old, empty or missing: the
first file still says that an account is open, and since which start of the computer. Where the counts are gone nothing
in the syringe can be relied on; after another start they may be as old as the system keeps what is not synced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.errors import BadInput
from twin.files import explained, write_json
from twin.rig.record.journal import sync_folder

NAME, RUNNING = "volumes.json", "volumes-run.json"
SCHEMA = 1
REFILL = "look at the syringes, then say what they hold: `twin rig refill CASE`"

_Amount = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Entry(_Strict):
    """What was last known of a syringe, mL."""

    syringe: str
    volume_ml: Annotated[float, Field(gt=0)]
    left_ml: _Amount
    uncertain_ml: _Amount
    as_of: str
    by: str


class OpenAccount(_Strict):
    """An account that a run has opened: the largest rates by pump, mL/h, and how long pumps run on unheard, s."""

    run: str
    largest_ml_h: dict[str, _Amount]
    guard_s: _Amount | None
    #: Names the time since the computer was switched on; "" where it does not tell.
    boot: str = ""


class Book(_Strict):
    """The whole of `volumes.json`: the syringes by pump, and the account that a run has open."""

    schema_: int = Field(SCHEMA, alias="schema")
    pumps: dict[str, Entry] = {}
    open: OpenAccount | None = None


class Count(_Strict):
    """What a pump has counted since its account was opened, mL, and the rate at which it goes on, mL/h."""

    infused_ml: _Amount = 0.0
    withdrawn_ml: _Amount = 0.0
    rate_ml_h: float = 0.0
    utc: str
    #: How much of the two the pump does not count any more: its counters were set back on the way.
    carried_ml: tuple[float, float] = (0.0, 0.0)
    #: Where the pump stops by itself, by its own counter, and whether it is known to forget that with its power.
    limit_ml: _Amount | None = None
    forgets_limit: bool = False
    #: Least and most that left the syringe since `begin`, where a run could say so at its end.
    taken_ml: tuple[float, float] | None = None
    #: Whether the run had an answer to all that it told the pump, so that a power cut is still to be told.
    cut_is_told: bool = False


class Counts(_Strict):
    """The whole of `volumes-run.json`."""

    run: str
    pumps: dict[str, Count]


def read_book(path: Path) -> Book:
    """The book; an empty one where there is no file.

    Raises:
        BadInput: the file can't be read, or is damaged; a damaged one is kept aside as `volumes.json.damaged`.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Book()
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}", "it holds what is left in the syringes") from error
    try:
        book = Book.model_validate_json(raw)
        if book.schema_ != SCHEMA:
            raise BadInput(f"{path} has schema {book.schema_}; this rig reads {SCHEMA}", "use the twin that wrote it")
        if book.open is not None and not set(book.open.largest_ml_h) <= set(book.pumps):
            raise ValueError("an account is open of a pump that is not there")
        if any(entry.left_ml > entry.volume_ml * (1 + 1e-9) for entry in book.pumps.values()):
            raise ValueError("a syringe holds more than it takes")
        return book
    except ValueError as error:  # pydantic's ValidationError is one
        aside = _aside(path)
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadInput(f"{path} is damaged ({what}); it is kept as {aside.name}", REFILL) from error


def boot() -> str:
    """What names the time since this computer was switched on; "" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def unsettled(where: Path) -> list[str]:
    """The pumps of a folder whose account a dead run has left open; none where its book can't be read."""
    try:
        book = Book.model_validate_json((where / NAME).read_bytes())
    except (OSError, ValueError):
        return []
    return list(book.open.largest_ml_h) if book.open is not None else []


def read_counts(path: Path, account: OpenAccount | None) -> dict[str, Count]:
    """What the pumps of an open account had counted; nothing where a power cut took it, or it is of another run."""
    if account is None:
        return {}
    try:
        counts = Counts.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return counts.pumps if counts.run == account.run else {}


def write_book(path: Path, book: Book) -> None:
    """Writes the book whole, and has it on disk when this returns."""
    write_json(path, book.model_dump(by_alias=True))
    with explained(path):
        sync_folder(path.parent)


def write_counts(path: Path, run: str, counts: dict[str, Count]) -> None:
    """Replaces the counts of a run whole, without waiting for the disk."""
    scratch = path.with_suffix(".new")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(Counts(run=run, pumps=counts).model_dump_json(), encoding="utf-8")
        scratch.replace(path)


def _aside(path: Path) -> Path:
    """Moves a damaged file out of the way, over none that was moved before."""
    number, aside = 1, path.with_name(f"{path.name}.damaged")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    with explained(aside):
        path.rename(aside)
    return aside
