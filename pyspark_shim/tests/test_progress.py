"""The progress line."""

from typing import Any

import pytest

from lethe.progress import ProgressLine


def progress(**changes: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("finished", "stopped", "failed", "paused", "running", "slots", "epochs"), 0)
    return {"total": 60, **counts, "best": None, "best_trial": None, **changes}


def shown(capsys: pytest.CaptureFixture[str], total: int | None, **changes: Any) -> str:
    line = ProgressLine("digits", total, "accuracy", quiet=False)
    line.show(progress(**changes))
    line.close()
    return capsys.readouterr().err


def test_paused_trials_are_counted_when_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, 60, finished=2, stopped=1, paused=3, running=2, best=0.9, best_trial=1)
    assert "3/60" in text
    assert "1 stopped, 0 failed, 3 paused, 2 running, best accuracy 0.9 (trial 1)" in text
    assert "paused" not in shown(capsys, 60, running=2)


def test_a_search_without_a_number_of_trials_shows_how_many_there_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, None, finished=7, running=2)
    assert "7trial" in text
    assert "/" not in text.split("[")[0]
