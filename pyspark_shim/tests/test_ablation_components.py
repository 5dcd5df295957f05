"""A study names the argument that is wrong, and lists its trials in order."""

import itertools
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

import lethe
from lethe.ablation.ablation import Ablation
from lethe.ablation.ablator import Ablator, Study
from lethe.ablation.component import Component
from lethe.ablation.fits import check_ablation
from lethe.supervised import check_experiment

TABLE = pa.table({"age": [1.0, 2.0], "city": [3.0, 4.0], "size": [5.0, 6.0], "price": [0, 1]})


def dataset(features: Any = ("age", "city", "size"), label: str | None = "price") -> lethe.Dataset:
    return lethe.Dataset.from_arrow(TABLE, features=list(features), label=label)


def study(**changes: Any) -> Ablation:
    return Ablation(**{"metric": "loss", "direction": "min", "features": True, **changes})


def model(inputs: int) -> None:
    raise AssertionError("only its arguments are looked at")


class Pairs(Ablator):
    def components(self, study: Study) -> Sequence[Component]:
        found = [part for part in study.components if part.kind == "feature"]
        return [
            Component(f"{one.name} and {other.name}", without=(*one.without, *other.without))
            for one, other in itertools.combinations(found, 2)
        ]


class Returns(Ablator):
    def __init__(self, found: Any) -> None:
        self.found = found

    def components(self, study: Study) -> Sequence[Component]:
        return self.found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metric": ""}, "metric must be the name"),
        ({"direction": "up"}, '"max" or "min"'),
        ({"features": None}, "nothing is left out; name features"),
        ({"features": False}, "features must be None, True"),
        ({"features": "age"}, r"features must be a list; write \['age'\]"),
        ({"features": []}, "features is empty"),
        ({"features": ["age", "age"]}, "features names 'age' twice"),
        ({"feature_groups": {"a": "age"}}, "feature_groups, 'a' must be a list"),
        ({"feature_groups": ["age"]}, "feature_groups must be a dictionary"),
        ({"layers": "encoder"}, r"layers must be a list; write \['encoder'\]"),
        ({"layers": ["encoder."]}, r"use layer_groups=\{'encoder': 'encoder.'\}"),
        ({"layer_groups": {"a": "encoder"}}, "a prefix that ends with a dot, 'encoder.', not 'encoder'"),
        ({"layer_groups": {"a": []}}, "layer_groups, 'a' is empty; name modules"),
        ({"models": {"a": 3}}, "models, 'a' must be a function"),
        ({"datasets": {"a": TABLE}}, "datasets, 'a' must be a lethe.Dataset, not Table"),
        ({"hparams": {"dropuot": 0}, "base": {"dropout": 1}}, "not in base; add it there .*mean dropout"),
        ({"hparams": {"dropout": 0.0}, "base": {"dropout": 0}}, "dropout=0.0 is the base's value already"),
        ({"base": {"lr": float("nan")}}, "base: lr=nan is not a plain value"),
        ({"ablators": Pairs()}, "ablators must be a list"),
        ({"ablators": [Pairs]}, r"make one: Pairs\(\)"),
        ({"ablators": ["pairs"]}, "objects of lethe.Ablator, not 'pairs'"),
        ({"seeds": 0}, "seeds must be a whole number"),
        ({"seed": -1}, "seed must be"),
        ({"trial_seconds": 0}, "trial_seconds must be above 0"),
        ({"retries": -1}, "retries must be"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be"),
        ({"retry_exceptions": 0.5}, "retry_exceptions must be"),
        ({"select": "first"}, "select must be"),
        ({"confidence": 1}, "confidence must be below 1"),
        ({"confidence": 0}, "confidence must be above 0"),
    ],
)
def test_a_study_names_the_argument_that_is_wrong(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=f"Ablation: {problem}|Ablation: .*{problem}"):
        study(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, "name must be a string"),
        ({"name": "base"}, "is that of the trial with nothing left out"),
        ({"kind": "column"}, "kind must be one of feature"),
        ({}, "changes nothing; give it hparams"),
        ({"without": "age"}, r"without must be a list; write \['age'\]"),
        ({"layers": ["a", "a"]}, "layers names 'a' twice"),
        ({"model": 1}, "model must be a function"),
        ({"hparams": {"f": print}}, "is not a plain value"),
    ],
)
def test_a_component_names_the_argument_that_is_wrong(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=f"Component.*{problem}"):
        Component(**{"name": "mine", **changes})


@pytest.mark.parametrize(
    ("made", "data", "error", "problem"),
    [
        (study(features=["aeg"]), dataset(), lethe.DataError, "'aeg' is no feature .*did you mean age"),
        (study(features=["price"]), dataset(), lethe.DataError, "no feature .*there are: age, city, size"),
        (study(), dataset(["age"]), lethe.DataError, "'feature age' leaves out all features; keep"),
        (
            study(feature_groups={"all": ["age", "city", "size"]}),
            dataset(),
            lethe.DataError,
            "'features all' leaves out all features",
        ),
        (study(), None, lethe.ConfigError, "features leaves out columns, and there is no dataset"),
        (
            study(feature_groups={"one": ["age"]}),
            dataset(),
            lethe.ConfigError,
            "'features one' and 'feature age' leave out the same",
        ),
        (
            study(ablators=[Returns([Component("feature age", layers=("a",))])]),
            dataset(),
            lethe.ConfigError,
            "two components 'feature age'; rename one",
        ),
        (
            study(ablators=[Returns(None)]),
            dataset(),
            lethe.ConfigError,
            "Returns.components must return a list",
        ),
        (study(ablators=[Returns([3])]), dataset(), lethe.ConfigError, "must return Components, not 3"),
        (
            study(base={"x": 1}, ablators=[Returns([Component("same", hparams={"x": 1.0})])]),
            dataset(),
            lethe.ConfigError,
            "'same' has the base's values",
        ),
        (
            study(features=None, ablators=[Returns([])]),
            dataset(),
            lethe.ConfigError,
            "nothing is left out",
        ),
        (
            study(datasets={"raw": dataset()}),
            dataset().split(validation=0.5),
            lethe.DataError,
            "'dataset raw' has no validation set, and the base has; split it alike",
        ),
        (
            study(datasets={"raw": dataset(label=None)}),
            dataset(),
            lethe.DataError,
            "'dataset raw' has no label, unlike the base",
        ),
    ],
)
def test_components_that_cannot_be_are_named(
    made: Ablation, data: lethe.Dataset | None, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=f"^Ablation: .*{problem}|^Ablation: {problem}"):
        made.components(data)


