"""What a tracker is told of an experiment before it begins."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from lethe.experiment.plan import Folder
from lethe.experiment.trials import Trials
from lethe.tracking.tracker import About

#: Whose versions are told, where they are installed.
PACKAGES = ("lethe", "torch", "pyspark", "pyarrow")


def about(
    plan: dict[str, Any], objectives: dict[str, str], folder: Folder, trials: Trials, context: str
) -> About:
    """plan: the message `Plan`."""
    source, seed = plan["source"], plan["seed"]
    return About(
        name=folder.name,
        directory=str(folder.path),
        context=context,
        seed=seed,
        objectives=objectives,
        params=_params(plan, objectives),
        versions=_versions(),
        resumed=folder.resumed,
        seed_of=lambda trial: trials.seed(seed, trial),
        names=[trial["name"] for trial in source.get("trials", ())],
    )


def _params(plan: dict[str, Any], objectives: dict[str, str]) -> dict[str, Any]:
    source = plan["source"]
    found = {"slots": plan["slots"]}
    found |= {f"objective.{metric}": direction for metric, direction in objectives.items()}
    found |= {name: source[name]["type"] for name in ("optimizer", "stopping") if name in source}
    found |= {f"budget.{name}": value for name, value in source.get("budget", {}).items()}
    for name, value in plan["function"].items():
        found[f"function.{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    if plan.get("data"):
        found["dataset"] = plan["data"]["dataset"]
    return {name: value for name, value in found.items() if value is not None}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
