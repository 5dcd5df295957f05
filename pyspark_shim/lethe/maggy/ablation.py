"""Maggy's `AblationStudy`, and what is left out of a function's model and data by it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lethe.ablation.ablator import Ablator, Study
from lethe.ablation.component import Component
from lethe.errors import ConfigError, ModelError

#: The hyperparameter by which a dataset generator is told what to leave out, and its value in the base.
FEATURE, NOTHING = "ablated_feature", "None"


class AblationStudy:
    """What is left out, in Maggy's words:

        study = AblationStudy("titanic", training_dataset_version=1, label_name="survived")
        study.features.include("age", "fare")
        study.model.set_base_model_generator(make_model)
        study.model.layers.include("hidden")
        study.model.layers.include_groups(prefix="encoder")

    The three arguments name a training dataset of Hopsworks. Lethe reads none from there: give its rows to
    `AblationConfig(dataset=lethe.Dataset.from_spark(…))`, or `set_dataset_generator` a function of your own.

    dataset_generator: see `set_dataset_generator`.
    """

    def __init__(
        self,
        training_dataset_name: str | None = None,
        training_dataset_version: int | None = None,
        label_name: str | None = None,
        *,
        dataset_generator: Callable[..., Any] | None = None,
    ) -> None:
        self.features = Features()
        self.model = Model()
        self.hops_training_dataset_name = training_dataset_name
        self.hops_training_dataset_version = training_dataset_version
        self.label_name = label_name
        self.custom_dataset_generator = dataset_generator

    def set_dataset_generator(self, dataset_generator: Callable[..., Any]) -> None:
        """What the training function gets as `dataset_function`. With an argument `ablated_feature` it is
        told which feature to leave out, None in the trials that have all."""
        self.custom_dataset_generator = dataset_generator

    def to_dict(self) -> dict[str, Any]:
        return {
            "training_dataset_name": self.hops_training_dataset_name,
            "training_dataset_version": self.hops_training_dataset_version,
            "label_name": self.label_name,
            "included_features": list(self.features.included_features),
            "included_layers": list(self.model.layers.included_layers),
            "custom_dataset_generator": self.custom_dataset_generator is not None,
        }


class Features:
    """Columns that are left out, each alone."""

    def __init__(self) -> None:
        self.included_features: dict[str, None] = {}

    def include(self, *args: str | Sequence[str]) -> None:
        """Names, or lists of names."""
        self.included_features.update(dict.fromkeys(_names("features.include", args)))

    def exclude(self, *args: str | Sequence[str]) -> None:
        """Takes them back."""
        for name in _names("features.exclude", args):
            self.included_features.pop(name, None)

    def list_all(self) -> None:
        for name in self.included_features:
            print(name)


class Layers:
    """Layers that are left out, each alone or in groups: of Keras models by their names, of PyTorch modules
    by their dotted names ("encoder.2")."""

    def __init__(self) -> None:
        self.included_layers: dict[str, None] = {}
        #: By what is in the group: a single name is a prefix.
        self.included_groups: dict[frozenset[str], tuple[str, ...]] = {}

    def include(self, *args: str | Sequence[str]) -> None:
        """Names, or lists of names."""
        self.included_layers.update(dict.fromkeys(_names("layers.include", args)))

    def exclude(self, *args: str | Sequence[str]) -> None:
        """Takes them back."""
        for name in _names("layers.exclude", args):
            self.included_layers.pop(name, None)

    def include_groups(self, *args: Sequence[str], prefix: str | None = None) -> None:
        """Each list of at least two names, and all layers whose names begin with `prefix`, go together."""
        for group in _groups("layers.include_groups", args, prefix):
            self.included_groups[frozenset(group)] = group

    def exclude_groups(self, *args: Sequence[str], prefix: str | None = None) -> None:
        """Takes them back."""
        for group in _groups("layers.exclude_groups", args, prefix):
            self.included_groups.pop(frozenset(group), None)

    def print_all(self) -> None:
        for name in self.included_layers:
            print(name)

    def print_all_groups(self) -> None:
        for group in self.included_groups.values():
            print(f"all layers prefixed {group[0]!r}" if len(group) == 1 else list(group))


class Model:
    """What is left out of the model."""

    def __init__(self) -> None:
        self.layers = Layers()
        self.base_model_generator: Callable[..., Any] | None = None
        self.custom_model_generators: list[tuple[Callable[..., Any], str]] = []

    def set_base_model_generator(self, base_model_generator: Callable[..., Any]) -> None:
        """A function that makes the whole model; it may ask for `hparams`, and for `inputs` where there is a
        `lethe.Dataset`."""
        self.base_model_generator = base_model_generator

    def add_custom_model_generator(
        self, custom_model_generator: Callable[..., Any], model_identifier: str
    ) -> None:
        """A model that one trial has in place of the base's."""
        self.custom_model_generators.append((custom_model_generator, model_identifier))

    #: Its name in earlier versions.
    add_custom_generator = add_custom_model_generator


class FeatureAblator(Ablator):
    """Features that a dataset generator leaves out."""

    def __init__(self, features: Sequence[str]) -> None:
        self._features = tuple(features)

    def components(self, study: Study) -> Sequence[Component]:
        return [Component(f"feature {name}", "feature", hparams={FEATURE: name}) for name in self._features]


def prefixed(generator: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    """A model generator that leaves out of what `generator` makes all layers whose names begin so, in lower
    or upper case; which those are is seen where the model is made. The first and the last layer of a Keras
    model stay."""

    @functools.wraps(generator)
    def without(*args: Any, **kwargs: Any) -> Any:
        from lethe.ablation.layered import is_keras, without_layers

        model = generator(*args, **kwargs)
        if is_keras(model):
            there = [layer.name for layer in model.layers][1:-1]
        else:
            there = [name for name, _ in model.named_modules() if name]
        found = [name for name in there if name.lower().startswith(prefix.lower())]
        if not found:
            raise ModelError(
                f"layers prefixed {prefix}: the model has none; there are {', '.join(there) or 'no layers'}"
            )
        return without_layers(model, found)

    return without


def asks_for(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (ValueError, TypeError):
        return False


def _names(what: str, given: Sequence[str | Sequence[str]]) -> list[str]:
    found: list[Any] = []
    for one in given:
        found += one if isinstance(one, list | tuple) else [one]
    for name in found:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{what} takes names, or lists of names, not {name!r}")
    return found


def _groups(what: str, given: Sequence[Sequence[str]], prefix: Any) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    if prefix is not None:
        if not isinstance(prefix, str) or not prefix:
            raise ConfigError(f"{what}: prefix must be a string that is not empty, not {prefix!r}")
        found.append((prefix,))
    for group in given:
        if not isinstance(group, list | tuple):
            raise ConfigError(f"{what} takes lists of names, or prefix=, not {group!r}")
        if len(dict.fromkeys(group)) < 2:
            raise ConfigError(f"{what}: {list(group)} is no group; a single layer is for layers.include")
        found.append(tuple(dict.fromkeys(_names(what, [group]))))
    return found


__all__ = ["AblationStudy"]
