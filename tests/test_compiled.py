"""What may be compiled (docs/decisions/0013), read from the sources; and that compiled tests run what was compiled."""

import ast
import importlib
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
MODULES: list[str] = HOOK["custom"]["modules"]


def classes(file: str) -> list[ast.ClassDef]:
    return [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.ClassDef)]


def test_the_list_is_in_order_and_names_what_there_is() -> None:
    assert sorted(MODULES) == MODULES
    assert [file for file in MODULES if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("file", MODULES)
def test_no_class_loses_what_it_says_of_itself(file: str) -> None:
    """mypyc drops a class's keywords and turns its fields' types into `type`: msgspec could read nothing from it."""
    for each in classes(file):
        assert each.keywords == [], f"{file}: class {each.name} has keywords"
        bases = {ast.unparse(base) for base in each.bases}
        assert not {"msgspec.Struct", "Struct", "Plugin"} & bases, f"{file}: class {each.name} is a {bases}"


@pytest.mark.parametrize("file", MODULES)
def test_nothing_waits_in_a_finally_or_an_except(file: str) -> None:
    """What mypyc makes of them is wrong: decision 0013 says how."""
    tree = ast.parse((ROOT / file).read_text())
    last = [statement for node in ast.walk(tree) if isinstance(node, ast.Try) for statement in node.finalbody]
    last += [statement for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) for statement in node.body]
    waits = (ast.Await, ast.AsyncWith, ast.AsyncFor, ast.Yield, ast.YieldFrom)
    lines = {inner.lineno for statement in last for inner in ast.walk(statement) if isinstance(inner, waits)}
    assert lines == set(), f"{file}: lines {sorted(lines)}"


@pytest.mark.skipif("WEIR_COMPILED" not in os.environ, reason="make test-compiled sets WEIR_COMPILED")
@pytest.mark.parametrize("file", MODULES)
def test_what_is_listed_runs_compiled(file: str) -> None:
    module = importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert module.__file__ is not None
    assert not module.__file__.endswith(".py")
