"""The rule for missing parts: a skip at a desk, a failure in CI."""

from pathlib import Path

import pytest

from tests.tools import require


@pytest.mark.parametrize("missing", [Path("no/such/file"), "no-such-program"])
def test_what_is_missing_is_a_skip_at_a_desk(monkeypatch: pytest.MonkeyPatch, missing: Path | str) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="is missing: run `make tools`"):
        require(missing, "run `make tools`")


@pytest.mark.parametrize("missing", [Path("no/such/file"), "no-such-program"])
def test_what_is_missing_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch, missing: Path | str) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="is missing: run `make tools`"):
        require(missing, "run `make tools`")


def test_what_is_there_is_found(tmp_path: Path) -> None:
    assert require(tmp_path, "it was just made") == tmp_path
    assert require("sh", "every POSIX system has it").name == "sh"
