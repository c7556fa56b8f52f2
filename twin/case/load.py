"""Reads a case folder and says everything that is wrong with it in one go."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from twin.case.flow import FlowCase
from twin.case.schema import Case, ExpectedValue
from twin.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises `BadInput` where it is missing or not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise BadInput(f"there is no {path}", "give a folder with a case.toml, e.g. cases/liang2023") from None
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}") from error
    except RecursionError:
        raise BadInput(f"{path} can't be read: its brackets are nested too deeply") from None


def validated(model: type[Model], data: dict[str, Any], origin: Path) -> Model:
    """`data` as a `model`; raises one `BadInput` that lists every mistake with its key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        mistakes = [f"  {_key(item['loc'])}: {_words(model, item)}" for item in error.errors()]
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise BadInput("\n".join([f"{origin} has {count}", *mistakes])) from None


def load(folder: Path | str) -> Case:
    """The reactor case of a folder; raises `BadInput` for a flow case, which has neither reaction nor rig."""
    case = load_any(folder)
    if isinstance(case, FlowCase):
        raise BadInput(
            f"{folder} is a flow case: it has neither two streams to mix, nor crystals, nor a rig",
            f"use twin mesh, solve, view, sweep, status or stability {folder}; its fields.vtu opens in ParaView",
        )
    return case


def load_any(folder: Path | str) -> Case | FlowCase:
    """The case of a folder: a flow case or a reactor case, by the tables of its file."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"there is no case folder {folder}", "give a folder with a case.toml, e.g. cases/liang2023")
    path = folder / "case.toml"
    data = {**read_toml(path), "folder": folder}
    if {"flow", "sweeps"} <= data.keys():
        raise BadInput(
            f"{path} has [sweeps], as a reactor case does, and [flow], as a flow case does",
            'leave out one of them; the coupling of a reactor case stands above all tables: coupling = "buoyant"',
        )
    return validated(FlowCase, data, path) if _is_flow(data) else validated(Case, data, path)


def _is_flow(data: dict[str, Any]) -> bool:
    """Whether a file is that of a flow case, which may have left out its table `[flow]`, as that has only defaults."""
    return "flow" in data or ("sweeps" not in data and not {"fluid", "boundaries"}.isdisjoint(data))


def load_expected(case: Case) -> list[ExpectedValue]:
    """The values that the case is held against; an empty list where the folder has no `expected.toml`."""
    path = case.folder / "expected.toml"
    if not path.exists():
        return []
    return [validated(ExpectedValue, row, path) for row in read_toml(path).get("value", [])]


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the file"


def _words(model: type[BaseModel], item: Any) -> str:
    """A pydantic message in the words of a case file; an unknown key gets its nearest known one."""
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _fields(model, item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, 1)
        return "unknown key" + (f', did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}")
    return "is missing" if item["type"] == "missing" else message


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that `model` knows at `path`."""
    schema = model.model_json_schema()
    here: dict[str, Any] = schema
    for part in path:
        here = here.get("properties", {}).get(part) or here.get("additionalProperties") or here.get("items") or {}
        while "$ref" in here or "anyOf" in here:
            here = here["anyOf"][0] if "anyOf" in here else schema["$defs"][here["$ref"].rsplit("/", 1)[-1]]
    return [name for name in here.get("properties", {}) if name != "folder"]
