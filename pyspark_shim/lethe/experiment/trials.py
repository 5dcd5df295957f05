"""Where an experiment's trials come from, and what each of them has of its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lethe.ablation.ablation import Ablation
from lethe.ablation.fits import check_ablation
from lethe.contexts import Entry, Listing
from lethe.errors import ConfigError
from lethe.experiment.seed import trial_seed
from lethe.function import Function
from lethe.search import Search
from lethe.stopping.halving import BOHB, Hyperband
from lethe.stopping.pbt import PBT
from lethe.supervised import Registered, Supervised
from lethe.workers import workers_message, workers_of

if TYPE_CHECKING:
    from lethe.dataset.dataset import Dataset
    from lethe.dataset.placed import Placed
    from lethe.model.inputs import Inputs

Train = Supervised | Registered | Function
Generator = Callable[..., Any]


@dataclass(frozen=True)
class Trials:
    """source: the message `Source`. count: how many there will be, if that is known.

    models, inputs, data: the generator of single trials, what it is told, and their dataset with its message
    `DataSpec`, by number, where they are not the experiment's. replicates: the number of the trial whose seed
    they have.
    """

    source: dict[str, Any]
    count: int | None
    models: Mapping[int, Generator] = field(default_factory=dict)
    inputs: Mapping[int, Inputs] = field(default_factory=dict)
    data: Mapping[int, tuple[Placed, dict[str, Any]]] = field(default_factory=dict)
    replicates: Mapping[int, int] = field(default_factory=dict)
    #: Slots that a trial takes at once, the fewest and the most.
    workers: tuple[int, int] = (1, 1)

    def slots(self, expected: int) -> int:
        """How many slots to hold, of so many."""
        least, most = self.workers
        wanted = expected if self.count is None else min(expected, self.count * most)
        return max(wanted, least)

    def epochs(self, train: Train) -> int | None:
        """That the first of listed trials runs, if that is known before; None of a search."""
        listed = self.source.get("trials")
        if not listed:
            return None
        own = listed[0]["hparams"].get("epochs") if isinstance(train, Supervised) else None
        return train.epochs if own is None else int(own)

    def seed(self, seed: int, trial: int) -> int:
        """Of the trial, in an experiment of that seed."""
        return trial_seed(seed, self.replicates.get(trial, trial))


def trials_of(
    experiment: Search | Listing,
    train: Train,
    dataset: Dataset | None,
    placed: Placed | None,
    loss: str | None,
    slots: int,
) -> Trials:
    """Raises ConfigError if the experiment does not fit the function; DataError if the data of a trial cannot
    be had."""
    if isinstance(experiment, Search):
        source = _searched(experiment, train, slots)
        return Trials(source, experiment.trials, workers=workers_of("workers", experiment.workers_per_trial))
    return _listed(experiment, train, dataset, placed, loss)


def _searched(search: Search, train: Train, slots: int) -> dict[str, Any]:
    source = search.source(slots)
    if not isinstance(train, Function):
        return source
    if isinstance(search.stopping, BOHB | Hyperband) and train.epochs is None:
        raise ConfigError(
            f"{type(search.stopping).__name__} has to know how many steps the function reports: "
            f"lethe.Function({train.name}, epochs=…)"
        )
    if train.saves:
        return source
    if isinstance(search.stopping, PBT):
        raise ConfigError(
            f"PBT copies checkpoints, and the training function {train.name} takes none; add the argument "
            "checkpoint, and call checkpoint.save(state) before each broadcast"
        )
    if source["stopping"].get("pause"):
        warnings.warn(
            f"lethe: the training function {train.name} takes no checkpoint, so that its trials cannot be "
            f"paused: "
            f"{type(search.stopping).__name__} stops at its rungs those that are not among the best by then",
            stacklevel=6,
        )
        source["stopping"]["pause"] = False
    return source


def _listed(
    listing: Listing, train: Train, dataset: Dataset | None, placed: Placed | None, loss: str | None
) -> Trials:
    if isinstance(listing, Ablation):
        _check_ablation(listing, train, dataset, placed, loss)
    entries = listing.entries(dataset)
    models: dict[int, Generator] = {}
    inputs: dict[int, Inputs] = {}
    own_data: dict[int, tuple[Placed, dict[str, Any]]] = {}
    described: dict[str, Inputs] = {}
    messages = []
    own = None if placed is None else placed.spec(loss)
    generator = None if isinstance(train, Registered) else train.model
    for number, entry in enumerate(entries):
        message: dict[str, Any] = {
            "name": entry.name[:200],
            "hparams": dict(entry.hparams),
            "replicate": entry.replicate,
        }
        if entry.workers != 1:
            message["workers"] = workers_message(entry.workers)
        if entry.model is not None:
            models[number] = entry.model(generator)
        if entry.without:
            message["without"] = list(entry.without)
        if entry.without or entry.dataset is not None:
            there, data = own_data[number] = _data(entry, placed, own, loss)
            if entry.dataset is not None:
                message["data"] = {name: value for name, value in data.items() if name != "without"}
            if generator is not None or entry.model is not None:
                key = json.dumps(data, sort_keys=True)
                if key not in described:
                    described[key] = _inputs(there, data)
                inputs[number] = described[key]
        messages.append(message)
    source: dict[str, Any] = {"type": "listed", "trials": messages}
    if listing.trial_seconds is not None:
        source["trial_seconds"] = listing.trial_seconds
    replicates = {number: entry.replicate for number, entry in enumerate(entries)}
    of_each = [workers_of("workers", entry.workers) for entry in entries]
    workers = max((least for least, _ in of_each), default=1), max((most for _, most in of_each), default=1)
    return Trials(source, len(messages), models, inputs, own_data, replicates, workers)


def _check_ablation(
    study: Ablation, train: Train, dataset: Dataset | None, placed: Placed | None, loss: str | None
) -> None:
    """Before anything is trained: whether what is left out can be."""
    components = study.components(dataset)
    if isinstance(train, Supervised):
        check_ablation(study, components)
    changed = [component for component in components if component.layers or component.model is not None]
    if not changed:
        return
    if isinstance(train, Registered) or train.model is None:
        raise ConfigError(
            f"Ablation: {changed[0].name} changes the model, and the training function has no generator "
            f"of one; "
            "give it: lethe.Function(train, model=make_model)"
        )
    if isinstance(train, Function) and "model" not in train.arguments:
        raise ConfigError(
            f"Ablation: {changed[0].name} changes the model, which the training function {train.name} "
            f"does not ask "
            "for; add the argument model"
        )
    if placed is None:
        # There are no rows to try the changed models with: each trial tells.
        return
    from lethe.ablation.check import check_layers

    sections = placed.describe(loss)["inputs"]
    seed = trial_seed(study.seed, 0)
    scripted = isinstance(train, Supervised)
    check_layers(train.model, changed, study.base, sections, seed=seed, scripted=scripted)


def _data(
    entry: Entry, placed: Placed | None, own: dict[str, Any] | None, loss: str | None
) -> tuple[Placed, dict[str, Any]]:
    """The message `DataSpec` of a trial with data of its own."""
    if placed is None or own is None:
        raise ConfigError(f"{entry.name} leaves something out of a dataset; give lagom one")
    if entry.dataset is None:
        return placed, {**own, "without": list(entry.without)}
    other = entry.dataset.on(placed.owner)
    other.stored()
    data = other.spec(loss)
    return other, {**data, "without": list(entry.without)} if entry.without else data


def _inputs(placed: Placed, data: dict[str, Any]) -> Inputs:
    from lethe.model.inputs import inputs_of

    return inputs_of(placed.described(data)["inputs"])
