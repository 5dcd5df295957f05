"""The message `ExperimentResult` as pandas tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

_TRIAL_FIRST = ("trial", "state", "value", "epochs", "attempts", "slot")
_TRIAL_LAST = ("idle_s", "setup_s", "train_s", "error", "why")


def number(value: float | None) -> float:
    """JSON has no NaN: it arrives as None."""
    return math.nan if value is None else value


def trials(message: dict[str, Any]) -> pd.DataFrame:
    """One row a trial: trial, state, value, epochs, attempts, slot; the hyperparameters; the metrics;
    where its time went (seconds); error; why these hyperparameters, and why it ended early. A hyperparameter
    or metric whose name another column has gets the prefix `hparam.` or `metric.`."""
    found = message["trials"]
    hparams = list(dict.fromkeys(name for trial in found for name in trial["hparams"]))
    metrics = list(dict.fromkeys(name for trial in found for name in trial["metrics"]))
    taken = {*_TRIAL_FIRST, *_TRIAL_LAST}
    hparam_columns = {
        name: f"hparam.{name}" if name in taken or name in metrics else name for name in hparams
    }
    metric_columns = {
        name: f"metric.{name}" if name in taken or name in hparams else name for name in metrics
    }
    rows = []
    for trial in found:
        row = {name: trial[name] for name in _TRIAL_FIRST}
        row["value"] = number(trial["value"])
        row.update({column: trial["hparams"].get(name) for name, column in hparam_columns.items()})
        row.update({column: number(trial["metrics"].get(name)) for name, column in metric_columns.items()})
        row.update(trial["timing"])
        row["error"] = trial["error"]
        row["why"] = trial.get("why")
        rows.append(row)
    columns = [*_TRIAL_FIRST, *hparam_columns.values(), *metric_columns.values(), *_TRIAL_LAST]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def slots(message: dict[str, Any]) -> pd.DataFrame:
    """One row a connection of a slot, of all runs of the experiment: slot, executor, device, worker_pid,
    trials, held_s, train_s, idle_s (a list: between trials, the last thousand)."""
    columns = ["slot", "executor", "device", "worker_pid", "trials", "held_s", "train_s", "idle_s"]
    table: pd.DataFrame = pd.DataFrame(message["slots"], columns=columns)
    return table


def history(message: dict[str, Any]) -> pd.DataFrame:
    """One row a report: trial, epoch, the metrics."""
    rows = [
        {
            "trial": trial["trial"],
            "epoch": report["epoch"],
            **{name: number(value) for name, value in report["metrics"].items()},
        }
        for trial in message["trials"]
        for report in trial["history"]
    ]
    metrics = dict.fromkeys(name for row in rows for name in row if name not in ("trial", "epoch"))
    table: pd.DataFrame = pd.DataFrame(rows, columns=["trial", "epoch", *metrics])
    return table


def training_share(message: dict[str, Any]) -> float | None:
    """The share of the slots' time that was spent training; None if no slot was held."""
    held = sum(slot["held_s"] for slot in message["slots"])
    return sum(slot["train_s"] for slot in message["slots"]) / held if held > 0 else None


def loading_share(message: dict[str, Any]) -> float | None:
    """The share of the slots' time between a trial's arrival and its first step; None if no slot was held."""
    held = sum(slot["held_s"] for slot in message["slots"])
    return sum(trial["timing"]["setup_s"] for trial in message["trials"]) / held if held > 0 else None


def text(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """A table in plain text, the first row its heading; columns in `left` are set left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
