"""What a pump of the Harvard family says, taken apart strictly; and how it is told a number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from twin.errors import BadInput
from twin.rig.errors import BadReply, CommandRefused
from twin.rig.pumps.protocol import Direction
from twin.rig.wire import harvard as wire

_PROMPT = rb"\n+(\d\d)?(T[*:]|[<>]\*|[:<>*])\x11"
_FRAME = re.compile(rb"(?:" + _PROMPT.replace(b"(", b"(?:") + rb")*((?:\n+[ -~]{0,160}\r)*)" + _PROMPT)
_NUMBER = r"(\d{1,15}(?:\.\d{0,12})?|\.\d{1,12})"
_VOLUME = re.compile(rf"{_NUMBER} ([pnum]?)l", re.ASCII | re.IGNORECASE)
_RATE = re.compile(rf"{_NUMBER} ([pnum]?)l/({'|'.join(wire.PER_HOUR)})", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(rf"{_NUMBER} mm", re.ASCII)
_STATUS = re.compile(r"\d{1,20} \d{1,20} (\d{1,20}) ([iw])[iw.]([s.])[t.][iw.][t.]?", re.ASCII | re.IGNORECASE)

#: Largest relative error of a number in the pump's format.
PRECISION = 0.005
#: Largest relative difference between what was sent and what is printed: at least four digits are.
PRINTED = 5e-4


class Refused(CommandRefused):
    """The pump answered with an error. `code` is New Era's, so that both families are handled alike."""

    def __init__(self, pump: str, command: str, said: str, hint: str = "") -> None:
        remedy = "compare the pump and its syringe with [rig] in case.toml"
        super(CommandRefused, self).__init__(f"{pump} refused {command!r}: {said}{hint}", remedy)
        unknown = wire.UNKNOWN_COMMAND in said or wire.COMMAND_ERROR not in said
        self.code = "?OOR" if wire.OUT_OF_RANGE in said else "?" if unknown else "?NA"


@dataclass(frozen=True)
class Reply:
    """A reply, taken apart: where it is from, its lines, its prompt."""

    address: int
    lines: tuple[str, ...]
    prompt: str

    @property
    def error(self) -> str:
        """What it refuses, in the pump's words; "" where it refuses nothing."""
        known = (wire.COMMAND_ERROR, wire.ARGUMENT_ERROR, wire.UNKNOWN_COMMAND, wire.OUT_OF_RANGE)
        return "; ".join(self.lines) if any(line.startswith(known) for line in self.lines) else ""

    @property
    def stalled(self) -> bool:
        """Whether its prompt says that the motor can't go on; a limit switch counts as that."""
        return self.prompt in (wire.STALLED, wire.INFUSE_LIMIT, wire.WITHDRAW_LIMIT)


@dataclass(frozen=True)
class Counted:
    """The answer to `status`: which way it counts, how much in mL, and whether it stalled."""

    direction: Direction
    volume_ml: float
    stalled: bool


def parse_reply(frame: bytes) -> Reply:
    """Takes a whole reply apart, strictly; raises `BadReply` where it is anything else than one reply.

    Prompts before it are passed over: in a chain they are late answers to the command before.
    """
    match = _FRAME.fullmatch(frame)
    if match is not None:
        lines = [_without_address(line) for line in match[1].decode("ascii").replace("\n", "").split("\r")[:-1]]
        addresses = {address for address, _ in lines} | {match[2].decode() if match[2] else ""}
        if len(addresses) == 1:
            return Reply(int(addresses.pop() or 0), tuple(line for _, line in lines), match[3].decode())
    raise BadReply(f"{frame!r} is no reply of a Harvard pump", "is this the pump's port, and its speed?")


def only_settles(stray: bytes) -> bool:
    """Whether bytes are nothing but answers to commands that set something: prompts, and refusals."""
    *frames, rest = stray.split(b"\x11")
    try:
        replies = [parse_reply(frame + b"\x11") for frame in frames]
    except BadReply:
        return False
    return not rest and all(reply.error or not reply.lines for reply in replies)


def _without_address(line: str) -> tuple[str, str]:
    address, colon, rest = line.partition(":")
    return (address, rest.strip()) if colon and re.fullmatch(r"[0-9]{2}", address) else ("", line.strip())


def format_number(value: float) -> str:
    """A positive number in six digits, at most six of them decimals.

    Raises `BadInput` where that is more than 0.5 % off: a rate is never quietly changed.
    """
    if math.isfinite(value) and 0 < value < 999999.5:
        decimals = min(max(5 - math.floor(math.log10(value)), 0), 6)
        text = f"{value:.{decimals}f}"
        if abs(float(text) - value) <= PRECISION * value:
            return text.rstrip("0").rstrip(".") if "." in text else text
    raise BadInput(
        f"the pump can't be told {value:g} within {100 * PRECISION:g} %: it takes six digits, six of them decimals",
        f"choose a value from {5e-7 / PRECISION:g} to 999999",
    )


def parse_rate_ml_h(text: str) -> float | None:
    """A rate as the pump prints it, `25.0404 nl/min`, in mL/h; None where it is none."""
    match = _RATE.fullmatch(text)
    return float(_ml(match[1], match[2]) * wire.PER_HOUR[match[3].lower()]) if match else None


def parse_volume_ml(text: str) -> float | None:
    """A volume as the pump prints it, `321.6 ul`, in mL; None where it is none."""
    match = _VOLUME.fullmatch(text)
    return float(_ml(match[1], match[2])) if match else None


def last_digit_ml(text: str) -> float:
    """One unit of the last digit of a volume that `parse_volume_ml` took, mL."""
    number, _, unit = text.partition(" ")
    return float(Fraction(10) ** (wire.ML_POWERS[unit[:-1].lower()] - len(number.partition(".")[2])))


def parse_mm(text: str) -> float | None:
    """A diameter as the pump prints it, `14.4300 mm`; None where it is none."""
    match = _LENGTH.fullmatch(text)
    return float(match[1]) if match else None


def parse_status(text: str) -> Counted | None:
    """The answer to `status`, of five flags (PHD Ultra) or six; None where it is none.

    The second number is left alone: it is a time in s, in ms or in ticks of a clock, as the model has it.
    """
    match = _STATUS.fullmatch(text)
    if match is None:
        return None
    direction = Direction.INFUSE if match[2] in "iI" else Direction.WITHDRAW
    return Counted(direction, float(Fraction(int(match[1]), wire.FL_PER_ML)), match[3] in "sS")


def close(value: float | None, wanted: float) -> bool:
    """Whether a value that was read back is the one that was sent, as far as the pump prints it."""
    return value is not None and abs(value - wanted) <= PRINTED * wanted


def same(answer: str, wanted: str) -> bool:
    """Whether an answer is a sentence of the manual; firmwares differ in capitals and full stops."""
    return answer.rstrip(".").casefold() == wanted.rstrip(".").casefold()


def _ml(number: str, letter: str) -> Fraction:
    return Fraction(number) * Fraction(10) ** wire.ML_POWERS[letter.lower()]
