"""The result's tables, from a driver's answer."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

import lethe
from lethe.result.result import Result
from lethe.result.sql import Tables


def trial(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "trial": number,
        "state": "finished",
        "attempts": 1,
        "hparams": {"lr": 0.1, "value": "a"},
        "value": 0.5 + number / 10,
        "metrics": {"accuracy": 0.5 + number / 10, "loss": None},
        "epochs": 2,
        "error": None,
        "timing": {"idle_s": 0.1, "setup_s": 0.2, "train_s": 3.0},
        "slot": 0,
        "history": [{"epoch": 1, "metrics": {"accuracy": 0.4}}, {"epoch": 2, "metrics": {"accuracy": None}}],
        **changes,
    }


def result(trials: list[dict[str, Any]], objectives: dict[str, str] | None = None, **changes: Any) -> Result:
    slot = {
        "slot": 0,
        "executor": "e",
        "device": "cpu",
        "worker_pid": 7,
        "trials": len(trials),
        "held_s": 10.0,
        "train_s": 8.0,
        "idle_s": [0.1],
    }
    valued = [found["trial"] for found in trials if found["value"] is not None]
    message = {
        "experiment": "digits",
        "end": {"type": "completed"},
        "best": max(valued) if valued else None,
        "trials": trials,
        "slots": [slot],
        "wall_s": 12.5,
        **changes,
    }
    return Result(
        message,
        objectives=objectives or {"accuracy": "max"},
        directory="/x",
        tables=Tables(Path("/x")),
        model=None,
        best_model_path="/x/best_model.pt",
    )


def test_one_row_a_trial_with_hparams_and_metrics() -> None:
    failed = trial(2, state="failed", value=None, metrics={}, error="ValueError: no\n  at line 3", slot=None)
    found = result([trial(0), trial(1), failed])
    table = found.trials
    assert list(table["trial"]) == [0, 1, 2]
    assert list(table["hparam.value"]) == ["a"] * 3, "a hyperparameter does not hide a column"
    assert list(table["lr"]) == [0.1] * 3
    assert table["value"][1] == pytest.approx(0.6)
    assert math.isnan(table["value"][2])
    assert math.isnan(table["loss"][0]), "null is NaN"
    assert table["train_s"].sum() == 9
    assert table["error"][2].startswith("ValueError")


def test_the_best_trial_and_its_metrics() -> None:
    found = result([trial(0), trial(1)])
    assert found.best is not None
    assert found.best.trial == 1
    assert found.best.value == pytest.approx(0.6)
    assert found.best.hparams == {"lr": 0.1, "value": "a"}
    assert math.isnan(found.best.metrics["loss"])


def test_history_has_one_row_a_report() -> None:
    table = result([trial(0), trial(1)]).history
    assert list(table["epoch"]) == [1, 2, 1, 2]
    assert math.isnan(table["accuracy"][1])


def test_the_summary_ranks_trials_and_says_where_time_went() -> None:
    lines = str(result([trial(number) for number in range(7)])).splitlines()
    assert lines[0] == "digits: 7 trials (7 finished) in 12.5 s"
    assert [line.split()[0] for line in lines[2:7]] == ["6", "5", "4", "3", "2"]
    assert lines[-2] == "training took 80.0% of the time of 1 slot, loading models 14.0%, waiting 6.0%"
    assert lines[-1] == "best model: /x/best_model.pt"


def test_a_search_of_failures_shows_the_first_error() -> None:
    found = result([trial(0, state="failed", value=None, error="KeyError: 'width'\n …")])
    assert found.best is None
    assert "the first failed with: KeyError: 'width'" in str(found)
    with pytest.raises(lethe.LetheError, match="no trial kept weights"):
        found.best_model()


def test_an_interrupted_search_says_so() -> None:
    found = result([trial(0)], end={"type": "cancelled", "reason": "interrupted (Ctrl-C)"})
    assert found.interrupted
    assert found.reason == "interrupted (Ctrl-C)"
    assert "interrupted: interrupted (Ctrl-C)" in str(found)


def test_a_trial_says_why_it_was_and_why_it_ended() -> None:
    found = result([trial(0, why="random; stopped at epoch 3: 9th of 12"), trial(1)])
    assert found.trials["why"][0] == "random; stopped at epoch 3: 9th of 12"
    assert found.trials["why"].isna().tolist() == [False, True]


def two(number: int, accuracy: float, loss: float | None) -> dict[str, Any]:
    metrics = {"accuracy": accuracy, "loss": loss, "train_loss": 1.0}
    return trial(number, value=accuracy, further=[loss], metrics=metrics, hparams={"lr": 0.1})


def test_the_pareto_front_has_every_objective() -> None:
    trials = [two(0, 0.8, 0.2), two(1, 0.7, 0.5), two(2, 0.9, 0.4), two(3, 0.1, None)]
    found = result(trials, {"accuracy": "max", "loss": "min"}, best=2, pareto=[0, 2])
    assert [best.trial for best in found.pareto] == [2, 0]
    assert found.pareto[1].values == {"accuracy": 0.8, "loss": 0.2}
    assert found.best is not None
    assert found.best.trial == 2
    assert (found.metric, found.direction) == ("accuracy", "max")
    lines = str(found).splitlines()
    assert lines[1] == "Pareto front of accuracy, loss: 2 trials"
    assert lines[2].split() == ["trial", "state", "accuracy", "loss", "epochs", "lr", "train_loss"]
    assert [line.split()[:4] for line in lines[3:5]] == [
        ["2", "finished", "0.9", "0.4"],
        ["0", "finished", "0.8", "0.2"],
    ]


def test_a_long_front_is_shown_from_end_to_end() -> None:
    trials = [two(number, number / 100, number / 100) for number in range(100)]
    found = result(trials, {"accuracy": "max", "loss": "min"}, pareto=list(range(100)))
    lines = str(found).splitlines()
    assert lines[1] == "Pareto front of accuracy, loss: 100 trials, 10 of them shown"
    shown = [int(line.split()[0]) for line in lines[3:13]]
    assert (shown[0], shown[-1], len(set(shown))) == (99, 0, 10)


def test_a_search_for_one_metric_has_a_front_of_its_best() -> None:
    assert [best.trial for best in result([trial(0), trial(1)]).pareto] == [1]
    assert result([trial(0, value=None)]).pareto == []


def test_the_summary_has_parameters_that_only_some_trials_have() -> None:
    sgd = trial(1, hparams={"optimizer": "sgd", "momentum": 0.5})
    lines = str(result([trial(2, hparams={"optimizer": "adam"}), sgd])).splitlines()
    assert lines[1].split()[4:6] == ["optimizer", "momentum"]
    assert lines[3].split()[4:6] == ["sgd", "0.5"]


def test_in_a_notebook_the_result_is_a_table_of_the_best_trials() -> None:
    page = result([trial(number) for number in range(7)])._repr_html_()
    assert "digits: 7 trials (7 finished) in 12.5 s" in page
    assert re.findall(r'<tr><td style="text-align: right">(\d+)</td>', page) == ["6", "5", "4", "3", "2"]
    assert "training took 80.0% of the time of 1 slot" in page
    assert "best model: /x/best_model.pt" in page


def test_what_users_wrote_is_text_in_the_page() -> None:
    odd = {"<script>x</script>": "<b>&"}
    stopped = {"type": "cancelled", "reason": "<i>Ctrl-C</i>"}
    page = result([trial(0, hparams=odd)], end=stopped)._repr_html_()
    assert "interrupted: &lt;i&gt;Ctrl-C&lt;/i&gt;" in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<script>" not in page
    error = result([trial(0, state="failed", value=None, error="KeyError: '<b>'\n  at <x>")])._repr_html_()
    assert "<pre>KeyError: &#x27;&lt;b&gt;&#x27;\n  at &lt;x&gt;</pre>" in error


def test_the_page_of_an_ablation_study_is_its_table() -> None:
    from lethe.ablation.report import AblationTable, Record

    records = [Record(None, 0, 0.9, "finished"), Record("layer <a>", 0, 0.8, "finished")]
    found = result([trial(0), trial(1)])
    found.ablation = AblationTable.of(records, "accuracy", "max")
    page = found._repr_html_()
    assert found.ablation._repr_html_() in page
    assert "layer &lt;a&gt;" in page
