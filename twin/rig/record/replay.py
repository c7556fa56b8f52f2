"""Reads a run again from its journal alone, and checks it against the rules of docs/rig.md.

It shares no code with the session: what each pump was told follows from the bytes that went over the wire and from the
replies that acknowledged them, whatever the session believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from twin.errors import BadInput, TwinError
from twin.rig.pumps.newera_packets import DamagedPacket
from twin.rig.record.journal import END, JournalCheck, read, verify
from twin.rig.record.transcript import PARSERS, Exchange

#: What a pump may say before anything has moved: that it was switched on, or heard nothing since a run that died.
HARMLESS = ("R", "T")
#: How a plan calls the port of simulated pumps.
SIMULATED = "simulated"
#: Largest relative difference between the recorded ledger and ∫ Q dt of the recorded rates.
RELATIVE = 1e-6
#: An exchange takes about this long, s of wall time: a command so soon after an alarm elsewhere had left before it.
EXCHANGE_S = 0.05
#: A reply that was taken came within this wall time, s.
LONGEST_S = 0.6


@dataclass
class _Pump:
    """What a pump was told, as far as it acknowledged it, and what it said."""

    name: str
    port: str
    address: int
    family: str
    allowed_ml_h: tuple[float, float] | None
    set_ml_h: float = 0.0
    direction: float = 1.0
    running: bool = False
    moved: bool = False
    motion: int | None = None
    stop_told_s: float | None = None
    verified: bool | None = None
    alarm: str | None = None
    cleared: str | None = None
    #: Since when a command waits for its reading back, s.
    open_s: float | None = None
    dispensed: tuple[float, float] = (0.0, 0.0)
    carried: tuple[float, float] = (0.0, 0.0)
    #: (t_s, signed rate in mL/h, how long before t_s it may have begun in s), from the wire and from `rate` events.
    wire: list[tuple[float, float, float]] = field(default_factory=list)
    booked: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rate_ml_h(self) -> float:
        """The rate that it was told and acknowledged, signed; 0 at rest."""
        return self.direction * self.set_ml_h if self.running else 0.0


@dataclass(frozen=True)
class Volume:
    """∫ Q dt of one pump, mL: as the journal's ledger has it, and as it follows from the rates, to ± `within_ml`."""

    role: str
    recorded_ml: float
    replayed_ml: float
    within_ml: float
    source: str

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return abs(self.recorded_ml - self.replayed_ml) <= self.within_ml

    def __str__(self) -> str:
        verdict = "as recorded" if self.agrees else f"NOT AS RECORDED, {self.recorded_ml:.6g} mL"
        return f"{self.role}: {self.replayed_ml:.6g} ± {self.within_ml:.2g} mL from its {self.source}, {verdict}"


@dataclass(frozen=True)
class Replay:
    """What a journal says of its run when it is read again.

    `exchanges` counts those that were understood, `spoilt` those that failed on the port itself, `unanswered` commands
    for which no reply was waited, `unread` those of families without a parser. A `damaged` packet of Safe mode is asked
    for again. `unparsed` and `broken` are in words, with the line of the journal.
    """

    check: JournalCheck
    status: str
    exchanges: int
    spoilt: int
    unanswered: int
    damaged: int
    unread: int
    unparsed: tuple[str, ...]
    volumes: tuple[Volume, ...]
    broken: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the journal holds, the run kept every rule, and a run called completed met nothing unreadable."""
        return (
            self.check.intact
            and not self.broken
            and all(volume.agrees for volume in self.volumes)
            and (self.status != "completed" or not self.unparsed)
        )

    def lines(self) -> list[str]:
        """The result in words."""
        counts = (
            f"{self.exchanges} exchanges understood, {len(self.unparsed)} not, {self.spoilt} failed on the port,"
            f" {self.damaged} damaged packets"
        )
        return [
            str(self.check),
            counts
            + (f", {self.unanswered} behind the first pump of a chain, without an answer" if self.unanswered else "")
            + (f", {self.unread} of a family that is not read here" if self.unread else ""),
            *(f"not understood: {text}" for text in self.unparsed[:10]),
            *(str(volume) for volume in self.volumes),
            *(f"RULE BROKEN: {text}" for text in self.broken),
            "the run kept every rule" if self.ok else "LOOK INTO IT before the next run",
        ]


def of_run(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a journal is that of a run, not of a stop or an acknowledgement alone."""
    plan = entries[0].get("plan") if entries else None
    return isinstance(plan, dict) and isinstance(plan.get("pumps"), dict)


