"""Sensors that print a number per line on a serial port, or answer a question with one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from twin.rig.clock import Clock
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.port import Port, open_port
from twin.rig.sensors.protocol import Reading

#: Wall time for the answer to a question, s.
ANSWER_S = 1.0
#: Wall time for a line of a sensor that is not asked, s: one that prints every second needs up to two.
LINE_S = 2.5
#: The whole line is one number.
NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)"

_STRICT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ENDS = re.compile(rb"[\r\n]+")


class TextSensor:
    """A pressure transducer, a thermometer or a gauge that speaks in lines of text.

    value = `scale` · number + `offset`, in `unit`. Lines end with CR, LF or both. A line that came before it was wanted
    is thrown away: a reading is never older than its deadline.

    Args:
        name: what messages call it.
        unit: of the value.
        port: a device path, `socket://HOST:PORT` or `rfc2217://HOST:PORT`.
        clock: stamps the readings.
        baud: bits a second, 8N1.
        query: the bytes that ask for a number; empty where the sensor prints by itself.
        pattern: a regular expression that fits the whole line, spaces around it aside; its one group is the number.
        scale: unit per number.
        offset: added after scaling, in the unit.
        deadline_s: wall time that one reading may take, s; None chooses by whether it is asked.
        connect: opens the port, where it is not to be opened as `port` says.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        port: str,
        clock: Clock,
        *,
        baud: int = 9600,
        query: bytes = b"",
        pattern: str = NUMBER,
        scale: float = 1.0,
        offset: float = 0.0,
        deadline_s: float | None = None,
        connect: Callable[[], Port] | None = None,
    ) -> None:
        self.name, self.unit, self.port = name, unit, port
        self.scale, self.offset = scale, offset
        deadline = deadline_s if deadline_s is not None else (ANSWER_S if query else LINE_S)
        self._connect = connect or (lambda: open_port(port, baud, deadline_s=deadline))
        self._clock, self._query, self._pattern = clock, query, re.compile(pattern)
        self._line: Port | None = None

    def open(self) -> None:
        """Opens the port; raises `BadInput` where there is none, `RigError` where it is in use."""
        if self._line is None:
            self._line = self._connect()

    def close(self) -> None:
        """Closes the port. A second call does nothing."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def read(self) -> Reading:
        """The next number.

        Raises:
            NoReply: no whole line within the deadline.
            BadReply: a line without the number that `pattern` says, or babble without end.
            RigError: the port is closed, or gone.
        """
        line = self._next_line()
        value = self.scale * self._number(line) + self.offset
        return Reading(self.name, value, self.unit, self._clock.now(), self._clock.wall(), {"line": line})

    def _next_line(self) -> str:
        if self._line is None:
            raise RigError(f"the sensor {self.name} is not open", "open it first")
        try:
            raw = self._line.exchange(
                self._query, lambda came: self._whole_line(came) is not None, unasked=lambda stray: None
            )
        except NoReply as error:
            raise NoReply(
                f"the sensor {self.name} is silent: {error.message}", "look at its power, its cable and its baud rate"
            ) from error
        except BadReply as error:
            raise BadReply(f"the sensor {self.name}: {error.message}", "look at its baud rate") from error
        return (self._whole_line(raw) or b"").decode("ascii", "backslashreplace")

    def _whole_line(self, came: bytes) -> bytes | None:
        """The first whole line with text in it. Unasked, the reader comes in the middle of one and takes the next."""
        lines = _ENDS.split(came)[0 if self._query else 1 : -1]
        return next((line for line in lines if line.strip()), None)

    def _number(self, line: str) -> float:
        match = self._pattern.fullmatch(line.strip())
        text = match[1].strip() if match and match[1] else ""
        number = float(text) if _STRICT.fullmatch(text) else math.nan
        if not math.isfinite(number):
            raise BadReply(
                f"the sensor {self.name} says {line!r}, where {self._pattern.pattern!r} was to find a number",
                "look at its baud rate, and at pattern in case.toml",
            )
        return number
