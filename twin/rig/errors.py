"""What can go wrong at the rig, each with its remedy."""

from __future__ import annotations

from twin.errors import TwinError
from twin.rig.wire.newera import ALARMS, REFUSALS


class RigError(TwinError):
    """The rig did not do what it was told. Whoever sees it stops both pumps."""


class NotSent(RigError):
    """The port went away before a whole message had gone out: no pump can have heard it."""


class NoReply(RigError):
    """A pump stayed silent past its deadline."""


class BadReply(RigError):
    """Bytes came that are no reply of this pump."""


class CommandRefused(RigError):
    """The pump answered a command with `?…`."""

    def __init__(self, pump: str, command: str, code: str) -> None:
        super().__init__(
            f"{pump} refused {command!r}: {REFUSALS[code]} ({code})",
            "compare the pump and its syringe with [rig] in case.toml",
        )
        self.code = code


class PumpAlarm(RigError):
    """The pump raised `A?x`. It did not execute the command that this answers."""

    def __init__(self, pump: str, code: str, latched: bool = False) -> None:
        again = " and the alarm is not yet acknowledged" if latched else ""
        super().__init__(
            f"{pump} {ALARMS[code]} (A?{code}){again}", "look at the pump and its syringe before the next run"
        )
        self.code = code


class NotStopped(RigError):
    """A pump could not be verified as stopped."""

    def __init__(self, pumps: list[str], reason: str) -> None:
        names = " and ".join(pumps)
        super().__init__(
            f"NOT VERIFIED AS STOPPED: {names} ({reason})",
            f"switch {names} off at the mains now, then look at the cable",
        )
        self.pumps = pumps
        self.reason = reason


class RunStopped(RigError):
    """A run was ended on request, before its time."""

    exit_code = 130


class Tripped(RigError):
    """An interlock was broken; the watchdog has stopped the rig and latched it."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(
            f"interlock {rule}: {reason}", "find the cause, then acknowledge it: `twin rig acknowledge CASE --by NAME`"
        )
        self.rule = rule
