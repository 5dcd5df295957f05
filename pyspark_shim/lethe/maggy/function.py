"""A training function of Maggy's as one of Lethe's: what it asks for by name, and what it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lethe import context
from lethe.errors import ConfigError
from lethe.maggy import tensorboard
from lethe.maggy.ablation import FEATURE, NOTHING, asks_for
from lethe.maggy.config import METRIC

DATA = ("dataset", "train_set", "test_set")
MODELS = ("model", "module")
#: Of ablation studies.
GENERATORS = ("model_function", "dataset_function")
LETHE = ("hparams", "reporter", "checkpoint")


@dataclass(frozen=True)
class Call:
    """How the user's function is called in a trial.

    train: the function. asked: the names that it asks for. metric: of what it returns.
    model, dataset, train_set, test_set: as they are given. process: what makes the function's dataset of it.
    placed: the dataset is a `lethe.Dataset`, and comes with the trial.
    extra: further hyperparameters, which Lethe knows nothing of.
    study: it is one of an ablation study; generated: whose base model has a generator; dataset_generator:
        that of the study.
    """

    train: Callable[..., Any]
    asked: tuple[str, ...]
    metric: str
    model: Any = None
    dataset: Any = None
    train_set: Any = None
    test_set: Any = None
    process: Callable[[Any], Any] | None = None
    placed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    study: bool = False
    generated: bool = False
    dataset_generator: Callable[..., Any] | None = None

    @property
    def parts(self) -> list[str]:
        """What it needs of Lethe's."""
        others = [name for name in self.asked if name not in (*LETHE, *MODELS, *DATA, *GENERATORS)]
        found: list[str] = [name for name in ("reporter", "checkpoint") if name in self.asked]
        if others or self.study or "hparams" in self.asked:
            found.append("hparams")
        functions = self.study and "hparams" in self.asked
        if self.placed and (functions or any(name in self.asked for name in (*DATA, "dataset_function"))):
            found.append("dataset")
        if self.generated and (functions or any(name in self.asked for name in (*MODELS, "model_function"))):
            found.append("model")
        return found

    def __call__(self, given: dict[str, Any]) -> Any:
        tensorboard.forget()
        hparams = {**given.get("hparams", {}), **self.extra}
        feature = hparams.pop(FEATURE, NOTHING) if self.study else NOTHING
        there: dict[str, Any] = {
            **hparams,
            **dict.fromkeys(MODELS, _together(self.model)),
            **self._data(given.get("dataset")),
        }
        if self.study:
            functions = self._generators(given, feature)
            hparams.update(functions)
            there.update(functions)
            if self.model is None and "model" in given and any(name in self.asked for name in MODELS):
                there.update(dict.fromkeys(MODELS, given["model"]()))
        there["hparams"] = hparams
        if "reporter" in given:
            there["reporter"] = Reporter(given["reporter"])
        if "checkpoint" in given:
            there["checkpoint"] = given["checkpoint"]
        return value(self.train(**{name: there[name] for name in self.asked}), self.metric)

    def _data(self, placed: Any) -> dict[str, Any]:
        if placed is not None:
            test = placed.validation if "test_set" in self.asked and placed.has_validation else None
            if test is None and "test_set" in self.asked:
                test = placed.test
            return {"dataset": placed, "train_set": placed.train, "test_set": test}
        dataset, train, test = self.dataset, self.train_set, self.test_set
        if self.process is not None and dataset is not None:
            dataset = self.process(dataset)
        if isinstance(dataset, list | tuple):
            train = dataset[0] if train is None and dataset else train
            test = dataset[1] if test is None and len(dataset) > 1 else test
        elif dataset is None and (train is not None or test is not None):
            dataset = [train, test]
        return {"dataset": dataset, "train_set": train, "test_set": test}

    def _generators(self, given: dict[str, Any], feature: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "model" in given:
            found["model_function"] = given["model"]
        own = self.dataset_generator
        if own is not None:
            told = {FEATURE: None if feature == NOTHING else feature} if asks_for(own, FEATURE) else {}
            found["dataset_function"] = functools.partial(own, **told)
        elif "dataset" in given:
            found["dataset_function"] = functools.partial(_repeated, given["dataset"].train)
        return found


def _together(model: Any) -> Any:
    """On several workers a class, or each class of a list, makes modules that are trained together."""
    if context.world() == 1:
        return model
    if isinstance(model, list | tuple):
        return type(model)(_together(one) for one in model)
    return _Together(model) if isinstance(model, type) else context.parallel(model)


class _Together:
    """A class in whose place this is called, and asked for its attributes: the modules that it makes, by its
    class methods too (`from_pretrained`), are trained together."""

    def __init__(self, model: type[Any]) -> None:
        functools.update_wrapper(self, model, updated=())

    def __call__(self, *given: Any, **named: Any) -> Any:
        return context.parallel(self.__wrapped__(*given, **named))

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":
            # A copy before it has any.
            raise AttributeError(name)
        found = getattr(self.__wrapped__, name)
        if not inspect.ismethod(found):
            return found

        @functools.wraps(found)
        def make(*given: Any, **named: Any) -> Any:
            return context.parallel(found(*given, **named))

        return make


class Reporter:
    """Lethe's reporter, with Maggy's arguments."""

    def __init__(self, reporter: Any) -> None:
        self._reporter, self._step = reporter, None

    def broadcast(self, metric: Any, step: Any = None) -> None:
        """Reports the metric. Of several with one step the first counts. Ends the function where the trial
        is to end."""
        if step is not None and step == self._step:
            return
        self._step = step
        self._reporter.broadcast(metric, step)

    def log(self, log_msg: Any, jupyter: bool = False) -> None:
        """Prints it, to the trial's log and to whoever watches."""
        self._reporter.log(log_msg)


def adapted(call: Call) -> Callable[..., Any]:
    """A function that asks for what Lethe has. Its source is that of the user's function."""

    @functools.wraps(call.train)
    def train(**given: Any) -> Any:
        return call(given)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            # Lethe gives the generator where an argument is annotated so.
            annotation=Callable if name == "model" else inspect.Parameter.empty,
        )
        for name in call.parts
    ]
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return train


