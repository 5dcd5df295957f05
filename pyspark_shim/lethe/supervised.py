"""Native supervised training: the user names the parts, the loop runs in Rust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lethe.contexts import Listing
from lethe.errors import ConfigError
from lethe.search import Search
from lethe.space.domain import LISTED, Domain

if TYPE_CHECKING:
    from torch import nn

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse", "l1", "huber")
METRICS = ("accuracy", "loss", "mae", "mse", "r2", "roc_auc")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "step", "one_cycle")
#: Hyperparameters that override the values given to `Supervised`.
OVERRIDES = (
    "lr",
    "batch_size",
    "drop_last",
    "epochs",
    "optimizer",
    "weight_decay",
    "momentum",
    "schedule",
    "grad_clip",
    "accumulate",
    "precision",
)


@dataclass(frozen=True)
class Supervised:
    """A training function of factored-out parts. A hyperparameter of a search that has the name of one of the
    parts marked with * overrides its value; all others belong to the model generator.

    model: makes the `nn.Module` of a trial; called in this process under the trial's seed. Its arguments are
        given by name: `hparams` (a dict) and `inputs` (the number of features; of an input with a shape of
        its own that shape, a tuple; of several inputs a dict of these by their names). The module's `forward`
        gets a tensor `[batch, …]` for each input, in their order, and must be scriptable
        (`torch.jit.script`). With its own `training_step(batch)`, and `validation_step(batch)`, it has its
        own loss and metrics: `batch` is a `Dict[str, torch.Tensor]` with each input by its name (`features`,
        if it has no other), `label`, and `weight` where rows have weights that they were not sampled by.
    loss: "cross_entropy" (logits `[batch, classes]`, integer labels from 0), "binary_cross_entropy" (logits
        `[batch]` or `[batch, 1]`, labels 0 or 1), "mse", "l1", "huber" (delta 1), or None: the module's own
        `training_step`. Where rows have weights, a named loss is the mean of theirs by weight.
    metrics: of "accuracy", "loss", "mae", "mse", "r2", "roc_auc"; each over the whole validation set, after
        each epoch. `train_loss` and, with a validation split, `loss` are always there; these two are weighted
        where rows have weights, the others count each row alike. Default: none.
    epochs *: passes over the training set. Default 10.
    batch_size *: rows of a step; the last batch of an epoch may be smaller. Default 64.
    drop_last *: leaves out an epoch's last batch where it is smaller. Default False.
    optimizer *: "adam", "adamw", "sgd" or "rmsprop". Default "adam".
    lr *: learning rate. Default 0.001.
    weight_decay *: Default 0.
    momentum *: of sgd and rmsprop. Default 0.
    schedule *: "constant", "cosine" (to 0, by step), "step" (a tenth after each third of the epochs) or
        "one_cycle" (PyTorch's OneCycleLR, by step). Default "constant".
    grad_clip *: largest norm of all gradients together; None clips nothing. Default None.
    accumulate *: parts in which a worker computes the gradients of a batch, one after the other: the same
        steps in less memory, but for batch norm, which sees the parts. Default 1.
    precision *: "float32", or "bfloat16" for mixed precision: forward and backward passes as under PyTorch's
        autocast; weights, gradients and the optimizer's state stay float32. Default "float32".
    sync_batch_norm: where several workers train one model, batch norm layers take mean and variance over the
        rows of all of them, as if they were one. Default False: each over its own rows.
    """

    model: Callable[..., nn.Module]
    loss: str | None = None
    metrics: Sequence[str] = ()
    epochs: int = 10
    batch_size: int = 64
    drop_last: bool = False
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    schedule: str = "constant"
    grad_clip: float | None = None
    accumulate: int = 1
    precision: str = "float32"
    sync_batch_norm: bool = False

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ConfigError(
                f"Supervised: model must be a function that makes an nn.Module, not {self.model!r}"
            )
        if self.loss is not None and self.loss not in LOSSES:
            raise ConfigError(
                f"Supervised: loss must be None or one of {', '.join(LOSSES)}, not {self.loss!r}"
            )
        if isinstance(self.metrics, str):
            raise ConfigError(f"Supervised: metrics must be a list; write metrics=[{self.metrics!r}]")
        for metric in self.metrics:
            if metric not in METRICS:
                raise ConfigError(f"Supervised: metric {metric!r} is not one of {', '.join(METRICS)}")
        for name in OVERRIDES:
            check_value(f"Supervised: {name}", name, getattr(self, name))
        if not isinstance(self.sync_batch_norm, bool):
            raise ConfigError(
                f"Supervised: sync_batch_norm must be True or False, not {self.sync_batch_norm!r}"
            )

    def message(self) -> dict[str, Any]:
        """The plan's `function`."""
        values = {name: getattr(self, name) for name in OVERRIDES}
        return {
            "type": "supervised",
            "loss": self.loss,
            "metrics": list(dict.fromkeys(self.metrics)),
            "sync_batch_norm": self.sync_batch_norm,
            **values,
        }

    def reported(self, validated: bool) -> list[str] | None:
        """Names of the metrics that trials report; None if the module's own steps decide."""
        if self.loss is None:
            return None
        return ["train_loss", *(["loss", *dict.fromkeys(self.metrics)] if validated else [])]


@dataclass(frozen=True)
class Registered:
    """A Rust training function, by the name under which the trainer binary registers it.

    epochs: its budget, which stopping rules count in.
    """

    name: str
    epochs: int

    def message(self) -> dict[str, Any]:
        return {"type": "registered", "name": self.name, "epochs": self.epochs}


def check_value(what: str, name: str, value: Any) -> None:
    """Whether `value` can be the part `name`.

    Raises ConfigError, which begins with `what`.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and float(value).is_integer()
    named = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}
    if name in named:
        if value not in named[name]:
            raise ConfigError(f"{what} must be one of {', '.join(named[name])}, not {value!r}")
    elif name in ("epochs", "batch_size", "accumulate"):
        if not whole or not 1 <= value < 2**32:
            raise ConfigError(f"{what} must be a whole number from 1, not {value!r}")
    elif name == "drop_last":
        if not isinstance(value, bool):
            raise ConfigError(f"{what} must be True or False, not {value!r}")
    elif name == "grad_clip":
        if value is not None and not (number and value > 0):
            raise ConfigError(f"{what} must be None or above 0, not {value!r}")
    elif name == "lr":
        if not (number and 0 < value < float("inf")):
            raise ConfigError(f"{what} must be above 0, not {value!r}")
    elif not (number and 0 <= value < float("inf")):
        raise ConfigError(f"{what} must be a number from 0, not {value!r}")


def check_experiment(train: Supervised, experiment: Search | Listing, validated: bool) -> None:
    """Whether the experiment fits the training function: values and domains of overridden parts, and the
    metric's name."""
    if isinstance(experiment, Search):
        for name in OVERRIDES:
            if name in experiment.space:
                for value in _extremes(experiment.space[name]):
                    check_value(f"SearchSpace: {name}={experiment.space[name]!r}: {name}", name, value)
    else:
        for entry in experiment.entries(None) if not experiment.needs_dataset else ():
            for name in OVERRIDES:
                if name in entry.hparams:
                    check_value(f"{type(experiment).__name__}: hparams: {name}", name, entry.hparams[name])
    if not validated and train.loss is not None and train.metrics:
        raise ConfigError(
            f"Supervised: metrics {list(train.metrics)} need a validation set; "
            "split the dataset: dataset.split(validation=0.2, seed=1)"
        )
    reported = train.reported(validated)
    if reported is not None:
        for metric in experiment.metrics:
            if metric not in reported:
                remedy = _remedy(train, metric, reported, validated)
                raise ConfigError(
                    f"{type(experiment).__name__}: no trial reports the metric {metric!r}; {remedy}"
                )


def _remedy(train: Supervised, metric: str, reported: list[str], validated: bool) -> str:
    if metric in METRICS and not validated:
        return "it needs a validation set: dataset.split(validation=0.2, seed=1)"
    if metric in METRICS:
        return f"add it: Supervised(…, metrics={[*train.metrics, metric]})"
    return f"use one of {', '.join(reported)}"


def _extremes(domain: Domain) -> tuple[Any, ...]:
    return domain.values if domain.kind in LISTED else (domain.low, domain.high)
