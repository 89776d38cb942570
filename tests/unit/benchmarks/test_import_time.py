"""Whether imports are measured as users have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.import_time.side import once


def test_what_is_imported_comes_from_bytecode_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("measured.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    once("measured")
    assert list(tmp_path.glob("__pycache__/measured.*.pyc"))
