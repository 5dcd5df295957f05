"""Results under Maggy's keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lethe.errors import ExperimentError
from lethe.result.result import Result


class Results(dict[str, Any]):
    """A dictionary with Maggy's keys. `lethe`: the `lethe.Result`, with tables, models and the experiment's
    folder."""

    def __init__(self, found: Mapping[str, Any], result: Result) -> None:
        super().__init__(found)
        self.lethe = result


def of_search(
    trials: Sequence[Mapping[str, Any]], direction: str, config: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Of a search, or an ablation study: the best and the worst trial, and all values.

    trials: the messages of the trials. config: what the answer says of a trial.

    best_id, worst_id, trial_id: the trial's number, as a string. metric_list: the values, in the order of the
    trials; those that failed have none. num_epochs: reports of trial_id, the first of these.
    """
    early = sum(trial["state"] == "stopped" for trial in trials)
    valued = [trial for trial in trials if trial["value"] is not None]
    if not valued:
        return {"best_val": "n.a.", "num_trials": 0, "early_stopped": early}
    ascending = sorted(valued, key=lambda trial: (trial["value"], trial["trial"]))
    descending = sorted(valued, key=lambda trial: (-trial["value"], trial["trial"]))
    best, worst = (descending[0], ascending[0]) if direction == "max" else (ascending[0], descending[0])
    values = [trial["value"] for trial in valued]
    return {
        "best_id": str(best["trial"]),
        "best_val": best["value"],
        "best_config": config(best),
        "worst_id": str(worst["trial"]),
        "worst_val": worst["value"],
        "worst_config": config(worst),
        "avg": sum(values) / len(values),
        "metric_list": values,
        "num_trials": len(values),
        "early_stopped": early,
        "num_epochs": valued[0]["epochs"],
        "trial_id": str(valued[0]["trial"]),
    }


def of_training(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of `TorchDistributedConfig` and `TfDistributedConfig`: the value."""
    return {"test result": trials[0]["value"] if trials else None}


def of_run(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of `BaseConfig`: all that the function has returned, each name with a list."""
    return {"test result": {name: [value] for name, value in trials[0]["metrics"].items()} if trials else {}}


def check(trials: Sequence[Mapping[str, Any]], interrupted: bool) -> None:
    """Raises ExperimentError where Maggy would raise the function's error: no trial has come to its end."""
    failed = [trial for trial in trials if trial["state"] == "failed"]
    if failed and len(failed) == len(trials) and not interrupted:
        which = "the trial" if len(trials) == 1 else f"all {len(trials)} trials"
        raise ExperimentError(f"{which} failed; the first: {failed[0]['error']}")
