"""The files: whole lines, through a full disk, a crash, a rotation and a second writer."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from plugins.usage_log.journal import Journal
from tests.plugins.usage_log.disk import largest_file

NOON = 1_769_860_800.0  # 2026-01-31 12:00 UTC
NEXT_DAY = NOON + 86_400
FILE, NEXT_FILE = "usage-2026-01-31.jsonl", "usage-2026-02-01.jsonl"

Make = Callable[..., Journal]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def make_journal(*, sync: bool = False, max_bytes: int = 1 << 30, **seams: Any) -> Journal:
        made.append(Journal(tmp_path / "usage", structlog.get_logger(), sync=sync, max_bytes=max_bytes, **seams))
        return made[-1]

    yield make_journal
    for journal in made:
        journal.close()


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


def lines_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_full_file_is_followed_by_another_of_the_day(make: Make, tmp_path: Path) -> None:
    journal = make(max_bytes=20)
    journal.open(NOON)
    groups = [b'{"id":%d}\n' % number for number in range(1, 6)]  # of 9 bytes
    for group in groups:
        journal.append(group, NOON)
    journal.append(b'{"id":"is longer than a whole file"}\n', NOON)
    journal.append(b'{"id":7}\n', NOON)

    assert lines_of(tmp_path / "usage") == {
        FILE: b"".join(groups[:2]),
        "usage-2026-01-31.2.jsonl": b"".join(groups[2:4]),
        "usage-2026-01-31.3.jsonl": groups[4],
        "usage-2026-01-31.4.jsonl": b'{"id":"is longer than a whole file"}\n',
        "usage-2026-01-31.5.jsonl": b'{"id":7}\n',
    }
    assert journal.name == "usage-2026-01-31.5.jsonl"
    journal.append(groups[0], NEXT_DAY)
    assert journal.name == NEXT_FILE


def test_a_start_goes_on_in_the_first_file_that_is_not_full(make: Make, tmp_path: Path) -> None:
    journal = make(max_bytes=10)
    journal.open(NOON)
    for _ in range(3):
        journal.append(b"123456789\n", NOON)
    journal.close()

    journal = make(max_bytes=10)
    journal.open(NOON)
    assert journal.name == "usage-2026-01-31.4.jsonl"


def test_a_file_that_is_followed_by_one_almost_full_is_not_made_too_long(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    for name in (FILE, "usage-2026-01-31.2.jsonl"):
        (folder / name).write_bytes(b'{"id":1}\n')
    journal = make(max_bytes=10)
    journal.open(NOON)
    journal.append(b'{"id":2}\n', NOON)

    assert journal.name == "usage-2026-01-31.3.jsonl"


def test_whoever_writes_a_group_is_told_where_before(make: Make, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def before(file: str, offset: int) -> None:
        told.append((file, offset, (tmp_path / "usage" / file).stat().st_size))

    journal = make(max_bytes=20)
    journal.open(NOON)
    for _ in range(3):
        journal.append(b'{"id":1}\n', NOON, before)

    assert told == [(FILE, 0, 0), (FILE, 9, 9), ("usage-2026-01-31.2.jsonl", 0, 0)]


def test_a_disk_that_takes_half_of_a_group_gets_it_again(make: Make, tmp_path: Path) -> None:
    room = [4]

    def short_of_space(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space left on device")
        written = os.write(fd, data[: room[0]])
        room[0] -= written
        return written

    journal = make(write=short_of_space)
    journal.open(NOON)
    with pytest.raises(OSError, match="no space"):
        journal.append(b'{"id":1}\n', NOON)
    assert (tmp_path / "usage" / FILE).read_bytes() == b""

    room[0] = 1000
    journal.append(b'{"id":1}\n', NOON)
    assert lines_of(tmp_path / "usage") == {FILE: b'{"id":1}\n'}


def test_after_a_sync_that_failed_the_group_goes_to_a_new_file(make: Make, tmp_path: Path) -> None:
    """Linux may call pages clean that it could not write: a second sync of the same file would prove nothing."""
    failures = [OSError(errno.EIO, "input/output error")]

    def sync(fd: int) -> None:
        if failures:
            raise failures.pop()

    journal = make(sync=True, sync_data=sync)
    journal.open(NOON)
    with pytest.raises(OSError, match="input/output"):
        journal.append(b'{"id":1}\n', NOON)
    journal.append(b'{"id":1}\n', NOON)
    journal.append(b'{"id":2}\n', NOON)

    assert lines_of(tmp_path / "usage") == {FILE: b"", "usage-2026-01-31.2.jsonl": b'{"id":1}\n{"id":2}\n'}


def test_nothing_is_written_while_a_half_written_group_cannot_be_taken_back(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a record twice."""

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    def cannot_cut(fd: int, length: int) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    journal = make(sync=True, sync_data=broken)
    journal.open(NOON)
    with monkeypatch.context() as read_only:
        read_only.setattr(os, "ftruncate", cannot_cut)
        for _ in range(2):
            with pytest.raises(OSError, match="read-only"):
                journal.append(b'{"id":1}\n', NOON)
    assert lines_of(tmp_path / "usage") == {FILE: b'{"id":1}\n'}

    with pytest.raises(OSError, match="input/output"):
        journal.append(b'{"id":1}\n', NOON)
    assert set(lines_of(tmp_path / "usage").values()) == {b""}
