"""A study's components, one by one, and whether they can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lethe.ablation.ablator import Ablator, Study
from lethe.ablation.component import Component
from lethe.ablation.near import hint
from lethe.errors import ConfigError, DataError
from lethe.space.values import same

if TYPE_CHECKING:
    from lethe.ablation.ablation import Ablation
    from lethe.dataset.dataset import Dataset

NOTHING = "nothing is left out; name features, layers, models, datasets, hparams or ablators"


def components(study: Ablation, dataset: Dataset | None) -> list[Component]:
    """In the order of the arguments; those of ablators last.

    Raises ConfigError or DataError, which names the argument or the component.
    """
    checked = _Checked(study, dataset)
    columns = study.features or ()
    if columns is True:
        columns = () if dataset is None else tuple(checked.features(dataset))
    checked.add(_features(study, columns))
    checked.add(_layers(study))
    checked.add(Component(f"model {name}", "model", model=model) for name, model in study.models.items())
    checked.add(Component(f"dataset {name}", "dataset", dataset=own) for name, own in study.datasets.items())
    checked.add(
        Component(f"{name}={value}", "hparam", hparams={name: value}) for name, value in study.hparams.items()
    )
    for ablator in study.ablators:
        checked.add(_asked(ablator, Study(dataset, study.base, tuple(checked.found))))
    if not checked.found:
        raise ConfigError(f"Ablation: {NOTHING}")
    return checked.found


def _features(study: Ablation, columns: Iterable[str]) -> Iterator[Component]:
    for name in columns:
        yield Component(f"feature {name}", "feature", without=(name,))
    for group, members in study.feature_groups.items():
        yield Component(f"features {group}", "feature", without=tuple(members))


def _layers(study: Ablation) -> Iterator[Component]:
    for name in study.layers:
        yield Component(f"layer {name}", "layer", layers=(name,))
    for group, members in study.layer_groups.items():
        # A prefix is looked up in the model, once there is one.
        several = (members,) if isinstance(members, str) else tuple(members)
        yield Component(f"layers {group}", "layer", layers=several)


def _asked(ablator: Ablator, study: Study) -> list[Component]:
    who = type(ablator).__name__
    found: Any = ablator.components(study)
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise ConfigError(f"Ablation: {who}.components must return a list of Component, not {found!r}")
    for component in found:
        if not isinstance(component, Component):
            raise ConfigError(f"Ablation: {who}.components must return Components, not {component!r}")
    return list(found)


class _Checked:
    """Components that fit the dataset, the base and each other."""

    def __init__(self, study: Ablation, dataset: Dataset | None) -> None:
        self._study, self._dataset = study, dataset
        self.found: list[Component] = []
        self._names: set[str] = set()
        self._changes: dict[Any, str] = {}
        #: Of datasets: the driver may have to be asked for them, so only once.
        self._features: dict[int, dict[str, None]] = {}
        if dataset is None and (study.features or study.feature_groups):
            argument = "features" if study.features else "feature_groups"
            raise ConfigError(f"Ablation: {argument} leaves out columns, and there is no dataset; give one")

    def features(self, dataset: Dataset) -> dict[str, None]:
        if id(dataset) not in self._features:
            self._features[id(dataset)] = dict.fromkeys(dataset.features)
        return self._features[id(dataset)]

    def add(self, components: Iterable[Component]) -> None:
        for component in components:
            self._check_alone(component)
            self._check_beside(component)
            self.found.append(component)

    def _check_beside(self, component: Component) -> None:
        if component.name in self._names:
            raise ConfigError(f"Ablation: there are two components {component.name!r}; rename one")
        self._names.add(component.name)
        changes = component.changes
        form = tuple(frozenset(part) if isinstance(part, set | list) else id(part) for part in changes)
        other = self._changes.setdefault(form, component.name)
        if other != component.name:
            raise ConfigError(
                f"Ablation: {component.name!r} and {other!r} leave out the same; take one of them away"
            )

    def _check_alone(self, component: Component) -> None:
        study = self._study
        hparams = component.hparams
        alone = component.model is None and not component.layers and not component.changes_data
        if alone and all(name in study.base and same(study.base[name], hparams[name]) for name in hparams):
            raise ConfigError(
                f"Ablation: {component.name!r} has the base's values; give others, or another base"
            )
        if component.dataset is not None:
            self._check_dataset(component.name, component.dataset)
        if component.without:
            self._check_columns(component)

    def _check_dataset(self, name: str, own: Dataset) -> None:
        if self._dataset is None:
            raise ConfigError(f"Ablation: {name!r} has a dataset, and the base has none; give it one")
        if self._dataset.has_validation and not own.has_validation:
            raise DataError(
                f"Ablation: {name!r} has no validation set, and the base has; split it alike: "
                "dataset.split(validation=0.2, seed=1)"
            )
        if (self._dataset.label is None) != (own.label is None):
            which = "a" if own.label is not None else "no"
            raise DataError(f"Ablation: {name!r} has {which} label, unlike the base; make both alike")

    def _check_columns(self, component: Component) -> None:
        dataset = component.dataset or self._dataset
        if dataset is None:
            raise ConfigError(
                f"Ablation: {component.name!r} leaves out columns, and there is no dataset; give one"
            )
        features = self.features(dataset)
        for column in component.without:
            if column not in features:
                raise DataError(
                    f"Ablation: {component.name!r}: {column!r} is no feature of the dataset; "
                    f"{hint(column, features)}"
                )
        if len(component.without) == len(features):
            raise DataError(
                f"Ablation: {component.name!r} leaves out all features; keep at least one, or name others in "
                "features"
            )
