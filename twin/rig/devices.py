"""The rig as devices of bluesky, which is not needed for it: its protocols ask for methods, not for a base class.

`FlowReactor` can be staged, set, read and stopped; each of its sensors can be read by itself. Staging starts a run like
any other, in a thread of its own: with its journal, watchdog, latch and ledger of volumes. A device that was stopped
stays stopped until it is staged again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin.case.schema import Case
from twin.errors import BadInput, TwinError
from twin.rig.bench import clock_for
from twin.rig.clock import Clock
from twin.rig.control import RunResult, run
from twin.rig.errors import NotStopped, RigError, RunStopped
from twin.rig.operation.live import LiveProgram, Pending
from twin.rig.planning.limits import ROLES, equipment
from twin.rig.planning.recipe import RAMP_S
from twin.rig.planning.setpoint import Setpoint

if TYPE_CHECKING:
    from twin.rig.bench import Simulator

#: The key of each flow in what `FlowReactor.set` takes.
KEYS = {role: f"{role}_ml_h" for role in ROLES}
#: Wall time in which a run that was told to end must be over, s: its own stop takes 5 s at most.
END_S = 20.0

Documents = dict[str, dict[str, Any]]


class FlowReactor:
    """The pumps of a case as one device that goes from flow to flow.

    Args:
        case: the case with its rig.
        setpoint: a proposal that `load_setpoint` let pass; every target must lie in its hull.
        name: what its keys begin with.
        ramp_s: how long the way from one target to the next takes, s of process time.
        residences: how many residence times of the outlet a target is held before it counts as reached.
        filled_ml: what the syringes hold, mL by pump; as in `twin.rig.run`, where it is left out.
        folder: where journal, ledger, latch and lock lie.
        clock: process time; as in `twin.rig.run`, where it is left out.
        simulator: simulated pumps that are there already, on `clock`.

    Raises:
        BadInput: the rig of the case can't be used, or real pumps would be accelerated.
    """

    parent = None

    def __init__(
        self,
        case: Case,
        setpoint: Setpoint,
        *,
        name: str = "reactor",
        ramp_s: float = RAMP_S,
        residences: float = 0.0,
        filled_ml: Mapping[str, float] | None = None,
        folder: Path | None = None,
        clock: Clock | None = None,
        simulator: Simulator | None = None,
    ) -> None:
        self._name = name
        self._case, self._setpoint = case, setpoint
        self._clock = clock_for(equipment(case), clock)
        self._way: dict[str, float] = {"ramp_s": ramp_s, "residences": residences}
        self._options: dict[str, Any] = {
            "filled_ml": filled_ml, "folder": folder, "clock": self._clock, "simulator": simulator,
        }  # fmt: skip
        self._program: LiveProgram | None = None
        self._thread: threading.Thread | None = None
        #: What came out of the last run that ended well.
        self.result: RunResult | None = None
        self.sensors = {sensor: RigSensor(self, sensor, entry.unit) for sensor, entry in case.rig.sensors.items()}
        LiveProgram(case, setpoint, self._clock, **self._way)  # says at once what can't be

    def __repr__(self) -> str:
        return f"FlowReactor({self._name!r}, case={self._case.name!r})"

    @property
    def name(self) -> str:
        """What its keys begin with."""
        return self._name

    @property
    def hints(self) -> dict[str, Any]:
        """What to plot: the flows."""
        return {"fields": [f"{self._name}_{key}" for key in KEYS.values()]}

    def stage(self) -> Pending:
        """Opens, arms and starts the rig; done when both pumps run at a tenth of the setpoint."""
        if self._thread is not None and self._thread.is_alive():
            return Pending().finish(BadInput("the reactor is staged already", "unstage it first"))
        try:
            program = LiveProgram(self._case, self._setpoint, self._clock, **self._way)
        except TwinError as error:
            return Pending().finish(error)
        self._program, self.result = program, None
        # Not a daemon: it ends the run by itself, all pumps verified, when the main thread has ended.
        self._thread = threading.Thread(target=self._run, args=(program,), name=f"run of {self._name}")
        self._thread.start()
        return program.started

    def set(self, value: Mapping[str, float]) -> Pending:
        """Goes to `{"antisolvent_ml_h": …, "precursor_ml_h": …}`; done when the ramp has ended and the flow settled.

        It ends with `BadInput` outside the hull, beyond a pump or its syringe, while another way is under way, and
        before staging; with what ended the run, where that has failed.
        """
        status = Pending()
        try:
            self._live().go_to(_rates(value), status)
        except TwinError as error:
            status.finish(error)
        return status

    def check_value(self, value: Mapping[str, float]) -> None:
        """Raises `BadInput` where `set` would refuse it for its own sake."""
        program = self._program or LiveProgram(self._case, self._setpoint, self._clock, **self._way)
        program.check(_rates(value))

    def locate(self) -> dict[str, Any]:
        """Where it is going, and where it is, mL/h."""
        program = self._live()
        rates = program.progress.rates_ml_h if program.progress else {}
        return {
            "setpoint": {KEYS[role]: rate for role, rate in program.target_ml_h.items()},
            "readback": {KEYS[role]: rates.get(role, 0.0) for role in ROLES},
        }

    def trigger(self) -> Pending:
        """Done when every sensor was read anew."""
        return self.await_readings(*self.sensors)

    def await_readings(self, *sensors: str) -> Pending:
        """Done when each of these sensors was read anew."""
        status = Pending()
        try:
            self._live().await_readings(sensors, status)
        except TwinError as error:
            status.finish(error)
        return status

    def read(self) -> Documents:
        """Flows, what was counted and what is left by pump, and the sensors.

        Raises what ended the run, where that has failed, and `BadInput` before it has started.
        """
        program = self._known()
        progress = program.progress
        if progress is None:
            raise BadInput("the reactor has not started yet", "wait for its staging")
        at = time.time()
        values: dict[str, float] = {}
        for role in ROLES:
            values[f"{role}_ml_h"] = 0.0 if program.over else progress.rates_ml_h[role]
            values[f"{role}_counted_ml"] = progress.counted_ml[role]
            values[f"{role}_left_ml"] = progress.left_ml[role]
        found = {f"{self._name}_{key}": {"value": value, "timestamp": at} for key, value in values.items()}
        for sensor in self.sensors.values():
            for key, entry in sensor.read().items():
                found[f"{self._name}_{key}"] = entry
        return found

    def describe(self) -> Documents:
        """The units of what `read` gives."""
        keys: Documents = {}
        for role in ROLES:
            for what, unit in (("ml_h", "mL/h"), ("counted_ml", "mL"), ("left_ml", "mL")):
                keys[f"{self._name}_{role}_{what}"] = _data_key(f"rig:{role}", unit)
        for sensor in self.sensors.values():
            keys |= {f"{self._name}_{key}": entry for key, entry in sensor.describe().items()}
        return keys

    def read_configuration(self) -> Documents:
        """The proposal that the run rests on, and how it goes from target to target."""
        values = {"setpoint": self._setpoint.checksum, **self._way}
        return {f"{self._name}_{key}": {"value": value, "timestamp": time.time()} for key, value in values.items()}

    def describe_configuration(self) -> Documents:
        """The kinds of what `read_configuration` gives."""
        return {
            f"{self._name}_setpoint": {"source": str(self._setpoint.path), "dtype": "string", "shape": []},
            f"{self._name}_ramp_s": _data_key("rig", "s"),
            f"{self._name}_residences": _data_key("rig", ""),
        }

    def stop(self, success: bool = True) -> None:
        """Stops every pump, verified: with `success` as at the end of a run, else at once. Nothing resumes by itself.

        Raises `NotStopped` where a pump could not be verified.
        """
        if isinstance(error := self._end(at_once=not success), NotStopped):
            raise error

    def unstage(self) -> Pending:
        """Stops every pump, verified; ends with what the run failed of, if it did."""
        error = self._end()
        return Pending().finish(None if isinstance(error, RunStopped) else error)

    def _run(self, program: LiveProgram) -> None:
        try:
            self.result = run(
                self._case,
                self._setpoint,
                live=program,
                on_progress=program.heed,
                cancel=program.cancel,
                **self._options,
            )
        except BaseException as error:  # noqa: BLE001  whoever waits for it is told, in another thread
            program.finish(error)
        else:
            program.finish(None)

    def _end(self, at_once: bool = False) -> BaseException | None:
        """Ends the run and waits until it is over; returns what it ended with."""
        program, thread = self._program, self._thread
        if program is None or thread is None:
            return None
        program.end()
        if at_once:
            program.cancel.set()
        thread.join(END_S)
        if thread.is_alive():
            return NotStopped([self._name], f"its run did not end within {END_S:g} s")
        return program.error

    def _known(self) -> LiveProgram:
        """The run at hand, or the last one that ended as it was told to."""
        program = self._program
        if program is None:
            raise BadInput("the reactor is not staged", "stage it first")
        if program.error is not None:
            raise program.error
        return program

    def _live(self) -> LiveProgram:
        program = self._known()
        if program.over:
            raise BadInput("the reactor was stopped, and nothing resumes by itself", "stage it again")
        return program


class RigSensor:
    """A sensor of a reactor as a device of its own. It measures while the reactor is staged.

    Args:
        reactor: whose sensor it is.
        sensor: its name in the case, which is also the name of the device.
        unit: the unit of its values.
    """

    def __init__(self, reactor: FlowReactor, sensor: str, unit: str) -> None:
        self.parent = reactor
        self._name, self._unit = sensor, unit

    def __repr__(self) -> str:
        return f"RigSensor({self._name!r})"

    @property
    def name(self) -> str:
        """The name of the sensor."""
        return self._name

    @property
    def hints(self) -> dict[str, Any]:
        """What to plot: the value."""
        return {"fields": [self._name]}

    def trigger(self) -> Pending:
        """Done with its next reading."""
        return self.parent.await_readings(self._name)

    def read(self) -> Documents:
        """Its last reading, a NaN where it sees nothing, and whether the flow had settled for it."""
        program = self.parent._known()
        reading = program.board.latest(self._name)
        if reading is None:
            raise RigError(f"the sensor {self._name} has not been read yet", "wait for the staging of the reactor")
        at = time.time() - (self.parent._clock.wall() - reading.wall_s)
        value = float("nan") if reading.value is None else reading.value
        return {
            self._name: {"value": value, "timestamp": at},
            f"{self._name}_steady": {"value": reading.steady, "timestamp": at},
        }

    def describe(self) -> Documents:
        """The unit of what `read` gives."""
        return {
            self._name: _data_key(f"rig:{self._name}", self._unit),
            f"{self._name}_steady": {"source": f"rig:{self._name}", "dtype": "boolean", "shape": []},
        }


def _rates(value: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(value, Mapping) or set(value) != set(KEYS.values()):
        raise BadInput(f"{value!r} is no pair of flows", f"give a dictionary of {' and '.join(KEYS.values())}, in mL/h")
    return {role: value[key] for role, key in KEYS.items()}


def _data_key(source: str, unit: str) -> dict[str, Any]:
    return {"source": source, "dtype": "number", "shape": [], "units": unit}
