"""Two cases that name the same port know of each other's latch, of each other's runs, and of what died."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from twin.errors import BadInput
from twin.rig.errors import RigError
from twin.rig.operation.latch import Latch
from twin.rig.operation.register import acknowledge, held, note, ports_of, refusal
from twin.rig.operation.runlock import NAME, RunLock
from twin.rig.operation.volumes import Volumes
from twin.rig.planning.limits import Place
from twin.rig.record.journal import read, verify


def place(port: str, role: str = "antisolvent", address: int = 0) -> Place:
    return Place(role, f"the {role} pump", "newera", port, 19200, address)


@pytest.fixture
def port(tmp_path: Path) -> str:
    (tmp_path / "ttyUSB0").touch()
    return str(tmp_path / "ttyUSB0")


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (tmp_path / "one" / "rig").mkdir(parents=True)
    return tmp_path / "one" / "rig"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    (tmp_path / "two" / "rig").mkdir(parents=True)
    return tmp_path / "two" / "rig"


def test_a_port_has_one_name(tmp_path: Path, port: str) -> None:
    link = tmp_path / "by-id"
    link.symlink_to(port)
    names = [port, f"serial://{port}", str(link), "simulated", "?", "socket://host:1"]
    assert ports_of(place(name) for name in names) == sorted([port, "socket://host:1"])


def test_a_run_that_ends_well_leaves_nothing(port: str, one: Path, two: Path, state: Path) -> None:
    with held(one, [place(port)]):
        assert list(state.glob("ports/*.json"))
    assert not list(state.glob("ports/*.json"))
    with held(two, [place(port)]):
        pass


def test_simulated_pumps_are_not_registered(one: Path, two: Path, state: Path) -> None:
    with held(one, [place("simulated")]), held(two, [place("simulated")]):
        pass
    assert not state.exists()


def test_a_port_in_use_names_the_case_that_uses_it(port: str, one: Path, two: Path) -> None:
    note(port, two)  # as a stop from there has left it
    with RunLock(one, [place(port)]), held(one, [place(port)]):
        with (
            RunLock(two, [place(port)]),
            pytest.raises(RigError, match="in use by a run of another rig") as refused,
            held(two, [place(port)]),
        ):
            pass
        assert str(one) in refused.value.message and "twin rig stop" in refused.value.remedy
        assert str(two) not in refused.value.message
    with held(two, [place(port)]):
        pass


def test_a_port_that_another_case_left_latched_is_refused_until_it_is_acknowledged_there(
    port: str, one: Path, two: Path
) -> None:
    for _ in range(2):  # the second time nothing is left of the first
        with held(one, [place(port)]):
            Latch(one).set("a stall", "run")
        with pytest.raises(RigError, match="a stall") as refused, held(two, [place(f"serial://{port}")]):
            pass
        assert str(one) in refused.value.message and "acknowledge" in refused.value.remedy
        with held(one, [place(port)]):  # its own latch is not a matter of this
            pass
        assert acknowledge(two, [place(port)], "A. Person") == [], "it has a folder, and is acknowledged there"
        Latch(one).acknowledge("A. Person")
        with held(two, [place(port)]):
            pass


def test_an_emergency_stop_is_known_too(port: str, one: Path, two: Path) -> None:
    Latch(one).set("emergency stop", "stop")
    note(port, one)
    with pytest.raises(RigError, match="emergency stop"), held(two, [place(port)]):
        pass


_DIES = """
import os, sys
from pathlib import Path
from twin.rig.operation.register import held
from twin.rig.operation.runlock import RunLock
from twin.rig.planning.limits import Place
pumps = [Place("antisolvent", "the antisolvent pump", "newera", sys.argv[2], 19200, 0)]
with RunLock(Path(sys.argv[1]), pumps), held(Path(sys.argv[1]), pumps):
    os.kill(os.getpid(), 9)
"""


def test_a_run_that_died_is_known(port: str, one: Path, two: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _DIES, str(one), port], env=environment, timeout=120, check=False)
    with pytest.raises(RigError, match="its run died") as refused, held(two, [place(port)]):
        pass
    assert str(one) in refused.value.message
    with RunLock(one, []):  # as `twin rig acknowledge` does
        Latch(one).acknowledge("A. Person")
    with held(two, [place(port)]):
        pass
    assert (one / NAME).read_bytes() == b""


def test_counters_that_another_rig_still_needs_are_not_set_back(port: str, one: Path, two: Path, state: Path) -> None:
    """Its run died, and somebody has acknowledged that, but nobody has asked its pumps yet."""
    with held(one, [place(port)]):
        volumes = Volumes.open(one)
        volumes.refill("antisolvent", "steel-50ml", 50.0)
        volumes.begin("run", {"antisolvent": 5000.0})
    for _ in range(2):
        refused = pytest.raises(RigError, match=r"has yet to ask its pumps \(antisolvent\)")
        with refused as error, held(two, [place(port)]):
            pass
        assert str(one) in error.value.message
        told = refusal(two, [place(port)])
        assert told is not None and told.message == error.value.message
        with held(one, [place(port)]):  # its own runs are let in, and leave the entry
            pass
    Volumes.open(one).refill("antisolvent", "steel-50ml", 50.0)
    with held(two, [place(port)]):
        pass


def test_a_folder_that_is_gone_is_acknowledged_by_name(port: str, one: Path, two: Path) -> None:
    with held(one, [place(port)]):
        Latch(one).set("a stall", "run")
    shutil.rmtree(one.parent)
    with pytest.raises(RigError, match="not there any more") as refused, held(two, [place(port)]):
        pass
    assert "acknowledge CASE --by" in refused.value.remedy
    with pytest.raises(BadInput, match="nobody"):
        acknowledge(two, [place(port)], " ")
    (said,) = acknowledge(two, [place(port)], "A. Person", "looked at the pumps")
    assert str(one) in said
    (journal,) = two.glob("acknowledge-*.jsonl")
    assert verify(journal).intact and verify(journal).ended
    entry = next(entry for entry in read(journal) if entry["event"] == "acknowledged")
    assert (entry["by"], entry["note"], entry["reasons"]) == ("A. Person", "looked at the pumps", [said])
    with held(two, [place(port)]):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folders": 3}', '{"port": "x"}'])
def test_a_damaged_entry_holds_the_port_up_until_it_is_acknowledged(
    port: str, one: Path, two: Path, state: Path, text: str
) -> None:
    note(port, one)
    (entry,) = state.glob("ports/*.json")
    entry.write_text(text)
    with pytest.raises(RigError, match="damaged"), held(two, [place(port)]):
        pass
    assert acknowledge(two, [place(port)], "A. Person")
    with held(two, [place(port)]):
        pass


def test_an_entry_is_written_whole(port: str, one: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note(port, one)
    (entry,) = state.glob("ports/*.json")
    before = entry.read_text()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        note(port, one.parent)
    assert entry.read_text() == before
    monkeypatch.undo()
    assert json.loads(before)["folders"] == [str(one)]


def test_a_state_that_cant_be_written_names_the_way_out(
    port: str, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWIN_STATE", str(tmp_path / "file"))
    with pytest.raises(BadInput, match="can't write") as refused, held(one, [place(port)]):
        pass
    assert "TWIN_STATE" in refused.value.remedy


def test_where_it_lies(tmp_path: Path, port: str, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWIN_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    note(port, one)
    assert list((tmp_path / "xdg" / "yjunction-twin" / "ports").glob("*.json"))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    note(port, one)
    assert list((tmp_path / "home" / ".local" / "state" / "yjunction-twin" / "ports").glob("*.json"))
