import errno
import json
from pathlib import Path

import pytest

from twin.errors import BadInput, TwinError
from twin.files import digest, explained, folder, read_json, whole, write_json


def test_an_interrupted_write_leaves_the_old_file_and_no_scratch(tmp_path):
    target = tmp_path / "record.json"
    write_json(target, {"old": 1})
    with pytest.raises(KeyboardInterrupt), whole(target) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt
    assert read_json(target) == {"old": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_said_and_the_old_file_stays(tmp_path):
    target = tmp_path / "record.json"
    write_json(target, {"old": 1})
    with pytest.raises(TwinError, match="disk is full") as caught, whole(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.exit_code == 1 and "free some space" in caught.value.remedy
    assert read_json(target) == {"old": 1}


def test_a_real_full_device_is_said():
    with (
        pytest.raises(TwinError, match="disk is full"),
        explained(Path("/dev/full")),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x" * 100_000)


@pytest.mark.parametrize("where", ["/proc/nothing/here", "/dev/null/below"])
def test_a_folder_that_can_not_be_written_is_refused(where):
    with pytest.raises((BadInput, TwinError), match="can't write"):
        folder(Path(where))


def test_a_number_that_is_none_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_damaged_json_is_said(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"half": ')
    with pytest.raises(BadInput, match="damaged"):
        read_json(path)


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2.5}) == digest(json.loads('{"b": 2.5, "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})
