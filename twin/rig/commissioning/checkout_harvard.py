"""What is asked of a pump of the Harvard family at its check-out; `twin.rig.simulated.harvard` does what is expected.

A reply stands here as its lines, joined by semicolons, and its prompt.
"""

from __future__ import annotations

import re

from twin.rig.commissioning.checkout import STALL, Visit, full_flow, switched_off
from twin.rig.errors import NoReply
from twin.rig.pumps.catalogue import PUMP_MODELS
from twin.rig.pumps.harvard import SETTLE_S
from twin.rig.pumps.harvard_replies import (
    format_number,
    parse_mm,
    parse_rate_ml_h,
    parse_reply,
    parse_status,
    parse_volume_ml,
    same,
)
from twin.rig.pumps.protocol import QUICK_S
from twin.rig.wire import harvard as wire


def meet(visit: Visit) -> None:
    """Puts it into polling mode, at rest, with its syringe."""
    visit.pump.stop()
    _prepare(visit)


def leave(visit: Visit) -> None:
    """Takes the target back."""
    _say(visit, "ctvolume")


def _ask(visit: Visit, command: str) -> tuple[str, str]:
    """The lines of the reply, joined, and its prompt."""
    try:
        reply = parse_reply(_exchange(visit, command))
    except NoReply:
        if not visit.address:
            raise
        reply = parse_reply(_exchange(visit, ""))  # behind the first pump of a chain: its prompt shows what it did
    return "; ".join(reply.lines), reply.prompt


def _exchange(visit: Visit, command: str) -> bytes:
    prefix = f"{visit.address:02d}" if visit.address else ""
    return visit.port.exchange(
        f"{prefix}{command}\r".encode("ascii"),
        lambda received: received[-1] == wire.XON,
        unasked=lambda stray: None,
        deadline_s=QUICK_S if visit.address else None,
    )


def _say(visit: Visit, command: str) -> str:
    return " ".join(filter(None, _ask(visit, command)))


def _expect(visit: Visit, item: str, command: str, pattern: str, expected: str = "") -> bool:
    return visit.expect(item, command, _say(visit, command), pattern, expected)


def _prepare(visit: Visit) -> None:
    rate = format_number(visit.rate_ml_h)
    for command in (
        "poll on", "echo off", "nvram none", "load qs iw", "cttime", "ctvolume",
        f"diameter {format_number(visit.syringe.diameter_mm)}", "cvolume", f"irate {rate} m/h",
    ):  # fmt: skip
        _say(visit, command)
    visit.rate_ml_h = float(rate)


def _what_it_says_at_rest(visit: Visit) -> None:
    _expect(visit, "its model", "ver", r"[A-Z0-9][A-Z0-9 /-]* v?\d+(\.\d+)+ :", "MODEL VERSION :")
    _expect(visit, "a poll at rest", "", ":")
    _expect(visit, "polling mode ends each reply with XON", "poll", re.escape(wire.POLLING) + r"\.? :")
    _expect(visit, "echo is off", "echo", "echo is off :")
    _expect(visit, "it takes care of its memory", "nvram none", ":")
    _expect(visit, "Quick Start is chosen", "load qs iw", ":")
    _expect(visit, "no target volume", "tvolume", re.escape(wire.NO_TARGET_VOLUME) + r"\.? :")
    _expect(visit, "no target time", "ttime", re.escape(wire.NO_TARGET_TIME) + r"\.? :")
    _expect(visit, "no ramp", "iramp", re.escape(wire.NO_RAMP) + " :")
    _expect(visit, "the volume that it counted", "ivolume", "0 ul :")
    _expect(visit, "a stop at rest is no error", "stp", ":")
    said = _ask(visit, "status")
    visit.find("the form of status", "three numbers and flags", said[0], parse_status(said[0]) is not None)


def _in_a_chain(visit: Visit) -> None:
    """Behind the first pump: whether it answers what sets something, and a question that follows at once."""
    if not visit.address:
        return
    try:
        observed = f"yes: {_exchange(visit, 'cvolume')!r}"
    except NoReply:
        observed = "no"
    visit.find("behind the first pump a command is answered", "no", observed, observed == "no")
    visit.port.exchange(f"{visit.address:02d}cvolume\r".encode("ascii"), lambda received: True, deadline_s=0.0)
    visit.clock.pause(SETTLE_S)
    _expect(visit, f"{1000 * SETTLE_S:g} ms after a command a question is answered", "poll", wire.POLLING + r"\.? :")


def _what_it_refuses(visit: Visit) -> None:
    if visit.address:
        visit.leave("what it refuses", "in words", "behind the first pump of a chain refusals are not heard")
        return
    _expect(
        visit, "an unknown command", "xyzzy", "command error.*unknown command :", "Command error … Unknown command :"
    )
    _expect(visit, "a rate beyond its range", "irate 999999 m/h", "argument error.*out of range :", "… Out of range :")
    _expect(visit, "too wide a syringe", "diameter 60", "argument error.*out of range :", "… Out of range :")
    _expect(visit, "the rate of a pump at rest", "crate", "command error.* :", "Command error …")
    _expect(visit, "an unknown unit", "irate 5 xx/h", "argument error.* :", "Argument error …")


def _read_backs(visit: Visit) -> None:
    said = _ask(visit, "diameter")[0]
    fits = parse_mm(said) is not None and abs(float(parse_mm(said) or 0) - visit.syringe.diameter_mm) < 5e-4
    visit.find("the diameter is read back", f"{visit.syringe.diameter_mm:.4f} mm", said, fits)
    for command, wanted in ((f"irate {visit.rate_ml_h:g} m/h", visit.rate_ml_h), ("irate 20 u/m", 1.2)):
        _say(visit, command)
        said = _ask(visit, "irate")[0]
        rate = parse_rate_ml_h(said)
        fits = rate is not None and abs(rate - wanted) < 5e-4 * wanted
        visit.find(f"the rate is read back ({command})", f"{wanted:g} mL/h", said, fits)
    _prepare(visit)