def asked_by(train: Any, further: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the function asks for. further: those that there are beside the usual.

    Raises ConfigError if it asks for another.
    """
    if not callable(train):
        raise ConfigError(f"lagom: train_fn must be a function, not {type(train).__name__}")
    name = getattr(train, "__qualname__", type(train).__name__)
    there = (*LETHE, *MODELS, *DATA, *further)
    try:
        parameters = inspect.signature(train).parameters
    except (ValueError, TypeError):
        raise ConfigError(
            f"the arguments of the training function {name} are unknown; wrap it: "
            "def train_fn(hparams): return …"
        ) from None
    found = []
    for argument, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if argument in there and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append(argument)
        elif parameter.default is parameter.empty:
            raise ConfigError(
                f"the training function {name} asks for {argument!r}; in this experiment it can ask for "
                f"{', '.join(there)}"
            )
    return tuple(found)


def value(returned: Any, metric: str) -> Any:
    """What a function of Maggy's has returned, as a number or a dictionary of numbers with the metric.

    Of a list it is the first. So it is of a dictionary without the metric, where that has no name of its own.
    """
    if isinstance(returned, list | tuple) and returned:
        return returned[0]
    if not isinstance(returned, Mapping):
        return returned
    found = {str(name): one for name, one in returned.items() if hasattr(one, "__float__")}
    if metric == METRIC and metric not in found and found:
        return {metric: next(iter(found.values())), **found}
    return found


def _repeated(part: Any, num_epochs: int, batch_size: int) -> Any:
    """As Maggy's generator: a `tf.data.Dataset` of all epochs."""
    return part.to_tf(batch_size).repeat(num_epochs)
