"""The table of trials that a notebook shows while an experiment runs (in real kernels: integration-tests)."""

import json
import re
import threading
from typing import Any

import pyarrow as pa
import pytest

from lethe.progress.rows import Rows
from lethe.progress.standing import Standing
from lethe.progress.table import Table


def trial(number: int, state: str, value: float | None, **changes: Any) -> dict[str, Any]:
    hparams = changes.pop("hparams", {"lr": 0.1})
    return {
        "trial": number,
        "state": state,
        "slot": number % 2,
        "epochs": 3,
        "value": value,
        "error": None,
        "hparams": json.dumps(hparams),
        **changes,
    }


class Driver:
    """Answers with the trials that a test gives it."""

    def __init__(self, trials: list[dict[str, Any]]) -> None:
        self.trials, self.asked = trials, threading.Event()
        self.queries: list[str] = []

    def get(self, ticket: dict[str, Any]) -> pa.Table:
        self.queries.append(ticket["query"])
        self.asked.set()
        return pa.Table.from_pylist(self.trials)


def table(trials: list[dict[str, Any]], metrics: tuple[str, ...] = ("accuracy",)) -> Table:
    driver: Any = Driver(trials)
    rows = Rows(driver, "digits")
    rows.start()
    rows.close()
    standing = Standing("digits", 60, metrics[0])
    counts = {"finished": 20, "stopped": 4, "failed": 1, "paused": 0, "running": 2, "slots": 2, "epochs": 70}
    standing.take({**counts, "best": 0.97, "best_trial": 5})
    return Table(standing, metrics, 2, rows)


def cells(page: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]


def test_it_shows_counts_slots_and_trials_with_their_current_metric() -> None:
    page = table([trial(26, "running", 0.9), trial(7, "stopped", None, hparams={"width": 8})]).page()
    assert '<progress value="25" max="60">' in page
    assert "25 of 60 trials · 2 of 2 slots · 4 stopped · 1 failed · 2 running" in page
    assert "<b>best accuracy 0.97 (trial 5)</b>" in page
    assert cells(page) == [
        ["trial", "state", "slot", "epochs", "accuracy", "lr", "width"],
        ["26", "running", "0", "3", "0.9", "0.1", ""],
        ["7", "stopped", "1", "3", "", "", "8"],
    ]


def test_all_metrics_are_shown_also_where_a_hyperparameter_has_the_name_of_one() -> None:
    shown = trial(0, "running", 0.9, loss=7.0, **{"metric.loss": 0.3})
    heads, row = cells(table([shown], ("accuracy", "loss")).page())
    assert heads[4:6] == ["accuracy", "loss"]
    assert row[4:6] == ["0.9", "0.3"]


def test_errors_and_names_are_text() -> None:
    failed = trial(3, "failed", None, error="KeyError: '<x>'\n  File …", hparams={"<b>": "<i>"})
    heads, row = cells(table([failed]).page())
    assert heads[-2:] == ["&lt;b&gt;", "error"]
    assert row[-2:] == ["&lt;i&gt;", "KeyError: &#x27;&lt;x&gt;&#x27;"]


def test_the_last_state_is_asked_for_and_then_nothing_more() -> None:
    driver: Any = Driver([trial(0, "running", 0.5)])
    rows = Rows(driver, "digits")
    rows.start()
    assert driver.asked.wait(10)
    driver.trials = [trial(0, "finished", 0.6)]
    rows.close()
    assert rows.found[0]["state"] == "finished"
    assert not any(thread.name == "lethe-rows" for thread in threading.enumerate())


@pytest.mark.parametrize("metrics", [("accuracy",), ("accuracy", "loss")])
def test_before_the_first_trial_there_is_a_head_alone(metrics: tuple[str, ...]) -> None:
    assert "<table" not in table([], metrics).page()
