"""The laws of the house about who may import whom, read from the sources with `ast`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = {
    *("endpoint", "exchange", "fact", "head", "operation", "plugin", "price", "principal", "record", "refusal"),
    *("scrub", "store", "team", "teams", "units", "usage"),
}
ROOMS = {"engine", "gemini", "wire", "config", "stores", "cli", "simulator"}

# What each room may import of ours, beside itself. `app` and `cli` may import everything.
MAY_IMPORT = {
    "gemini": CONTRACT,
    "config": CONTRACT,
    "stores": CONTRACT,
    "engine": CONTRACT | {"config.schema"},
    "wire": CONTRACT | {"gemini"},
    "simulator": set(),
}
# Third-party packages with one home.
ONLY_IN = {
    "aiohttp": {"wire", "simulator"},
    "yarl": {"wire", "simulator"},
    "httptools": {"wire"},
    "duckdb": {"cli"},
    "valkey": {"stores"},
    "typer": {"cli"},
    "rich": {"cli"},
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(file: Path) -> Iterator[tuple[str, int, bool]]:
    """Every module imported: its full name, the line, and whether at the top of the file."""
    tree = ast.parse(file.read_text())
    top = set(map(id, tree.body)) | {
        id(inner) for node in tree.body if isinstance(node, ast.If | ast.Try) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            assert node.module is not None
            package = ROOT.joinpath(*node.module.split("."))
            for alias in node.names:
                is_module = (package / f"{alias.name}.py").exists()
                yield f"{node.module}.{alias.name}" if is_module else node.module, node.lineno, id(node) in top


def room_of(file: Path) -> str:
    parts = file.relative_to(ROOT / "proxy").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("file", sources("proxy"), ids=lambda file: str(file.relative_to(ROOT)))
def test_rooms(file: Path) -> None:
    room = room_of(file)
    for name, line, _ in imports(file):
        place = f"{file.relative_to(ROOT)}:{line} imports {name}"
        package, _, rest = name.partition(".")
        homes = ONLY_IN.get(package)
        assert homes is None or room in homes, f"{place}: only {homes} may"
        if package == "plugins":
            assert room == "cli", f"{place}: proxy finds plugins by entry point"
        if package != "proxy":
            continue
        if room in CONTRACT:
            assert rest in CONTRACT, f"{place}: the contract imports nothing else of ours"
        if room in MAY_IMPORT:
            top = rest.partition(".")[0]
            allowed = top == room or top in MAY_IMPORT[room] or rest in MAY_IMPORT[room]
            assert allowed, f"{place}: {room} may import {sorted(MAY_IMPORT[room])}"


@pytest.mark.parametrize("file", sources("plugins"), ids=lambda file: str(file.relative_to(ROOT)))
def test_plugins_use_the_public_door(file: Path) -> None:
    own = file.relative_to(ROOT / "plugins").with_suffix("").parts[0]
    for name, line, _ in imports(file):
        place = f"{file.relative_to(ROOT)}:{line} imports {name}"
        assert not name.startswith("proxy."), f"{place}: plugins import from `proxy` itself"
        assert name not in ONLY_IN, f"{place}: plugins fetch through services.fetch"
        if name.startswith("plugins."):
            assert name.split(".")[1] == own, f"{place}: plugins meet only through the exchange"


OPTIONAL_EXTRAS = {"duckdb", "google", "uvloop"}


@pytest.mark.parametrize("file", sources("proxy") + sources("plugins"), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_stand_at_the_top(file: Path) -> None:
    for name, line, at_top in imports(file):
        assert at_top or name.partition(".")[0] in OPTIONAL_EXTRAS, (
            f"{file.relative_to(ROOT)}:{line} imports {name} late"
        )


def test_no_cycles_between_modules() -> None:
    """A cycle, if only inside a room, means two files that cannot be read one after the other."""
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sources("proxy")
    }
    edges = {
        module: {name for name, _, top in imports(file) if name in modules and top} for module, file in modules.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(edges[module]):
                visit(imported, (*path, module))
            done.add(module)

    for module in sorted(modules):
        visit(module, ())


def test_every_room_is_under_a_law() -> None:
    """A new folder in proxy/ must be given its law here."""
    folders = {path.name for path in (ROOT / "proxy").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == ROOMS
    assert set(MAY_IMPORT) | {"cli"} == ROOMS


def test_files_stay_small() -> None:
    """Over 300 lines a file needs a reason; there is none yet."""
    long = {
        str(file.relative_to(ROOT)): n
        for file in sources("proxy") + sources("plugins")
        if (n := len(file.read_text().splitlines())) > 300
    }
    assert long == {}
