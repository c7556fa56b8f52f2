"""What is asked of a New Era pump at its check-out. `twin.rig.simulated.newera` does what is expected.

The body of a reply stands here as on the wire: the letter of the status, then the data, e.g. `S5.000MH`.
"""

from __future__ import annotations

import re
from contextlib import suppress

from twin.rig.commissioning.checkout import STALL, Visit, full_flow, switched_off
from twin.rig.errors import NoReply
from twin.rig.pumps.catalogue import PUMP_MODELS
from twin.rig.pumps.newera_packets import Mode, Reply, encode, format_number, readable
from twin.rig.wire.newera import BYTE_GAP_S

#: The time-out of Safe mode in its step, s.
SAFE_S = 2
_COUNTED = re.compile(r"[A-Z]I([\d.]+)W([\d.]+)(UL|ML)")


def meet(visit: Visit) -> None:
    """Finds it in whatever mode, hears its alarm, and puts it into Basic mode with its syringe."""
    visit.pump.stop()
    pump = visit.pump
    pump.status()
    pump.guard(0)
    _prepare(visit)


def leave(visit: Visit) -> None:
    """Leaves it in Basic mode."""
    pump = visit.pump
    pump.status()
    pump.guard(0)


def _ask(visit: Visit, command: str, mode: Mode = Mode.BASIC, raw: bytes | None = None) -> Reply:
    """The reply to a command, or to bytes as they are."""

    def own(received: bytes) -> list[Reply]:
        return [reply for reply in readable(received) if reply.address == visit.address]

    message = encode(mode, visit.address, command) if raw is None else raw
    return own(visit.port.exchange(message, lambda received: bool(own(received)), unasked=lambda stray: None))[-1]


def _body(reply: Reply) -> str:
    if reply.alarm is not None:
        return f"A?{reply.alarm}"
    return (reply.status.value if reply.status else "") + (reply.refusal or reply.data)


def _say(visit: Visit, command: str) -> str:
    """The body of the reply to a command; an alarm that was waiting is passed by once."""
    body = _body(_ask(visit, command))
    return _body(_ask(visit, command)) if body == "A?R" else body


def _expect(visit: Visit, item: str, command: str, pattern: str, expected: str = "") -> bool:
    return visit.expect(item, command, _body(_ask(visit, command)), pattern, expected)


def _prepare(visit: Visit) -> None:
    rate = format_number(visit.rate_ml_h)
    diameter = format_number(visit.syringe.diameter_mm)
    for command in (f"DIA{diameter}", "PHN1", "FUNRAT", "VOLUL", "VOL0", "DIRINF", f"RAT{rate}MH", "CLDINF", "CLDWDR"):
        _say(visit, command)
    visit.rate_ml_h = float(rate)


def _what_it_says_at_rest(visit: Visit) -> None:
    _expect(visit, "its model", "VER", r"SNE\d+X?\d?V\d+\.\d+", "SNE…V…")
    _expect(visit, "a poll at rest", "", "S")
    _expect(visit, "the timer of Safe mode is off", "SAF", "S0")
    _expect(visit, "a start by itself after a power cut is off", "PF", "S0")
    _expect(visit, "and can be switched off", "PF0", "S")
    _expect(visit, "the phase is read back", "PHN", r"S0?1", "S01")
    _expect(visit, "the direction is read back", "DIR", "SINF")
    _expect(visit, "a stop at rest is no error", "STP", "S")


def _what_it_refuses(visit: Visit) -> None:
    _expect(visit, "an unknown command", "XYZ", r"S\?")
    _expect(visit, "a rate beyond its range", "RAT9999MM", r"S\?OOR")
    _expect(visit, "a number of five digits", "RAT12345MH", r"S\?")
    _expect(visit, "the widest syringe", "DIA50", "S")
    _expect(visit, "beyond it", "DIA50.1", r"S\?OOR")
    _expect(visit, "far beyond it", "DIA80", r"S\?OOR")


