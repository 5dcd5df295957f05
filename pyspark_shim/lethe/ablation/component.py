"""`Component`: one part that is left out, or changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from lethe.errors import ConfigError
from lethe.space.values import key, plain

if TYPE_CHECKING:
    from lethe.dataset.dataset import Dataset

KINDS = ("feature", "layer", "model", "dataset", "hparam", "own")
#: The trial that nothing is left out of.
BASE = "base"


@dataclass(frozen=True)
class Component:
    """One part of a study, and what its trials have in place of the base's. At least one of these is given;
    several are changed together.

    name: unique within a study.
    kind: "feature", "layer", "model", "dataset", "hparam", or "own" (of an own `Ablator`).
    hparams: override the base's.
    without: columns that are left out of the features.
    model: another model generator; its arguments are given by name: `hparams`, `inputs`.
    layers: modules of the generated model that are left out, by their dotted names; a name that ends with "."
        means all modules directly under it.
    dataset: trained on in place of the study's.

    Raises ConfigError, naming the argument.
    """

    name: str
    kind: str = "own"
    _: KW_ONLY
    hparams: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    model: Callable[..., Any] | None = None
    layers: tuple[str, ...] = ()
    dataset: Dataset | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"Component: name must be a string that is not empty, not {self.name!r}")
        if self.name == BASE:
            raise ConfigError(
                f"Component: name {BASE!r} is that of the trial with nothing left out; rename it"
            )
        what = f"Component {self.name!r}"
        if self.kind not in KINDS:
            raise ConfigError(f"{what}: kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        object.__setattr__(self, "hparams", hyperparameters(f"{what}: hparams", self.hparams))
        object.__setattr__(self, "without", names(f"{what}: without", self.without, "columns", empty=True))
        object.__setattr__(self, "layers", names(f"{what}: layers", self.layers, "modules", empty=True))
        if self.model is not None and not callable(self.model):
            raise ConfigError(f"{what}: model must be a function that makes a model, not {self.model!r}")
        if self.dataset is not None:
            check_dataset(f"{what}: dataset", self.dataset)
        if self.changes == ([], set(), None, set(), None):
            raise ConfigError(f"{what} changes nothing; give it hparams, without, model, layers or dataset")

    @property
    def changes(self) -> tuple[Any, ...]:
        """Equal for components that leave out the same."""
        hparams = sorted((name, key(value)) for name, value in self.hparams.items())
        return hparams, set(self.without), self.model, set(self.layers), self.dataset

    @property
    def changes_data(self) -> bool:
        """Whether its trials have other inputs, or other rows, than the base."""
        return bool(self.without) or self.dataset is not None


def names(what: str, given: Any, of: str, *, empty: bool = False) -> tuple[str, ...]:
    """A list of different names as a tuple.

    Raises ConfigError, which begins with `what`.
    """
    if isinstance(given, str):
        raise ConfigError(f"{what} must be a list; write [{given!r}]")
    if not isinstance(given, Sequence) or not all(isinstance(name, str) and name for name in given):
        raise ConfigError(f"{what} must be a list of names of {of}, not {given!r}")
    found = tuple(given)
    if not found and not empty:
        raise ConfigError(f"{what} is empty; name {of}, or leave it out")
    seen: set[str] = set()
    for name in found:
        if name in seen:
            raise ConfigError(f"{what} names {name!r} twice; name it once")
        seen.add(name)
    return found


def named(what: str, given: Any, of: str) -> dict[str, Any]:
    """A dictionary by names.

    Raises ConfigError, which begins with `what`.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} must be a dictionary of {of} by their names, not {given!r}")
    for name in given:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{what}: a name must be a string that is not empty, not {name!r}")
    return dict(given)


def hyperparameters(what: str, given: Any) -> dict[str, Any]:
    """Hyperparameters as they will reach the model generator.

    Raises ConfigError, which begins with `what`, for a value that has no JSON.
    """
    found = {name: plain(value) for name, value in named(what, given, "hyperparameters").items()}
    for name, value in found.items():
        if key(value) is None:
            raise ConfigError(
                f"{what}: {name}={value!r} is not a plain value; use a number, a string, True, False, None "
                "or a list of them"
            )
    return found


def check_dataset(what: str, dataset: Any) -> None:
    from lethe.dataset.dataset import Dataset

    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"{what} must be a lethe.Dataset, not {type(dataset).__name__}; "
            "use Dataset.from_spark(df, …), from_files(urls, …) or from_arrow(table, …)"
        )