def test_components_come_in_the_order_of_the_arguments() -> None:
    raw = dataset()
    made = study(
        feature_groups={"place": ["city", "size"]},
        layers=["encoder.2"],
        layer_groups={"encoder": "encoder.", "ends": ["first", "last"]},
        models={"linear": model},
        datasets={"raw": raw},
        base={"dropout": 0.1, "norm": "batch"},
        hparams={"dropout": 0.0, "norm": None},
        ablators=[Returns([Component("mine", without=("age",), hparams={"dropout": 0.2})])],
    )
    found = made.components(dataset())
    assert [part.name for part in found] == [
        "feature age",
        "feature city",
        "feature size",
        "features place",
        "layer encoder.2",
        "layers encoder",
        "layers ends",
        "model linear",
        "dataset raw",
        "dropout=0.0",
        "norm=None",
        "mine",
    ]
    by_name = {part.name: part for part in found}
    assert by_name["features place"].without == ("city", "size")
    assert by_name["layers encoder"].layers == ("encoder.",)
    assert by_name["model linear"].model is model
    assert by_name["dataset raw"].dataset is raw
    assert by_name["norm=None"].hparams == {"norm": None}


def test_an_ablator_is_told_what_the_study_has_already() -> None:
    found = study(ablators=[Pairs()]).components(dataset())
    assert [part.without for part in found[3:]] == [("age", "city"), ("age", "size"), ("city", "size")]
    told: list[Study] = []

    class Asked(Ablator):
        def components(self, study: Study) -> Sequence[Component]:
            told.append(study)
            return []

    data = dataset()
    study(features=["age"], base={"lr": 1}, ablators=[Asked()]).components(data)
    assert told[0].dataset is data
    assert told[0].hparams == {"lr": 1}
    assert [part.name for part in told[0].components] == ["feature age"]


def test_the_base_is_trial_0_and_repetitions_follow_each_other() -> None:
    raw, data = dataset(["city", "size"]), dataset()
    made = study(
        features=["age"], datasets={"raw": raw}, base={"lr": 1, "drop": 2}, hparams={"drop": 0}, seeds=2
    )
    trials = made.trials(data)
    assert [(one.number, one.name, one.replicate) for one in trials] == [
        (0, "base", 0),
        (1, "feature age", 0),
        (2, "dataset raw", 0),
        (3, "drop=0", 0),
        (4, "base", 1),
        (5, "feature age", 1),
        (6, "dataset raw", 1),
        (7, "drop=0", 1),
    ]
    assert [one.hparams for one in trials[:4]] == [{"lr": 1, "drop": 2}] * 3 + [{"lr": 1, "drop": 0}]
    assert [one.without for one in trials[:4]] == [(), ("age",), (), ()]
    assert [one.dataset for one in trials[:4]] == [data, data, raw, data]


def test_a_study_has_no_more_trials_than_a_driver_holds() -> None:
    with pytest.raises(lethe.ConfigError, match=r"3 components and the base, 5000 times each, are 20000"):
        study(seeds=5000).trials(dataset())


def test_a_trial_s_generator_is_the_component_s_own_or_the_training_function_s() -> None:
    def other() -> None:
        raise AssertionError("only its arguments are looked at")

    trials = study(features=None, models={"other": other}).trials(None)
    assert trials[0].generator(model) is model
    assert trials[1].generator(model) is other


@pytest.mark.parametrize(
    ("changes", "validated", "problem"),
    [
        ({"base": {"lr": 0}}, True, "Ablation: base: lr must be above 0"),
        ({"base": {"epochs": 2}, "hparams": {"epochs": 0}}, True, "Ablation: 'epochs=0': epochs must be"),
        ({"metric": "r2", "direction": "max"}, True, r"metric 'r2'; add it: .*\['accuracy', 'r2'\]"),
        ({"metric": "f1"}, True, "metric 'f1'; use one of train_loss, loss, accuracy"),
        ({}, False, r"metrics \['accuracy'\] need a validation set"),
    ],
)
def test_a_study_must_fit_the_training_function(
    changes: dict[str, Any], validated: bool, problem: str
) -> None:
    train = lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"])  # type: ignore[arg-type]
    made = study(**changes)

    def check(study: Ablation, validated: bool) -> None:
        check_experiment(train, study, validated)
        check_ablation(study, study.components(dataset()))

    with pytest.raises(lethe.ConfigError, match=problem):
        check(made, validated)
    good = study(base={"lr": 0.1, "weight_decay": 0.1}, hparams={"weight_decay": 0.0})
    check(good, True)


def test_a_study_is_made_without_torch_or_matplotlib() -> None:
    statement = (
        "import lethe.ablation.ablation, lethe.ablation.report, lethe.ablation.chart, lethe.ablation.fits\n"
        "import lethe.ablation.layered, sys\n"
        "print([name for name in ('torch', 'keras', 'matplotlib', 'pyspark') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