def _units(visit: Visit) -> None:
    _say(visit, "DIA14")
    _expect(visit, "the unit of volume up to 14.00 mm", "VOL", r"S[\d.]+UL", "S…UL")
    _say(visit, "DIA14.01")
    _expect(visit, "the unit of volume above", "VOL", r"S[\d.]+ML", "S…ML")
    _prepare(visit)
    diameter = (
        f"{visit.syringe.diameter_mm:.2f}" if visit.syringe.diameter_mm >= 10 else f"{visit.syringe.diameter_mm:.3f}"
    )
    _expect(visit, "the diameter in four digits", "DIA", f"S{re.escape(diameter)}", f"S{diameter}")
    _say(visit, "RAT5UM")
    _expect(visit, "the unit of the rate may change at rest", "RAT", r"S5\.000UM")
    if _say(visit, "RAT1000MH") == "S":
        _expect(visit, "the point after four digits", "RAT", r"S1000\.MH")
    else:
        visit.leave("the point after four digits", "S1000.MH", "out of range with this syringe")
    _prepare(visit)


def _fastest_rate(visit: Visit) -> None:
    """By bisection, against the catalogue."""
    number = re.match(r"SNE(\d+)", _say(visit, "VER"))
    model = next((model for model in PUMP_MODELS.values() if number and model.number == number[1]), None)
    low, high = visit.rate_ml_h, 9999.0
    while high - low > 0.001 * high:
        middle = float(format_number(0.5 * (low + high)))
        low, high = (middle, high) if _say(visit, f"RAT{format_number(middle)}MH") == "S" else (low, middle)
    _prepare(visit)
    if model is None:
        visit.leave("its highest rate", "in the catalogue", f"{low:g} mL/h, of a model that is not there")
        return
    wanted = min(model.range_ml_h(visit.syringe)[1], 9999.0)
    fits = abs(low / wanted - 1) < 0.005
    visit.find("its highest rate with this syringe", f"{wanted:.4g} mL/h by the catalogue", f"{low:.4g} mL/h", fits)


def _safe_mode(visit: Visit) -> None:
    before = _ask(visit, "VER", Mode.SAFE)
    visit.find("a packet of Safe mode is heard in Basic mode", "yes", f"yes, {_body(before)}", True)
    reply = _ask(visit, "SAF9")
    visit.find("the mode of the reply that switches Safe mode on", "safe", reply.mode.value, reply.mode is Mode.SAFE)
    safe = encode(Mode.SAFE, visit.address, "SAF")
    body = _body(_ask(visit, "", raw=safe))
    visit.find("the timer is read back (SAF)", "S9", body, body == "S9")
    spoilt = safe[:-2] + bytes([safe[-2] ^ 0x40]) + safe[-1:]
    body = _body(_ask(visit, "", raw=spoilt))
    visit.find("a packet with a wrong checksum", "S?COM", body, body == "S?COM")
    try:
        visit.port.exchange(safe[:4], lambda received: bool(readable(received)))
    except NoReply:
        visit.clock.sleep(2 * BYTE_GAP_S)
    body = _body(_ask(visit, "", Mode.SAFE))
    visit.find("half a packet is dropped after 0.5 s", "S", body, body == "S")
    try:
        heard = _body(_ask(visit, "VER"))
    except NoReply:
        heard = "silence"
    visit.find("a command of Basic mode is not heard in Safe mode", "silence", heard, heard == "silence")
    reply = _ask(visit, "SAF0", Mode.SAFE)
    visit.find("the mode of the reply that switches it off", "basic", reply.mode.value, reply.mode is Mode.BASIC)


def _power(visit: Visit) -> None:
    item, expected = "the alarm after its power was off", "A?R instead of an answer, once"
    if not switched_off(visit, item, expected):
        return
    target = _body(_ask(visit, "PHN3"))
    phase = _body(_ask(visit, "PHN"))
    visit.find(item, expected, f"{target}, then {phase}", target == "A?R" and phase.startswith("S"))
    visit.find("and the command that it answers is not done", "S01", phase, re.fullmatch("S0?1", phase) is not None)
    _prepare(visit)


STILL = (_what_it_says_at_rest, _what_it_refuses, _units, _fastest_rate, _safe_mode, _power)


