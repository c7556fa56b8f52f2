"""What is left in each syringe, kept from one run to the next, whatever ends a run."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from twin.errors import BadInput
from twin.files import explained
from twin.rig.clock import Clock
from twin.rig.operation.evidence import Bounds
from twin.rig.operation.volume_files import (
    NAME,
    REFILL,
    RUNNING,
    Book,
    Count,
    Entry,
    OpenAccount,
    boot,
    read_book,
    read_counts,
    write_book,
    write_counts,
)
from twin.rig.pumps.protocol import Dispensed
from twin.rig.record.journal import stamp

#: What a pump has counted is on file after this wall time, s, where it is told at every look.
PERSIST_S = 1.0
#: And on disk, which only a power cut of the computer makes a difference to, after this one, s: Linux writes back what
#: has lain for 30 s, which it looks for every 5 s.
UNSYNCED_S = 40.0


@dataclass(frozen=True)
class Left:
    """What a syringe holds: `left_ml` ± `uncertain_ml`, of `volume_ml`.

    `as_of` is in UTC. `by`: who said so, "run" where a pump counted it, "counter" where it was asked after its run had
    died, "reckoned" where nobody could be asked. `settled`: no account of a dead run is open.
    """

    syringe: str
    volume_ml: float
    left_ml: float
    uncertain_ml: float
    as_of: str
    by: str
    settled: bool = True

    def __str__(self) -> str:
        return (
            f"{self.syringe} holds {self.left_ml:.4g} ± {self.uncertain_ml:.2g} mL of {self.volume_ml:g} mL"
            f" (by {self.by}, {self.as_of})"
        )


class Volumes:
    """The syringes of a rig. One process at a time: hold the run lock of the folder to change anything.

    Args:
        where: the folder of the rig.
        clock: wall time between two writes, and the speed of the pumps against the wall.
        persist_s: wall time after which a count is on disk, s.
    """

    def __init__(self, where: Path, clock: Clock | None = None, persist_s: float = PERSIST_S) -> None:
        self.path = where / NAME
        self._running = where / RUNNING
        self._clock = clock or Clock()
        self._persist_s = persist_s
        self._lock = threading.RLock()
        self._live = False
        self._book = read_book(self.path)
        self._counts = read_counts(self._running, self._book.open)
        #: When each pump was last told of, and the time of the count that is on disk, s of wall time.
        self._told: dict[str, float] = {}
        self._written: dict[str, float] = {}

    @classmethod
    def open(cls, where: Path, clock: Clock | None = None, persist_s: float = PERSIST_S) -> Volumes:
        """The volumes of a folder.

        Raises:
            BadInput: the file can't be read, or is damaged; a damaged one is kept aside as `volumes.json.damaged`.
        """
        return cls(where, clock, persist_s)

    @property
    def names(self) -> list[str]:
        """The pumps whose syringe somebody has told of."""
        return list(self._book.pumps)

    @property
    def unsettled(self) -> list[str]:
        """The pumps whose account a dead run has left open: `reconcile` them before anything moves."""
        return [] if self._live or self._book.open is None else list(self._book.open.largest_ml_h)

    def left(self, name: str) -> Left | None:
        """What a syringe holds now; None where nobody ever said. Of a dead run, what can be said without its pump."""
        with self._lock:
            entry = self._book.pumps.get(name)
            if entry is None:
                return None
            account = self._book.open
            if account is None or name not in account.largest_ml_h:
                return Left(**entry.model_dump())
            if self._live:
                count = self._counts[name]
                middle = entry.left_ml - count.infused_ml + count.withdrawn_ml
                return _left(entry, middle, middle, entry.uncertain_ml, count.utc, "run")
            return self._reckoned(name, account.guard_s)

    def available_ml(self, name: str, syringe: str | None = None, reserve_ml: float = 0.0) -> float | None:
        """What a run may take out of a syringe for certain, mL; None where nobody ever said what it holds.

        Args:
            name: the pump.
            syringe: what the case says that is on it.
            reserve_ml: what is to stay in it, mL.

        Raises:
            BadInput: another syringe was told of.
        """
        left = self.left(name)
        if left is None:
            return None
        if syringe not in (None, left.syringe):
            raise BadInput(f"the {name} syringe was a {left.syringe} when it was filled, not a {syringe}", REFILL)
        return max(min(left.left_ml, left.volume_ml) - left.uncertain_ml - reserve_ml, 0.0)

    def refill(
        self,
        name: str,
        syringe: str,
        volume_ml: float,
        by: str = "refill",
        left_ml: float | None = None,
        uncertain_ml: float = 0.0,
    ) -> Left:
        """Somebody says what a syringe holds; ends the account of a dead run, if there is one.

        Args:
            name: the pump.
            syringe: the name of its syringe.
            volume_ml: how much that takes, mL.
            by: who says so.
            left_ml: what is in it, mL; left out, it is full.
            uncertain_ml: to how many mL that is known.

        Raises:
            BadInput: more than the syringe takes, or nonsense; or a run of this process is under way.
        """
        left_ml = volume_ml if left_ml is None else left_ml
        if not (math.isfinite(volume_ml) and 0 <= left_ml <= volume_ml and 0 <= uncertain_ml <= volume_ml > 0):
            raise BadInput(
                f"{syringe} can't hold {left_ml:g} ± {uncertain_ml:g} mL of {volume_ml:g} mL",
                f"give a volume from 0 to {volume_ml:g} mL",
            )
        if self._live:
            raise BadInput(f"the {name} syringe is in use", "say what it holds once the run has ended")
        with self._lock:
            entry = Entry(
                syringe=syringe, volume_ml=volume_ml, left_ml=left_ml, uncertain_ml=uncertain_ml, as_of=_now(), by=by
            )
            self._settle(name, entry)
            return Left(**entry.model_dump())

    def begin(self, run_id: str, rates_ml_h: Mapping[str, float], guard_s: float | None = None) -> None:
        """Opens the accounts of a run, on disk before this returns. The pumps' counters are at zero.

        Args:
            run_id: names the run, in messages.
            rates_ml_h: the largest rate that the run asks of each pump, mL/h, either way.
            guard_s: process time after which a pump stops that hears nothing, s; None where it runs on.

        Raises:
            BadInput: nobody ever said what a syringe holds, or an account is still open.
        """
        with self._lock:
            if self._book.open is not None:
                raise BadInput(f"the volumes of the run {self._book.open.run} are not settled", REFILL)
            unknown = [name for name in rates_ml_h if name not in self._book.pumps]
            if unknown:
                raise BadInput(f"nobody has said what is in the syringe of the {' and the '.join(unknown)}", REFILL)
            largest = {name: abs(rate) for name, rate in rates_ml_h.items()}
            now = _now()
            run_id = f"{run_id} {now}"  # a setpoint may be run twice, and a power cut may bring old counts back
            account = OpenAccount(run=run_id, largest_ml_h=largest, guard_s=guard_s, boot=boot())
            counts = {name: Count(utc=now) for name in largest}
            # The counts first: an account without counts means that a power cut has taken them.
            write_counts(self._running, run_id, counts)
            self._write(self._book.model_copy(update={"open": account}))
            self._counts, self._live = counts, True
            self._told = self._written = dict.fromkeys(largest, self._clock.wall())

    def take(
        self,
        name: str,
        infused_ml: float,
        withdrawn_ml: float,
        rate_ml_h: float,
        *,
        carried_ml: tuple[float, float] = (0.0, 0.0),
        limit_ml: float | None = None,
        forgets_limit: bool = False,
        force: bool = False,
    ) -> None:
        """What a pump has counted since `begin`, mL, and the rate at which it goes on, mL/h, negative while it fills.

        `carried_ml` is what its counters do not show any more, since they were set back; at `limit_ml` of them it stops
        by itself, which it may be known to forget with its power.

        To be called at each look, and before a pump starts. It writes where it starts, stops or turns round, with
        `force`, and as often as `persist_s` asks for; it never waits for the disk. (Of a rate only the direction counts
        for a death: it is reckoned with the largest one.)
        """
        with self._lock:
            before = self._counts[name]
            self._counts[name] = Count(
                infused_ml=infused_ml,
                withdrawn_ml=withdrawn_ml,
                rate_ml_h=rate_ml_h,
                utc=_now(),
                carried_ml=carried_ml,
                limit_ml=limit_ml,
                forgets_limit=forgets_limit,
            )
            now = self._clock.wall()
            following = now + (now - self._told[name])  # the next look comes after as long a time as this one
            self._told = {**self._told, name: now}
            turned = _way(rate_ml_h) != _way(before.rate_ml_h)
            if force or turned or following - self._written[name] > self._persist_s:
                write_counts(self._running, self._book.open.run if self._book.open else "", self._counts)
                self._written = self._told

    def close(
        self,
        counted: Mapping[str, Dispensed | None],
        lost: Collection[str] = (),
        unheard: Mapping[str, Bounds] | None = None,
        telling: Collection[str] = (),
        cleared: Collection[str] = (),
    ) -> None:
        """Ends the run: what each pump has counted since `begin`, on disk before this returns.

        An account stays open where the pump could not be asked (None, or left out): the next start reconciles it.

        Args:
            counted: what each pump has counted.
            lost: the pumps whose counter was lost, so that what they counted is reckoned.
            unheard: what the pumps that could not be asked may have moved, for the case that their counters are lost.
            telling: those of them that will tell, if it is so.
            cleared: those of them whose counters and limits began anew while they ran: nothing says how far they go.
        """
        with self._lock:
            account = self._book.open
            for name, seen in counted.items():
                if seen is not None and account is not None and name in account.largest_ml_h:
                    self._settle(name, _entry(self._by_counter(name, seen, "reckoned" if name in lost else "run")))
            for name, bounds in (unheard or {}).items():
                if name in self._counts:
                    taken_ml = bounds.taken_ml if math.isfinite(sum(bounds.taken_ml)) else None
                    known = {"taken_ml": taken_ml, "cut_is_told": name in telling}
                    self._counts[name] = self._counts[name].model_copy(update=known)
            self._counts = {name: count for name, count in self._counts.items() if name not in cleared}
            if self._live and self._book.open is not None:  # what could not be asked is known as well as it can be
                write_counts(self._running, self._book.open.run, self._counts)
            self._live = False

    def asking(self, name: str) -> bool:
        """To be called before a pump is asked whose account a dead run has left open: it tells of a power cut once.

        Returns whether it still has to, if its power was cut. That is taken as told from now on, on file: whoever asks
        may die before the account is settled.
        """
        with self._lock:
            count, account = self._counts.get(name), self._book.open
            if count is None or account is None or not count.cut_is_told:
                return False
            self._counts = {**self._counts, name: count.model_copy(update={"cut_is_told": False})}
            write_counts(self._running, account.run, self._counts)
            return True

    def count(self, name: str) -> Count | None:
        """What is on file of a pump whose account is open; None where a power cut, or its keys, have taken it."""
        return self._counts.get(name)

    def reconcile(
        self,
        name: str,
        counted: Dispensed | None,
        guard_s: float | None = None,
        powered: bool = False,
        started: bool = False,
    ) -> Left | None:
        """Settles the account that a dead run has left open; does nothing where there is none.

        With the pump's own counter the volume is exact. Without it (its power was cut, which an alarm of the reset
        tells, or a limit that is gone), where the counter says less than it once did, or where nothing is on file that
        it could be held against (it may have been cleared, or set back on the way), it lies between the bounds that the
        run gave at its end; where it died, between what was last written and what the pump can have moved since: rate
        times (`persist_s`, or `UNSYNCED_S` where the computer was switched off, and the guard), or up to its limit.

        Args:
            name: the pump.
            counted: what it counts now; None where its power was cut.
            guard_s: process time for which it ran on unheard, s; what `begin` was told, where it is left out.
            powered: its power was not cut, so that a counter at zero has counted nothing: another alarm than that of a
                power cut was pending, or that would have been told, which `asking` knew, or it has its limit still,
                which it would have forgotten.
            started: it was started after its power was cut, at its keys or by an order that found it without what it
                had been told: then nothing says how far it went.
        """
        with self._lock:
            if name not in self.unsettled or self._book.open is None:
                return self.left(name)
            last = self._counts.get(name)
            slack = counted.resolution_ml if counted else 0.0
            first, second = last.carried_ml if last else (0.0, 0.0)
            kept = (
                counted is not None
                and last is not None
                and first + counted.infused_ml >= last.infused_ml - slack
                and second + counted.withdrawn_ml >= last.withdrawn_ml - slack
                # At zero although the pump was told to move: it lost its power, unless that is known better.
                and (powered or not (counted.infused_ml == counted.withdrawn_ml == 0.0 and last.rate_ml_h))
            )
            if counted is not None and kept:
                whole = replace(
                    counted, infused_ml=first + counted.infused_ml, withdrawn_ml=second + counted.withdrawn_ml
                )
                left = self._by_counter(name, whole, "counter")
            else:
                left = self._reckoned(name, self._book.open.guard_s if guard_s is None else guard_s, started)
            self._settle(name, _entry(left))
            return self.left(name)

    def _by_counter(self, name: str, counted: Dispensed, by: str) -> Left:
        entry = self._book.pumps[name]
        middle = entry.left_ml - counted.infused_ml + counted.withdrawn_ml
        return _left(entry, middle, middle, entry.uncertain_ml + counted.resolution_ml, _now(), by)

    def _reckoned(self, name: str, guard_s: float | None, started: bool = False) -> Left:
        """What a syringe can hold, from what is on disk alone."""
        entry, account, count = self._book.pumps[name], self._book.open, self._counts.get(name)
        largest = account.largest_ml_h[name] if account else 0.0
        if count is None or started:  # it was taken, by a power cut or at its keys, or what it says of the limit was
            return _left(entry, 0.0, entry.volume_ml if largest else entry.left_ml, 0.0, entry.as_of, "reckoned", False)
        if count.taken_ml is not None:
            least, most = count.taken_ml
            low, high = entry.left_ml - most, entry.left_ml - least
            return _left(entry, low, high, entry.uncertain_ml, count.utc, "reckoned", False)
        written = entry.left_ml - count.infused_ml + count.withdrawn_ml
        still_on = account is not None and account.boot == boot() != ""
        age_s = self._persist_s if still_on else UNSYNCED_S
        unseen_s = math.inf if guard_s is None else age_s * self._clock.speed + guard_s
        largest = max(largest, abs(count.rate_ml_h))
        moved = largest * unseen_s / 3600 if largest else 0.0
        if count.limit_ml is not None:
            shown = (count.infused_ml, count.withdrawn_ml)[count.rate_ml_h < 0] - count.carried_ml[count.rate_ml_h < 0]
            moved = min(moved, max(count.limit_ml - shown, 0.0))
        low, high = (written, written + moved) if count.rate_ml_h < 0 else (written - moved, written)
        return _left(entry, low, high, entry.uncertain_ml, count.utc, "reckoned", False)

    def _settle(self, name: str, entry: Entry) -> None:
        """Writes what a syringe holds, and closes its account; the last one takes the counts of the run with it."""
        account = self._book.open
        if account is not None:
            rates = {other: rate for other, rate in account.largest_ml_h.items() if other != name}
            account = account.model_copy(update={"largest_ml_h": rates}) if rates else None
        self._write(self._book.model_copy(update={"pumps": {**self._book.pumps, name: entry}, "open": account}))
        if account is None:
            with explained(self._running):
                self._running.unlink(missing_ok=True)

    def _write(self, book: Book) -> None:
        write_book(self.path, book)
        self._book = book


def _left(
    entry: Entry, low: float, high: float, uncertain_ml: float, as_of: str, by: str, settled: bool = True
) -> Left:
    """The middle and half the width of what is possible: a plunger goes no further than both ends of its syringe."""
    low, high = (min(max(end, 0.0), entry.volume_ml) for end in (low - uncertain_ml, high + uncertain_ml))
    return Left(entry.syringe, entry.volume_ml, (low + high) / 2, (high - low) / 2, as_of, by, settled)


def _entry(left: Left) -> Entry:
    return Entry(**{key: value for key, value in vars(left).items() if key != "settled"})


def _way(rate_ml_h: float) -> int:
    """1 infusing, -1 withdrawing, 0 at rest."""
    return (rate_ml_h > 0) - (rate_ml_h < 0)


def _now() -> str:
    return str(stamp()["utc"])
