"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.files import read_bytes, require_writable, write_atomically
from tests.coco_records import one_sentence, saved


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left"):
        write_atomically(path, "new")
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writing_replaces_what_a_link_points_to_with_ordinary_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    write_atomically(link, "one")
    write_atomically(link, b"two")
    assert link.is_symlink() and target.read_bytes() == b"two"
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("write", [require_writable, lambda path: write_atomically(path, "x")])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, write: object) -> None:
    (tmp_path / "file").touch()
    for path, says in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out.json", "no folder"),
        (tmp_path / "file" / "out.json", "no folder"),
    ]:
        with pytest.raises(InputError, match=says) as error:
            write(path)
        one_sentence(error, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    require_writable(tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (read_bytes, formats.read):
        with pytest.raises(InputError, match="is a pipe or a device; give a file"):
            use(tmp_path / "pipe")
