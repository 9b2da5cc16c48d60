"""The files: whole lines, through a full disk, a crash, a rotation and a second writer."""

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from plugins.usage_log.journal import Journal

NOON = 1_769_860_800.0  # 2026-01-31 12:00 UTC
NEXT_DAY = NOON + 86_400
FILE, NEXT_FILE = "usage-2026-01-31.jsonl", "usage-2026-02-01.jsonl"

Make = Callable[..., Journal]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def make_journal(*, sync: bool = False) -> Journal:
        made.append(Journal(tmp_path / "usage", structlog.get_logger(), sync=sync))
        return made[-1]

    yield make_journal
    for journal in made:
        journal.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel cuts writes at `size`, as a full disk does: a part is written, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_are_appended_to_the_file_of_the_day(make: Make, tmp_path: Path) -> None:
    journal = make()
    assert journal.name is None
    journal.open(NOON)
    journal.append(b'{"id":1}\n{"id":2}\n', NOON)
    journal.append(b'{"id":3}\n', NOON + 1)

    assert journal.name == FILE
    assert (tmp_path / "usage" / FILE).read_bytes() == b'{"id":1}\n{"id":2}\n{"id":3}\n'


def test_files_are_not_for_others_to_read(make: Make, tmp_path: Path) -> None:
    make().open(NOON)

    mode = stat.S_IMODE((tmp_path / "usage" / FILE).stat().st_mode)
    assert mode | 0o640 == 0o640
    assert mode & 0o600 == 0o600


def test_a_new_day_has_a_new_file(make: Make, tmp_path: Path) -> None:
    journal = make(sync=True)
    journal.open(NOON)
    journal.append(b'{"id":1}\n', NOON)
    journal.append(b'{"id":2}\n', NEXT_DAY)

    assert (tmp_path / "usage" / FILE).read_bytes() == b'{"id":1}\n'
    assert (tmp_path / "usage" / NEXT_FILE).read_bytes() == b'{"id":2}\n'


def test_a_short_write_leaves_no_torn_line_and_can_be_made_again(make: Make, tmp_path: Path) -> None:
    journal = make()
    journal.open(NOON)
    first, group = b'{"id":1}\n', b'{"id":2}\n' * 100
    journal.append(first, NOON)

    with largest_file(100), pytest.raises(OSError, match="too large") as caught:
        journal.append(group, NOON)
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "usage" / FILE).read_bytes() == first

    journal.append(group, NOON)
    assert (tmp_path / "usage" / FILE).read_bytes() == first + group


def test_a_torn_last_line_is_moved_aside(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    long_line = b'{"id":"' + b"x" * 200_000  # longer than a block of the search for its begin
    (folder / FILE).write_bytes(b'{"id":1}\n' + long_line)
    (folder / NEXT_FILE).write_bytes(b'{"id')

    with capture_logs() as logs:
        make().open(NOON)

    assert (folder / FILE).read_bytes() == b'{"id":1}\n'
    assert (folder / f"{FILE}.torn").read_bytes() == long_line + b"\n"
    assert (folder / NEXT_FILE).read_bytes() == b""
    assert (folder / f"{NEXT_FILE}.torn").read_bytes() == b'{"id\n'
    assert [(log["log_level"], log["file"], log["bytes"]) for log in logs] == [
        ("error", FILE, len(long_line)),
        ("error", NEXT_FILE, 4),
    ]


def test_a_second_torn_line_of_a_file_joins_the_first(make: Make, tmp_path: Path) -> None:
    for torn in (b'{"a', b'{"b'):
        (tmp_path / "usage").mkdir(exist_ok=True)
        (tmp_path / "usage" / FILE).write_bytes(torn)
        journal = make()
        journal.open(NOON)
        journal.close()

    assert (tmp_path / "usage" / f"{FILE}.torn").read_bytes() == b'{"a\n{"b\n'


def test_a_whole_line_that_lacks_only_its_newline_is_kept(make: Make, tmp_path: Path) -> None:
    (tmp_path / "usage").mkdir()
    file = tmp_path / "usage" / FILE
    file.write_bytes(b'{"id":1}\n{"id":2}')

    with capture_logs() as logs:
        journal = make()
        journal.open(NOON)
    journal.append(b'{"id":3}\n', NOON)

    assert file.read_bytes() == b'{"id":1}\n{"id":2}\n{"id":3}\n'
    assert [log["log_level"] for log in logs] == ["warning"]


def test_a_second_writer_has_a_file_of_its_own_and_leaves_the_first_alone(make: Make, tmp_path: Path) -> None:
    first, second = make(), make()
    first.open(NOON)
    first.append(b'{"id":1}\n', NOON)
    with (tmp_path / "usage" / FILE).open("ab") as half:
        half.write(b'{"id":2')  # the first writer in the middle of a line
    second.open(NOON)
    second.append(b'{"id":3}\n', NOON)

    assert second.name == "usage-2026-01-31.2.jsonl"
    assert (tmp_path / "usage" / FILE).read_bytes() == b'{"id":1}\n{"id":2'
    assert (tmp_path / "usage" / second.name).read_bytes() == b'{"id":3}\n'


@pytest.mark.parametrize("take_away", [lambda file: file.unlink(), lambda file: os.rename(file, f"{file}.old")])
def test_a_file_taken_away_is_made_anew(make: Make, tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    journal = make()
    journal.open(NOON)
    journal.append(b'{"id":1}\n', NOON)
    take_away(tmp_path / "usage" / FILE)
    journal.append(b'{"id":2}\n', NOON)

    assert (tmp_path / "usage" / FILE).read_bytes() == b'{"id":2}\n'


def test_a_folder_that_cannot_be_made_is_an_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "usage").write_text("in the way")

    with pytest.raises(OSError, match="usage"):
        make().open(NOON)