def _while_it_runs(visit: Visit) -> None:
    _prepare(visit)
    faster = format_number(1.5 * visit.rate_ml_h)
    _expect(visit, "a start", "RUN", "I")
    _expect(visit, "a second start", "RUN", r"I\?NA")
    _expect(visit, "a new rate on the way", f"RAT{faster}", "I")
    body = _body(_ask(visit, "RAT"))
    value = re.fullmatch(r"I([\d.]+)MH", body)
    visit.find("is read back (RAT)", f"I{faster}MH", body, value is not None and float(value[1]) == float(faster))
    _expect(visit, "its own unit on the way", f"RAT{faster}MH", r"I\?NA")
    _expect(visit, "another unit on the way", f"RAT{faster}UM", r"I\?NA")
    _expect(visit, "a diameter on the way", f"DIA{format_number(visit.syringe.diameter_mm)}", r"I\?NA")
    _expect(visit, "a volume on the way", "VOL1", r"I\?NA")
    _expect(visit, "clearing a counter on the way", "CLDINF", r"I\?NA")
    _expect(visit, "turning round on the way", "DIRWDR", "W")
    _expect(visit, "and back", "DIRINF", "I")
    _expect(visit, "the first stop pauses", "STP", "P")
    _expect(visit, "a start resumes", "RUN", "I")
    _expect(visit, "the first stop", "STP", "P")
    _expect(visit, "the second stop", "STP", "S")
    body = _body(_ask(visit, "RAT"))
    value = re.fullmatch(r"S([\d.]+)MH", body)
    kept = value is not None and float(value[1]) == visit.rate_ml_h
    visit.find("a rate set on the way is not kept", f"S{visit.rate_ml_h:g}MH", body, kept)


def _counter_and_stop(visit: Visit) -> None:
    _prepare(visit)
    visit.compare_volume(lambda: _say(visit, "RUN"), lambda: _counted_ml(visit), "within 2 % of rate and time")


def _silence(visit: Visit) -> None:
    """The timer of Safe mode stops it, and it says so by itself."""
    _prepare(visit)
    _ask(visit, f"SAF{SAFE_S}")
    _ask(visit, "RUN", Mode.SAFE)
    visit.clock.sleep(SAFE_S + 1.0)
    pushed: list[bytes] = []
    with suppress(NoReply):  # it was there before it was listened for
        pushed.append(visit.port.exchange(b"", lambda received: bool(readable(received)), unasked=pushed.append))
    alarms = [f"A?{reply.alarm}" for reply in readable(b"".join(pushed))]
    visit.find("after a silence its alarm comes unasked", "A?T", ", ".join(alarms) or "nothing", alarms == ["A?T"])
    body = _body(_ask(visit, "", Mode.SAFE))
    visit.find("and once more as the next answer", "A?T", body, body == "A?T")
    body = _body(_ask(visit, "", Mode.SAFE))
    visit.find("then it stands", "S", body, body == "S")
    counted = _counted_ml(visit, Mode.SAFE)
    ran_s = counted / visit.rate_ml_h * 3600
    fits = abs(ran_s - SAFE_S) < 0.3
    visit.find(f"it stood after {SAFE_S} s of silence", f"{SAFE_S} s, by its counter", f"{ran_s:.2f} s", fits)
    _ask(visit, "SAF0", Mode.SAFE)


def _stall(visit: Visit) -> None:
    def start() -> None:
        _prepare(visit)
        _say(visit, "RUN")

    expected = "A?S, then S"
    body = visit.await_stall(expected, start, lambda: _body(_ask(visit, "")), "I")
    if body is not None:
        after = _body(_ask(visit, ""))
        visit.find(STALL, expected, f"{body}, then {after}", (body, after) == ("A?S", "S"))


def _many_digits(visit: Visit) -> None:
    """What the counter shows beyond four digits; it takes 10.5 mL."""
    item, expected = "the counter beyond 9999 µL", "five digits"
    volume_ml = 10.5
    if visit.syringe.volume_ml < 20:
        visit.leave(item, expected, "the syringe is too small")
        return
    rate = float(format_number(20 * visit.rate_ml_h))
    seconds = volume_ml / rate * 3600
    if not visit.agreed(
        item, expected, f"Shall {volume_ml:g} mL go into the beaker at {rate:g} mL/h ({seconds:.0f} s)?"
    ):
        return
    _prepare(visit)
    if (body := _say(visit, f"RAT{format_number(rate)}MH")) != "S":
        visit.leave(item, expected, f"{rate:g} mL/h is refused: {body}")
        return
    _say(visit, "RUN")
    visit.clock.sleep(seconds)
    visit.pump.stop()
    body = _body(_ask(visit, "DIS"))
    visit.find(item, expected, body, re.fullmatch(r"SI\d{5}\.?W.*", body) is not None)
    _prepare(visit)


MOVING = (_while_it_runs, _counter_and_stop, _silence, _stall, _many_digits, full_flow)


def _counted_ml(visit: Visit, mode: Mode = Mode.BASIC) -> float:
    match = _COUNTED.fullmatch(_body(_ask(visit, "DIS", mode)))
    return float(match[1]) * (1e-3 if match[3] == "UL" else 1.0) if match else float("nan")
