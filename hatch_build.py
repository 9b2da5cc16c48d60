"""Compiles the hot path into the wheel with mypyc, when asked: HATCH_BUILD_HOOK_ENABLE_CUSTOM=true (`make wheel`).

The modules are those that pyproject.toml lists. Their Python files go into the wheel all the same: they are what a
traceback shows, and what runs where nothing is compiled. docs/decisions/0013 says what may be in the list.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Modules call each other and Python directly, not through a table: nobody else links against the library.
_WITHIN = ["-fvisibility=hidden", "-fno-plt"]


class MypycHook(BuildHookInterface):
    """Named `custom` by hatch, since it is the project's own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # what is edited must be what runs
        made = Path(self.root, "build", "mypyc")
        shutil.rmtree(made, ignore_errors=True)
        compile_into(made, self.root, self.config["modules"])
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        libraries = made / "lib"
        for library in libraries.rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(libraries))


def compile_into(made: Path, root: str, modules: list[str]) -> None:
    """Leaves the libraries in `made`/lib, in the folders of their modules."""
    # Not at the top: setuptools and mypyc are needed here alone, and hatch imports this file for every build.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415

    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SystemExit("nothing can be compiled without Python's headers (on Debian: apt install python3-dev)")
    if shutil.which("cc") is None and importlib.util.find_spec("ziglang") is not None:
        os.environ.setdefault("CC", f"{sys.executable} -m ziglang cc")
    before = Path.cwd()
    os.chdir(root)
    try:
        extensions = mypycify(
            modules, opt_level="3", debug_level="0", target_dir=str(made), group_name="weir", multi_file=True
        )
        for extension in extensions:
            extension.extra_compile_args += _WITHIN
        build = Distribution({"name": "gemini-weir", "ext_modules": extensions}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(made / "lib"), str(made / "temp")  # type: ignore[attr-defined]
        build.ensure_finalized()
        build.run()
    finally:
        os.chdir(before)