def replay(path: Path | str) -> Replay:
    """Reads a run again.

    Raises:
        BadInput: the journal can't be read, or is not that of a run.
    """
    path = Path(path)
    entries = [entry for entry in read(path) if isinstance(entry.get("event"), str)]
    if not of_run(entries):
        raise BadInput(f"{path} is not the journal of a run", "give rig/journal-TIME.jsonl")
    try:
        reading = _Reading(entries[0]["plan"]["pumps"], float(entries[0].get("speed", 1.0)))
        for entry in entries:
            reading.take(entry)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BadInput(f"{path} holds an entry that can't be understood: {error!r}", "check its chain") from error
    reading.end(entries[-1])
    end = entries[-1] if entries[-1]["event"] == END else {}
    counts = reading.counts
    return Replay(
        check=verify(path),
        status=str(end.get("status", "")),
        exchanges=counts["understood"],
        spoilt=counts["spoilt"],
        unanswered=counts["unanswered"],
        damaged=counts["damaged"],
        unread=counts["unread"],
        unparsed=tuple(reading.unparsed),
        volumes=tuple(reading.volumes),
        broken=tuple(reading.broken),
    )


class _Reading:
    """Goes through the entries once, in order."""

    def __init__(self, pumps: Mapping[str, Mapping[str, Any]], speed: float) -> None:
        self.pumps = {
            name: _Pump(
                name, str(pump.get("port", "")), int(pump.get("address", 0)), str(pump.get("family", "newera")),
                tuple(pump["allowed_ml_h"]) if pump.get("allowed_ml_h") else None,
            )
            for name, pump in pumps.items()
        }  # fmt: skip
        self.counts: Counter[str] = Counter()
        self.unparsed: list[str] = []
        self.volumes: list[Volume] = []
        self.broken: list[str] = []
        self._grace_s, self._longest_s = EXCHANGE_S * speed, LONGEST_S * speed
        self._heard_s: dict[str, float] = {}
        self._families: dict[str, str] = {}
        self._barrier: tuple[float, str, str] | None = None
        self._stopping = False

    def take(self, entry: Mapping[str, Any]) -> None:
        """One entry; what is not known is passed over."""
        event = entry["event"]
        name = str(entry.get("role") or entry.get("pump") or "")
        if event == "wire":
            self._wire(entry)
        elif event in ("trip", "alarm"):
            self._bar(float(entry["t_s"]), "", f"the {event} ({entry.get('reason') or entry.get('alarm') or name})")
            self._stopping = True
        elif event == "stop":
            self._stopping = True
        elif event == "acknowledged":
            self._acknowledged(entry, name)
        elif event in ("stopped", "NOT STOPPED") and name in self.pumps:
            self.pumps[name].verified = event == "stopped"
            self._stopped_in_order(entry, self.pumps[name])
        elif event == "rate" and name in self.pumps:
            self._rate(entry, self.pumps[name])
        elif event == "volume" and "commanded_ml" in entry:
            self._volume(entry, name)

    def end(self, last: Mapping[str, Any]) -> None:
        """What must hold once everything was read."""
        for pump in self.pumps.values():
            if pump.verified is not True and (pump.moved or pump.family not in PARSERS):
                self.broken.append(f"the {pump.name} pump was not verified as stopped")
            elif pump.moved and pump.motion != 0:
                self.broken.append(f"the last that the {pump.name} pump said was not that it stands")
        if last["event"] != END:
            self.broken.append("the journal has no end: the run was cut off, or is under way")

    def _wire(self, entry: Mapping[str, Any]) -> None:
        port, now = str(entry["port"]), float(entry["t_s"])
        since, self._heard_s[port] = self._heard_s.get(port, now), now
        sent, received = (str(entry.get(key, "")).encode("latin-1") for key in ("sent", "received"))
        chain = self._chain(port, sent)
        family = next((pump.family for pump in chain.values()), "")
        parser = PARSERS.get(family)
        if parser is None:
            self.counts["unread"] += 1
            return
        try:
            failed = not received or bool(sent and entry.get("problem"))  # what came unasked is heard all the same
            said = parser(sent, b"" if failed else received)
            # Behind the first of a chain of Harvard pumps no reply is waited for.
            unanswered = family == "harvard" and len(chain) > 1 and not received and not entry.get("problem")
            self.counts["unanswered" if unanswered else "spoilt" if failed else "understood"] += 1
        except TwinError as error:
            failed = True
            if isinstance(error, DamagedPacket):
                self.counts["damaged"] += 1
            else:
                self.unparsed.append(f"line {_line(entry)}: {error.message}")
            try:
                said = parser(sent, b"")
            except TwinError:
                return
        if not sent and not received and self._stopping:  # a port that is gone: nothing can be told to its pumps
            for pump in chain.values():
                pump.stop_told_s = now if pump.stop_told_s is None else pump.stop_told_s
            return
        for one in said:
            if one.address in chain:
                self._hear(entry, chain[one.address], one, since, failed)

    def _chain(self, port: str, sent: bytes) -> dict[int, _Pump]:
        """The pumps on a port, by address. Simulated pumps are all on ports that no plan names, a family on each."""
        named = any(pump.port == port for pump in self.pumps.values())
        chain = {pump.address: pump for pump in self.pumps.values() if pump.port == (port if named else SIMULATED)}
        families = {pump.family for pump in chain.values()}
        if len(families) > 1 and sent:
            upper = bytes(sent[:6]).upper() == sent[:6]  # New Era's commands are sent in capitals, Harvard's are not
            self._families.setdefault(port, "newera" if upper else "harvard")
        family = self._families.get(port)
        return {address: pump for address, pump in chain.items() if family in (None, pump.family)}

    def _hear(self, entry: Mapping[str, Any], pump: _Pump, said: Exchange, since: float, failed: bool) -> None:
        """One exchange of a pump, in the order of what it may break, what it changes, and what follows."""
        now, before = float(entry["t_s"]), pump.rate_ml_h
        if said.action == "run" or (said.action == "rate" and pump.running):
            self._moving(entry, pump)
        if said.action == "stop":
            self._stop_told(entry, pump)
        pump.moved = pump.moved or said.action == "run"
        pump.motion = pump.motion if said.motion is None else said.motion
        if said.alarm is not None:
            self._alarm(now, pump, said.alarm)
        stood = said.action == "stop" and said.motion is not None  # it says so even where it says an alarm, too
        if (said.alarm is None or stood) and (said.assumed or not failed):
            self._obey(entry, pump, said)
        pump.dispensed = tuple(  # type: ignore[assignment]
            old if new is None else new for old, new in zip(pump.dispensed, said.counted_ml, strict=True)
        )
        if pump.rate_ml_h != before:
            since = max(since, now - self._longest_s)
            pump.wire.append((now, pump.rate_ml_h, now - since))
            pump.open_s = since if said.assumed else None
            self._never_alone(entry)
        elif pump.open_s is not None and not failed:  # the reading back of what was assumed
            pump.wire[-1] = (now, pump.rate_ml_h, now - pump.open_s)
            if said.motion == (pump.rate_ml_h > 0) - (pump.rate_ml_h < 0):
                pump.open_s = None

    def _obey(self, entry: Mapping[str, Any], pump: _Pump, said: Exchange) -> None:
        if said.action == "stop":
            pump.running = pump.running and bool(said.motion) and not said.assumed
        elif said.refused:
            return
        elif said.action == "rate":
            self._allowed(entry, pump, said.value)
            pump.set_ml_h = said.value
        elif said.action == "direction":
            pump.direction = said.value
        elif said.action == "run":
            pump.running = True
        elif said.action == "clear" and pump.moved:
            pump.carried = (pump.carried[0] + pump.dispensed[0], pump.carried[1] + pump.dispensed[1])
            pump.dispensed = (0.0, 0.0)
        if said.direction is not None:
            pump.direction = said.direction

    def _alarm(self, now: float, pump: _Pump, code: str) -> None:
        """A harmless one is to be acknowledged before anything moves; a pushed one may come twice."""
        moved = any(one.moved for one in self.pumps.values())
        if code not in HARMLESS or moved:
            self._bar(now, pump.port, f"the alarm {code} of the {pump.name} pump")
        if moved or code != pump.cleared:
            pump.alarm = code

    def _moving(self, entry: Mapping[str, Any], pump: _Pump) -> None:
        if self._barrier is None:
            if pump.alarm is not None:
                self._break(entry, f"the {pump.name} pump was told to move before its alarm was acknowledged")
            return
        at_s, port, why = self._barrier
        if port == pump.port or float(entry["t_s"]) - at_s > self._grace_s:
            self._break(entry, f"the {pump.name} pump was told to move after {why}")

    def _allowed(self, entry: Mapping[str, Any], pump: _Pump, rate_ml_h: float) -> None:
        low, high = pump.allowed_ml_h or (0.0, rate_ml_h)
        if not low * (1 - RELATIVE) <= rate_ml_h <= high * (1 + RELATIVE):
            self._break(entry, f"the {pump.name} pump was told {rate_ml_h:g} mL/h; allowed are {low:.3g} to {high:.5g}")

    def _never_alone(self, entry: Mapping[str, Any]) -> None:
        """While a run goes on; in its stop a silent precursor pump keeps nobody from stopping the others."""
        precursor = self.pumps.get("precursor")
        carried = sum(max(pump.rate_ml_h, 0.0) for pump in self.pumps.values() if pump is not precursor)
        if precursor is not None and precursor.rate_ml_h > 0 and carried <= 0 and not self._stopping:
            self._break(entry, "the precursor flowed without antisolvent")

    def _stop_told(self, entry: Mapping[str, Any], pump: _Pump) -> None:
        if self._stopping and pump.stop_told_s is None:
            pump.stop_told_s = float(entry["t_s"])
            first = self.pumps.get("precursor")
            if first is not None and first is not pump and first.family in PARSERS and first.stop_told_s is None:
                self._break(entry, f"the {pump.name} pump was told to stop before the precursor pump")

    def _stopped_in_order(self, entry: Mapping[str, Any], pump: _Pump) -> None:
        """For families whose bytes are not read here."""
        first = self.pumps.get("precursor")
        if pump.family not in PARSERS and first is not None and first is not pump and first.verified is None:
            self._break(entry, f"the {pump.name} pump was stopped before the precursor pump")

    def _acknowledged(self, entry: Mapping[str, Any], text: str) -> None:
        named = [name for name in sorted(self.pumps, key=len, reverse=True) if name in text][:1]
        for name in named or self.pumps:
            self.pumps[name].alarm, self.pumps[name].cleared = None, entry.get("alarm")
        if entry.get("alarm") not in HARMLESS or any(pump.moved for pump in self.pumps.values()):
            self._break(entry, f"the alarm {entry.get('alarm')} was acknowledged by the run itself")

    def _bar(self, at_s: float, port: str, why: str) -> None:
        self._barrier = self._barrier or (at_s, port, why)

    def _rate(self, entry: Mapping[str, Any], pump: _Pump) -> None:
        """A rate that the session has booked: from when on, to the last digit. The wire must say the same."""
        rate, from_s = float(entry["rate_ml_h"]), float(entry["from_s"])
        if pump.family in PARSERS and rate != (pump.booked[-1][1] if pump.booked else 0.0):
            at_s, told, before_s = pump.wire[-1] if pump.wire else (from_s, 0.0, 0.0)
            half_s = float(entry.get("half_s", 0.0))  # long where the port was held up before the command
            in_time = at_s - before_s - self._grace_s <= from_s + half_s and from_s - half_s <= at_s + self._grace_s
            if abs(told - rate) > RELATIVE * abs(rate) or not in_time:
                self._break(entry, f"{rate:g} mL/h of the {pump.name} pump from {from_s:.3f} s on is not on the wire")
        pump.booked.append((from_s, rate))

    def _volume(self, entry: Mapping[str, Any], role: str) -> None:
        name, sign = role.removesuffix(" refill"), -1.0 if role.endswith(" refill") else 1.0
        pump = self.pumps.get(name)
        if pump is None:
            return
        recorded, now = float(entry["commanded_ml"]), float(entry["t_s"])
        if pump.booked:
            replayed = _integral(pump.booked, now, sign)
            self.volumes.append(Volume(role, recorded, replayed, RELATIVE * abs(recorded) + 1e-12, "booked rates"))
        elif pump.family in PARSERS:
            replayed = _integral([(at_s, rate) for at_s, rate, _ in pump.wire], now, sign)
            steps = pairwise([(0.0, 0.0, 0.0), *pump.wire])
            within = sum(abs(max(sign * b[1], 0.0) - max(sign * a[1], 0.0)) * b[2] for a, b in steps) / 3600
            self.volumes.append(Volume(role, recorded, replayed, within + RELATIVE * abs(recorded), "bytes"))
        if pump.family in PARSERS and "counted_ml" in entry:
            counted = (pump.carried[0] + pump.dispensed[0], pump.carried[1] + pump.dispensed[1])[sign < 0]
            ledger, within = float(entry["counted_ml"]), RELATIVE * counted + 1e-9
            if entry.get("reckoned"):  # its counter was lost: what it last told is the least that it can be
                wrong = counted > ledger + float(entry["uncertainty_ml"]) + within
            else:
                wrong = abs(counted - ledger) > within
            if wrong:
                self._break(entry, f"the ledger has {entry['counted_ml']:g} mL of the {role}, its pump {counted:g} mL")

    def _break(self, entry: Mapping[str, Any], text: str) -> None:
        self.broken.append(f"line {_line(entry)}, {float(entry['t_s']):.2f} s: {text}")


def _integral(steps: list[tuple[float, float]], until_s: float, sign: float) -> float:
    """∫ max(±Q, 0) dt of (time in s, rate in mL/h), mL."""
    ends = [*(at_s for at_s, _ in steps[1:]), until_s]
    return sum(
        max(sign * rate, 0.0) * max(end - at_s, 0.0) for (at_s, rate), end in zip(steps, ends, strict=True)
    ) / 3600 if steps else 0.0  # fmt: skip


def _line(entry: Mapping[str, Any]) -> int:
    return int(entry.get("n", -1)) + 1
