"""Maggy's `experiment.lagom`."""

from __future__ import annotations

import re
import secrets
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from lethe.ablation.ablation import Ablation
from lethe.contexts import Distributed, Single
from lethe.errors import ConfigError
from lethe.maggy.ablation import FEATURE, NOTHING
from lethe.maggy.config import BaseConfig, LagomConfig
from lethe.maggy.result import Results, check, of_run, of_search, of_training
from lethe.maggy.translate import translate
from lethe.maggy.translation import Translation
from lethe.result.result import Result

#: Of a configuration's name that becomes part of the experiment's.
NAME_CHARACTERS = 100

#: `from lethe.maggy.experiment import experiment` is in Maggy's pages too.
experiment = sys.modules[__name__]


def lagom(train_fn: Callable[..., Any], config: LagomConfig | None = None, **options: Any) -> Results:
    """Runs the experiment that `config` describes, by default once, and returns its results under Maggy's
    keys; `.lethe` of them is the `lethe.Result`.

    options: further arguments of `lethe.lagom`: spark=False, slots, directory, resume, store, quiet, ….
        name: in place of the configuration's. The experiment's folder is called by it and the time; with
        resume=True by it alone.

    Raises a LetheError whose first line says what to do; ExperimentError if all trials failed.
    """
    if config is None:
        config = BaseConfig()
    if "train" in options or "dataset" in options or "experiment" in options:
        raise ConfigError("lagom: the dataset and the rest of the experiment are given by the config")
    translation = translate(train_fn, config)
    if translation.ignored:
        kind = type(config).__name__
        warnings.warn(f"lethe.maggy: {kind}: ignored: {'; '.join(translation.ignored)}", stacklevel=2)
    from lethe.experiment.lagom import lagom as run

    name = folder_name(str(options.pop("name", translation.name)), bool(options.get("resume")))
    result = run(translation.train, translation.dataset, translation.experiment, name=name, **options)
    return results(translation, result)


def results(translation: Translation, result: Result) -> Results:
    """The result under Maggy's keys."""
    # Tables make floats of whole numbers where one is missing.
    trials = result._message["trials"]
    check(trials, result.interrupted)
    what = translation.experiment
    if isinstance(what, Single):
        return Results(of_run(trials), result)
    if isinstance(what, Distributed):
        return Results(of_training(trials), result)
    if isinstance(what, Ablation):
        excluded = _excluded(translation, what)
        return Results(of_search(trials, result.direction, lambda trial: excluded[trial["trial"]]), result)
    extra = translation.extra
    return Results(of_search(trials, result.direction, lambda trial: {**trial["hparams"], **extra}), result)


def _excluded(translation: Translation, study: Ablation) -> list[dict[str, str]]:
    """What each trial leaves out, as Maggy says it."""
    found: list[dict[str, str]] = []
    for listed in study.trials(translation.dataset):
        none = {FEATURE: NOTHING, "ablated_layer": NOTHING}
        # Those of an ablator of the user's have no other name.
        other = none if listed.component is None else {**none, "ablated_layer": listed.component.name}
        found.append(dict(translation.left_out.get(listed.name, other)))
    return found


def folder_name(name: str, resume: bool) -> str:
    """The experiment's name: of letters that a folder's can have, and, since programs call `lagom` again with
    one name, with the time."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")[:NAME_CHARACTERS] or "maggy"
    return safe if resume else f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


__all__ = ["experiment", "lagom"]
