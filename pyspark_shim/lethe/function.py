"""Python training functions: any callable, run in a slot's own interpreter."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.supervised import PRECISIONS

#: What a function may ask for by name.
ARGUMENTS = ("model", "dataset", "hparams", "reporter", "checkpoint")
#: Steps of a function that does not say how many it makes.
UNKNOWN = 2**32 - 1
#: TensorFlow's strategy for several workers.
MIRRORED = "multi_worker_mirrored"


@dataclass(frozen=True)
class Function:
    """A training function in Python. `lagom` also takes the function itself.

        def train(model, dataset, hparams, reporter):
            optimizer = torch.optim.Adam(model.parameters(), lr=hparams["lr"])
            for epoch in range(10):
                for batch in dataset.train.batches(64, epoch=epoch + 1):
                    ...
                reporter.broadcast(accuracy, epoch)

    It runs in an interpreter of its own on each slot, for one trial after another, and is shipped as Spark
    ships functions. It is given what its arguments name:

    model: what the generator makes under the trial's seed, on the slot's device; the generator itself (a call
        without arguments makes the module) where the argument is annotated as a `Callable`.
    dataset: the trial's data, with `train`, `validation` and `test`, whose batches are those of the
        native loop.
    hparams: a dict.
    reporter: `reporter.broadcast(metric, step)` reports, and raises `lethe.TrialStopped` when the trial is to
        end; `reporter.log()` and `print` reach whoever watches. `reporter.metric` is the metric's name;
        `lethe.callbacks` report out of Keras, Lightning, Transformers, XGBoost and LightGBM.
    checkpoint: `checkpoint.save(state)` before each broadcast, and `checkpoint.load()` at the beginning:
        with it a trial can be paused, and goes on where its slot was lost.

    On several workers it does not change: the model's gradients are those of all of them, batches of
    `dataset.train` are this worker's slices, and what the first reports and returns counts.

    It returns a number, the value of the experiment's metric, a dict of numbers, or nothing if it has
    reported.

    train: the function.
    model: a model generator with arguments among `hparams` and `inputs`, as that of `Supervised`.
    epochs: how many steps it reports, where a stopping rule needs to know.
    sharding: of a trial on several workers. None: each holds all of the model. "full": each holds a part of
        its weights, gradients and optimizer's state (PyTorch's FSDP), for models that one does not hold.
    strategy: of a trial on several workers, for models of Keras on TensorFlow: "multi_worker_mirrored", its
        MultiWorkerMirroredStrategy, under which the function runs. Its workers' ports ask for no token: other
        users of the hosts of the trial's workers, and whoever can send with their addresses, can reach them,
        and run what they like as their user.
    precision: what the argument `model`, a module of PyTorch, computes in: "float32", or "bfloat16" where its
        accuracy is enough (autocast). Weights and what it returns stay float32. A model that the function
        makes itself computes as the function says: `torch.autocast`.
    environment: further environment variables. Of its task's it has PATH, HOME, TMPDIR, LANG, TZ and
        LD_LIBRARY_PATH.

    Raises ConfigError if it asks for something else.
    """

    train: Callable[..., Any]
    model: Callable[..., Any] | None = None
    _: KW_ONLY
    epochs: int | None = None
    sharding: str | None = None
    strategy: str | None = None
    precision: str = "float32"
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.train):
            raise ConfigError(f"Function: train must be a function, not {self.train!r}")
        if self.model is not None and not callable(self.model):
            raise ConfigError(f"Function: model must be a function that makes the model, not {self.model!r}")
        if self.epochs is not None:
            checks.whole("Function: epochs", self.epochs, 1, UNKNOWN)
        if self.sharding not in (None, "full"):
            raise ConfigError(f'Function: sharding must be None or "full", not {self.sharding!r}')
        if self.strategy not in (None, MIRRORED):
            raise ConfigError(f'Function: strategy must be None or "{MIRRORED}", not {self.strategy!r}')
        if self.strategy is not None and self.sharding is not None:
            raise ConfigError("Function: sharding is PyTorch's, strategy TensorFlow's; leave one of them out")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"Function: precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        if self.precision != "float32" and "model" not in self.arguments:
            raise ConfigError(
                f"Function: precision is that of the argument `model`, and {self.name} takes none; give "
                "the model's generator and take what it makes, or use torch.autocast in the function"
            )
        for name, value in self.environment.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ConfigError(f"Function: environment must be strings by name, not {name!r}: {value!r}")
        backend = self.environment.get("KERAS_BACKEND", "tensorflow")
        if self.strategy is not None and backend != "tensorflow":
            raise ConfigError(
                f"Function: strategy is for Keras on TensorFlow, and environment sets {backend}; "
                "leave out one of them"
            )
        if "model" in self.arguments and self.model is None:
            raise ConfigError(
                f"the training function {self.name} asks for a model; give its generator: "
                f"lethe.Function({self.name}, model=make_model)"
            )

    @property
    def name(self) -> str:
        return str(getattr(self.train, "__qualname__", type(self.train).__name__))

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Those of `ARGUMENTS` that it asks for."""
        asked: list[str] = []
        for name, parameter in _parameters(self.train, self.name).items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given = [one for one in ARGUMENTS if one not in asked]
                asked += [one for one in given if one != "model" or self.model is not None]
            elif name in ARGUMENTS and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.POSITIONAL_ONLY,
            ):
                asked.append(name)
            elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
                raise ConfigError(
                    f"the training function {self.name} asks for {name!r}; it can ask for "
                    f"{', '.join(ARGUMENTS)}. Hyperparameters come in hparams[{name!r}]"
                )
        return tuple(asked)

    @property
    def variables(self) -> dict[str, str]:
        """Of its environment."""
        backend = {} if self.strategy is None else {"KERAS_BACKEND": "tensorflow"}
        return {**backend, **self.environment}

    @property
    def saves(self) -> bool:
        """Whether its trials can be paused."""
        return "checkpoint" in self.arguments

    @property
    def generates(self) -> bool:
        """Whether it takes the model's generator, not the model."""
        parameter = _parameters(self.train, self.name).get("model")
        if parameter is None:
            return False
        annotation = parameter.annotation
        if isinstance(annotation, str):
            return annotation.rsplit(".", 1)[-1].startswith("Callable")
        return annotation in (Callable, typing.Callable) or typing.get_origin(annotation) in (
            Callable,
            typing.get_origin(typing.Callable[..., Any]),
        )

    def message(self) -> dict[str, Any]:
        """The plan's `function`."""
        name = self.name[:100]
        return {"type": "python", "name": name, "epochs": UNKNOWN if self.epochs is None else self.epochs}


def _parameters(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (ValueError, TypeError):
        raise ConfigError(
            f"the arguments of the training function {name} are unknown; wrap it: "
            "def train(hparams): return …"
        ) from None
