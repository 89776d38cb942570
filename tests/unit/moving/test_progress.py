"""What is kept of a move, and which file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.errors import UsageError
from antiphon.moving.progress import Progress, ProgressFile, Stage, TopicProgress


def test_progress_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "move.json")
    progress = Progress("here", "there", topics={"orders": TopicProgress({0: "5"}, {0: "0"}, groups=["one"])})
    file.save(progress)
    assert file.load("here", "there") == progress
    assert [path.name for path in tmp_path.iterdir()] == ["move.json"]


def test_a_move_that_is_not_done_is_not_written_over_by_another(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "move.json")
    assert file.load("here", "there") is None
    file.save(Progress("here", "there"))
    with pytest.raises(UsageError, match=r"about a move from here to there that is not done: .* --progress"):
        file.load("there", "here")
    file.save(Progress("here", "there", Stage.DONE))
    assert file.load("there", "here") is None


def test_what_is_no_progress_is_refused(tmp_path: Path) -> None:
    (tmp_path / "move.json").write_text("{}")
    with pytest.raises(UsageError, match="does not tell how far a move has come"):
        ProgressFile(tmp_path / "move.json").load("here", "there")


def test_a_folder_that_is_not_there_is_told_before_anything_is_moved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written, and a move keeps there how far it has come"):
        ProgressFile(tmp_path / "missing" / "move.json").save(Progress("here", "there"))
