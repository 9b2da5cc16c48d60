"""`weir --version`."""

from typer.testing import CliRunner

from proxy.cli import weir
from proxy.version import COMPILED, __version__


def test_it_says_which_version_and_whether_it_is_compiled() -> None:
    said = CliRunner().invoke(weir, ["--version"])
    assert said.exit_code == 0
    assert said.stdout == f"gemini-weir {__version__} ({'compiled' if COMPILED else 'not compiled'})\n"


def test_a_command_is_still_asked_for() -> None:
    assert CliRunner().invoke(weir, []).exit_code == 2