def _limits(visit: Visit) -> None:
    said, model_said = _ask(visit, "irate lim")[0], _ask(visit, "ver")[0].upper()
    low, _, high = said.partition(" to ")
    limits = parse_rate_ml_h(low), parse_rate_ml_h(high)
    model = next((model for model in PUMP_MODELS.values() if model.number in model_said), None)
    if model is None or visit.syringe.diameter_mm > model.max_diameter_mm:
        visit.leave("its limits with this syringe", "in the catalogue", said)
        return
    wanted = model.range_ml_h(visit.syringe)
    fits = all(
        limit is not None and abs(limit / value - 1) < 0.005 for limit, value in zip(limits, wanted, strict=True)
    )
    expected = f"{wanted[0]:.4g} to {wanted[1]:.5g} mL/h by the catalogue"
    visit.find("its limits with this syringe (irate lim)", expected, said, fits)


def _power(visit: Visit) -> None:
    polling, target = "polling mode after its power was off", "a target volume after its power was off"
    expected = "forgotten"
    _say(visit, f"tvolume {format_number(visit.rate_ml_h * 3.0 / 3600)} ml")
    if switched_off(visit, polling, expected):
        try:
            observed = f"kept: {_say(visit, 'poll')}"
        except NoReply:
            observed = expected
        visit.find(polling, expected, observed, observed == expected)
        visit.pump.stop()  # which puts it into polling mode, and leaves the rest as it is
        said = _ask(visit, "tvolume")[0]
        gone = same(said, wire.NO_TARGET_VOLUME)  # by that the ledger knows that nothing but a start was lost
        visit.find(target, expected, expected if gone else f"kept: {said}", gone)
    else:
        visit.leave(target, expected, "it was not switched off")
    _prepare(visit)


STILL = (_what_it_says_at_rest, _in_a_chain, _what_it_refuses, _read_backs, _limits, _power)


def _while_it_runs(visit: Visit) -> None:
    _prepare(visit)
    faster = format_number(1.5 * visit.rate_ml_h)
    _expect(visit, "a start", "irun", ">")
    _expect(visit, "a new rate on the way", f"irate {faster} m/h", ">")
    said, prompt = _ask(visit, "irate")
    rate = parse_rate_ml_h(said)
    fits = rate is not None and abs(rate - float(faster)) < 5e-4 * rate and prompt == wire.INFUSING
    visit.find("is read back (irate)", f"{faster} mL/h, still infusing", f"{said} {prompt}", fits)
    _expect(visit, "another unit on the way", f"irate {format_number(visit.rate_ml_h / 0.06)} u/m", ">")
    if not visit.address:  # behind the first pump of a chain refusals are not heard
        _expect(visit, "a diameter on the way", "diameter 10", "command error.* >", "Command error …")
    _expect(visit, "turning round on the way", "wrun", "<")
    _expect(visit, "and back", "irun", ">")
    _expect(visit, "one stop is enough", "stp", ":")
    _expect(visit, "a poll after it", "", ":")


def _counter_and_stop(visit: Visit) -> None:
    def counted_ml() -> float:
        counted = parse_status(_ask(visit, "status")[0])
        return counted.volume_ml if counted else float("nan")

    _prepare(visit)
    volume_ml = visit.compare_volume(lambda: _say(visit, "irun"), counted_ml, "within 2 %, in fL")
    printed = _ask(visit, "ivolume")[0]
    seen = parse_volume_ml(printed)
    fits = seen is not None and seen >= 0.99 * volume_ml
    visit.find("the counter as it prints it (ivolume)", f"{volume_ml:.4g} mL or a little more", printed, fits)


def _silence(visit: Visit) -> None:
    """It has no watchdog: that is why a run sets it a target."""
    _prepare(visit)
    _say(visit, "irun")
    visit.clock.sleep(4.0)
    _expect(visit, "after 4 s of silence it runs on", "", ">")


def _target(visit: Visit) -> None:
    _prepare(visit)
    target_ml = visit.rate_ml_h * 3.0 / 3600
    _expect(visit, "a target volume", f"tvolume {format_number(target_ml)} ml", ":")
    _say(visit, "irun")
    visit.clock.sleep(5.0)
    _expect(visit, "it stops there by itself", "", r"T\*")
    said = _ask(visit, "ivolume")[0]
    seen = parse_volume_ml(said)
    fits = seen is not None and abs(seen / target_ml - 1) < 0.01
    visit.find("with the volume of the target", f"{1000 * target_ml:.4g} ul", said, fits)
    _say(visit, "ctvolume")
    gone = same(_ask(visit, "tvolume")[0], wire.NO_TARGET_VOLUME)
    visit.find("the target can be taken back", wire.NO_TARGET_VOLUME, "yes" if gone else "no", gone)


def _stall(visit: Visit) -> None:
    def start() -> None:
        _prepare(visit)
        _say(visit, "irun")

    expected = "the prompt *"
    prompt = visit.await_stall(expected, start, lambda: _ask(visit, "")[1], wire.INFUSING)
    if prompt is not None:
        visit.find(STALL, expected, f"the prompt {prompt}", prompt == wire.STALLED)


MOVING = (_while_it_runs, _counter_and_stop, _silence, _target, _stall, full_flow)
