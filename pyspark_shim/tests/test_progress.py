"""How an experiment is shown while it runs."""

import io
import sys
from typing import Any

import pytest

from lethe.progress.base import Quiet
from lethe.progress.choose import choose
from lethe.progress.line import Line
from lethe.progress.lines import LINE, Lines
from lethe.progress.plain import Plain
from lethe.progress.standing import Standing


def progress(**changes: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("finished", "stopped", "failed", "paused", "running", "slots", "epochs"), 0)
    return {"total": 60, **counts, "best": None, "best_trial": None, **changes}


def standing(total: int | None = 60, **options: Any) -> Standing:
    return Standing("digits", total, "accuracy", **options)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("lethe.progress.standing.time.monotonic", made)
    monkeypatch.setattr("lethe.progress.plain.time.monotonic", made)
    return made


def line(capsys: pytest.CaptureFixture[str], total: int | None, **changes: Any) -> str:
    shown = Line(standing(total))
    shown.show(progress(**changes))
    shown.close()
    return capsys.readouterr().err


def test_paused_trials_are_counted_when_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    text = line(capsys, 60, finished=2, stopped=1, paused=3, running=2, best=0.9, best_trial=1)
    assert "3/60" in text
    assert "1 stopped, 0 failed, 3 paused, 2 running, best accuracy 0.9 (trial 1)" in text
    assert "paused" not in line(capsys, 60, running=2)


def test_a_search_without_a_number_of_trials_shows_how_many_there_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = line(capsys, None, finished=7, running=2)
    assert "7trial" in text
    assert "/" not in text.split("[")[0]


def test_rate_and_time_left_are_those_of_this_run(clock: Clock) -> None:
    """What a resumed search had done before is no rate of this one."""
    found = standing()
    found.take(progress(finished=20))
    assert found.rate is None
    clock.now += 20
    found.take(progress(finished=25, stopped=5, running=2, epochs=300))
    assert found.rate == pytest.approx(0.5)
    assert "30/60 trials [00:20<01:00, " in found.line()
    assert found.line().endswith("5 stopped, 0 failed, 2 running, 300 epochs]")
    assert found.pace() == ["00:20 so far", "01:00 left", "0.50trial/s"]


def test_the_epochs_of_a_single_trial_are_counted(clock: Clock) -> None:
    found = standing(1, epochs=20)
    found.take(progress(running=1))
    clock.now += 10
    found.take(progress(running=1, epochs=5, best=0.9, best_trial=0))
    assert found.line() == "digits: 5/20 epochs [00:10<00:30,  2.00s/epoch, running, best accuracy 0.9]"


def test_plain_lines_come_more_and_more_rarely(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Plain(standing())
    for second in range(3600):
        shown.show(progress(finished=second // 100))
        clock.now += 1
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    assert 20 < len(lines) < 60
    assert lines[0].startswith("digits: 0/60 trials")
    assert lines[-1].startswith("digits: 35/60 trials [1:00:00<")


def test_lines_of_trials_are_put_together_behind_their_numbers() -> None:
    lines = Lines()
    assert list(lines.whole(3, "epoch 1\nepo")) == ["trial 3: epoch 1"]
    assert list(lines.whole(4, "10%\r20%\n")) == ["trial 4: 20%"]
    assert list(lines.whole(3, "ch 2\n")) == ["trial 3: epoch 2"]
    assert list(lines.whole(5, "x" * 2 * LINE)) == []
    assert list(lines.rest()) == ["trial 5: " + "x" * LINE]
    assert list(lines.rest()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_live_line_a_pipe_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    peer: Any = None
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(choose(standing(), ("accuracy",), 2, peer, quiet=False), Plain)
    monkeypatch.setattr(sys, "stderr", Terminal())
    live = choose(standing(), ("accuracy",), 2, peer, quiet=False)
    assert isinstance(live, Line)
    live.close()


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    peer: Any = None
    shown = choose(standing(), ("accuracy",), 2, peer, quiet=True)
    assert isinstance(shown, Quiet)
    shown.show(progress(finished=1))
    shown.notice("a slot was lost")
    shown.log(1, "hello\n")
    shown.draw()
    shown.close()
    assert capsys.readouterr() == ("", "")
