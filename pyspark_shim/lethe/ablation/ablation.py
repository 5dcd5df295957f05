"""What is left out of a model and its data, one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lethe import checks
from lethe.ablation import expand
from lethe.ablation.ablator import Ablator
from lethe.ablation.component import Component, check_dataset, hyperparameters, named, names
from lethe.ablation.listed import Listed
from lethe.ablation.near import hint
from lethe.ablation.report import AblationTable, Record
from lethe.contexts import Entry, Listing
from lethe.errors import ConfigError
from lethe.space.values import same
from lethe.workers import Workers, workers_of

if TYPE_CHECKING:
    from lethe.dataset.dataset import Dataset

#: Of one study.
MAX_TRIALS = 10_000


@dataclass(frozen=True, kw_only=True)
class Ablation(Listing):
    """An ablation study: the whole model, the base, and beside it one trial for each component that is left
    out.

        lethe.Ablation(metric="accuracy", direction="max", base={"lr": 0.01, "dropout": 0.1}, features=True,
                       layers=["encoder.2"], hparams={"dropout": 0.0}, seeds=5)

    metric: the name of the metric that is compared: `loss`, `train_loss`, or one that `Supervised` computes.
    direction: "max" or "min".
    base: the hyperparameters of all trials. Default: none.
    features: columns, each left out alone; True: each feature of the dataset. Of an input with a shape of its
        own all that stays is one row without it.
    feature_groups: columns that are left out together, by the group's name.
    layers: modules of the model, each left out alone, by their dotted names, "encoder.2"; see
        `lethe.ablation.layers`. Of a Keras model names of layers.
    layer_groups: modules that are left out together, by the group's name: a list, or a prefix, "encoder.",
        that means all modules directly under it.
    models: other model generators, by name: for what cannot be left out by its name.
    datasets: datasets that are trained on in place of the base's, by name.
    hparams: for each named hyperparameter of `base` the neutral value that one trial has in its place:
        {"dropout": 0.0, "weight_decay": 0.0}.
    ablators: lists of components by rules of your own; see `Ablator`.
    seeds: how often the base and each component are trained; each time initial weights, dropout and the order
        of batches are drawn anew. With one there are no confidence intervals.
    seed: of the repetition 0, whose seed is that of trial 0 of a `Search` with the same `seed`.
    trial_seconds: that a trial may run, all its attempts together, before it is stopped.
    retries: how often a trial is run again, from its last checkpoint, whose slot or process was lost.
    retry_exceptions: how often after an exception in its own code.
    select: "last": a trial's value is that of its last report; "best": of its best report.
    confidence: of the intervals, between 0 and 1.
    workers_per_trial: slots that each trial takes at once; see `Distributed`.

    Repetition k of the base and of each component begin with the same random state: differences are taken
    within each repetition. Layers that stay have the same initial weights as in the base; a module of another
    shape (without a feature) draws others from there on.

    Raises ConfigError, naming the argument.
    """

    metric: str
    direction: str
    base: Mapping[str, Any] = field(default_factory=dict)
    features: Literal[True] | Sequence[str] | None = None
    feature_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    layers: Sequence[str] = ()
    layer_groups: Mapping[str, Sequence[str] | str] = field(default_factory=dict)
    models: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    hparams: Mapping[str, Any] = field(default_factory=dict)
    ablators: Sequence[Ablator] = ()
    seeds: int = 1
    seed: int = 0
    trial_seconds: float | None = None
    retries: int = 3
    retry_exceptions: int = 0
    select: str = "last"
    confidence: float = 0.95
    workers_per_trial: Workers = 1

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise ConfigError(f"Ablation: metric must be the name of a metric, not {self.metric!r}")
        if self.direction not in ("max", "min"):
            raise ConfigError(f'Ablation: direction must be "max" or "min", not {self.direction!r}')
        self._check_parts()
        self._check_hparams()
        parts = (self.features, self.feature_groups, self.layers, self.layer_groups, self.models)
        if not any((*parts, self.datasets, self.hparams, self.ablators)):
            raise ConfigError(f"Ablation: {expand.NOTHING}")
        checks.whole("Ablation: seeds", self.seeds, 1, MAX_TRIALS)
        checks.whole("Ablation: seed", self.seed, 0, 2**63)
        if self.trial_seconds is not None:
            checks.above("Ablation: trial_seconds", self.trial_seconds)
        checks.whole("Ablation: retries", self.retries, 0)
        checks.whole("Ablation: retry_exceptions", self.retry_exceptions, 0)
        checks.seconds("Ablation: checkpoint_seconds", self.checkpoint_seconds)
        workers_of("Ablation: workers_per_trial", self.workers_per_trial)
        if self.select not in ("last", "best"):
            raise ConfigError(f'Ablation: select must be "last" or "best", not {self.select!r}')
        checks.above("Ablation: confidence", self.confidence)
        if self.confidence >= 1:
            raise ConfigError(f"Ablation: confidence must be below 1, as in 0.95, not {self.confidence!r}")

    def _check_parts(self) -> None:
        features: Any = self.features
        if isinstance(features, bool) and not features:
            raise ConfigError("Ablation: features must be None, True or names of columns, not False")
        if features is not None and features is not True:
            names("Ablation: features", features, "columns")
        for group, columns in named("Ablation: feature_groups", self.feature_groups, "columns").items():
            names(f"Ablation: feature_groups, {group!r}", columns, "columns")
        names("Ablation: layers", self.layers, "modules", empty=True)
        for layer in self.layers:
            if layer.endswith("."):
                raise ConfigError(
                    f"Ablation: layers leaves out one at a time, and {layer!r} means several; use "
                    f"layer_groups={{{layer.rstrip('.')!r}: {layer!r}}}"
                )
        for group, layers in named("Ablation: layer_groups", self.layer_groups, "modules").items():
            _check_layer_group(f"Ablation: layer_groups, {group!r}", layers)
        for name, model in named("Ablation: models", self.models, "model generators").items():
            if not callable(model):
                raise ConfigError(
                    f"Ablation: models, {name!r} must be a function that makes a model, not {model!r}"
                )
        for name, dataset in named("Ablation: datasets", self.datasets, "datasets").items():
            check_dataset(f"Ablation: datasets, {name!r}", dataset)
        ablators: Any = self.ablators
        if not isinstance(ablators, Sequence):
            raise ConfigError(f"Ablation: ablators must be a list; write [{ablators!r}]")
        for ablator in ablators:
            if isinstance(ablator, type):
                raise ConfigError(f"Ablation: ablators takes objects; make one: {ablator.__name__}()")
            if not isinstance(ablator, Ablator):
                raise ConfigError(f"Ablation: ablators takes objects of lethe.Ablator, not {ablator!r}")

    def _check_hparams(self) -> None:
        object.__setattr__(self, "base", hyperparameters("Ablation: base", self.base))
        object.__setattr__(self, "hparams", hyperparameters("Ablation: hparams", self.hparams))
        for name, value in self.hparams.items():
            if name not in self.base:
                near = hint(name, self.base)
                raise ConfigError(
                    f"Ablation: hparams names {name!r}, which is not in base; add it there ({near})"
                )
            if same(self.base[name], value):
                raise ConfigError(
                    f"Ablation: hparams, {name}={value!r} is the base's value already; give another"
                )

    @property
    def needs_dataset(self) -> bool:
        return True

    def entries(self, dataset: Dataset | None) -> Sequence[Entry]:
        return [
            Entry(
                one.name,
                one.hparams,
                one.replicate,
                one.without,
                None if one.component is None else one.component.dataset,
                one.generator if one.model is not None or one.layers else None,
                self.workers_per_trial,
            )
            for one in self.trials(dataset)
        ]

    def table(self, message: dict[str, Any], dataset: Dataset | None) -> AblationTable:
        """What each component is worth, of the message `ExperimentResult`."""
        ran = {trial["trial"]: trial for trial in message["trials"]}
        records = []
        for one in self.trials(dataset):
            trial = ran.get(one.number, {"value": None, "state": "cancelled", "error": None})
            component, kind = (None, None) if one.component is None else (one.name, one.component.kind)
            records.append(
                Record(component, one.replicate, trial["value"], trial["state"], trial["error"], kind)
            )
        return AblationTable.of(records, self.metric, self.direction, self.confidence)

    def components(self, dataset: Dataset | None) -> list[Component]:
        """What is left out, in the order of the arguments; those of `ablators` last. The driver may be asked
        for the columns of a dataset that names no features.

        Raises ConfigError or DataError: for columns that are no features, all features left out, two
        components of one name or of one meaning, or none at all.
        """
        return expand.components(self, dataset)

    def trials(self, dataset: Dataset | None) -> list[Listed]:
        """The base (trial 0), all components, then both again for each further repetition; see
        `components`."""
        parts: list[Component | None] = [None, *self.components(dataset)]
        if len(parts) * self.seeds > MAX_TRIALS:
            raise ConfigError(
                f"Ablation: {len(parts) - 1} components and the base, {self.seeds} times each, are "
                f"{len(parts) * self.seeds} trials, more than {MAX_TRIALS}; use fewer seeds or components"
            )
        return [
            self._listed(number, part, replicate, dataset)
            for number, (replicate, part) in enumerate(
                (replicate, part) for replicate in range(self.seeds) for part in parts
            )
        ]

    def _listed(self, number: int, part: Component | None, replicate: int, dataset: Dataset | None) -> Listed:
        if part is None:
            return Listed(number, None, replicate, dict(self.base), (), dataset, None, ())
        hparams = {**self.base, **part.hparams}
        own = part.dataset or dataset
        return Listed(number, part, replicate, hparams, part.without, own, part.model, part.layers)


def _check_layer_group(what: str, layers: Any) -> None:
    if not isinstance(layers, str):
        names(what, layers, "modules")
    elif not layers.endswith(".") or not layers.strip("."):
        raise ConfigError(
            f"{what} must be a list of modules, or a prefix that ends with a dot, "
            f"{layers.strip('.') + '.' if layers.strip('.') else 'encoder.'!r}, not {layers!r}"
        )
