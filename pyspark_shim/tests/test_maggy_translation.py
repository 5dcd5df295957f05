"""What a configuration of Maggy's becomes, without any process."""

import sys
import types
from typing import Any

import pyarrow as pa
import pytest

import lethe
from lethe.contexts import Distributed, Single
from lethe.experiment.trials import trials_of
from lethe.maggy import Searchspace, config, experiment
from lethe.maggy.ablation import AblationStudy
from lethe.maggy.earlystop import AbstractEarlyStop, MedianStoppingRule
from lethe.maggy.optimizer import AbstractOptimizer, Asha, GridSearch, RandomSearch
from lethe.maggy.optimizer.bayes import GP, TPE
from lethe.maggy.pruner import Hyperband
from lethe.maggy.search import Runs
from lethe.maggy.translate import translate
from lethe.maggy.translation import Translation

TABLE = pa.table({"age": [1.0, 2.0], "fare": [3.0, 4.0], "survived": [0, 1]})
DATA = lethe.Dataset.from_arrow(TABLE, features=["age", "fare"], label="survived")


def train(hparams: dict[str, Any], reporter: Any) -> float:
    raise AssertionError("only its arguments are looked at")


def silent(hparams: dict[str, Any]) -> float:
    raise AssertionError("only its arguments are looked at")


def ablated(dataset_function: Any, model_function: Any) -> float:
    raise AssertionError("only its arguments are looked at")


def make_model() -> None:
    raise AssertionError("only its arguments are looked at")


def space(**parameters: Any) -> Searchspace:
    return Searchspace(**(parameters or {"lr": ("DOUBLE", [0.1, 1.0])}))


def opt(optimizer: Any = "randomsearch", **changes: Any) -> config.HyperparameterOptConfig:
    return config.HyperparameterOptConfig(
        **{"num_trials": 7, "optimizer": optimizer, "searchspace": space(), **changes}
    )


def searched(given: config.HyperparameterOptConfig, function: Any = train) -> lethe.Search:
    found = translate(function, given).experiment
    assert isinstance(found, lethe.Search)
    return found


def test_a_search_of_maggy_s_is_a_search() -> None:
    found = translate(train, opt(direction="MIN", optimization_key="loss", es_min=5, es_interval=2))
    assert found.dataset is None
    assert found.name == "HPOptimization"
    assert found.ignored == ()
    search = found.experiment
    assert isinstance(search, lethe.Search)
    assert dict(search.space) == {"lr": lethe.uniform(0.1, 1.0)}
    assert (search.trials, search.metric, search.direction) == (7, "loss", "min")
    assert search.optimizer == lethe.Random()
    assert search.stopping == lethe.Median(min_trials=6, min_epochs=2)
    assert found.train.arguments == ("reporter", "hparams")
    assert found.train.name == "train"


def test_arguments_by_position_are_maggy_s() -> None:
    given = config.OptimizationConfig(3, "tpe", space(), "acc", "max", 1, 4, "none", "n", "text", 1)
    assert (given.optimization_key, given.es_min, given.name) == ("acc", 4, "n")
    assert searched(given).stopping is None
    torch = config.TorchDistributedConfig(make_model, None, {"lr": 1})
    assert (torch.module, torch.hparams) == (make_model, {"lr": 1})


@pytest.mark.parametrize(
    ("given", "native"),
    [
        ("RandomSearch", lethe.Random()),
        (RandomSearch(), lethe.Random()),
        ("tpe", lethe.TPE(15)),
        (TPE(num_warmup_trials=4), lethe.TPE(4)),
        ("gp", lethe.GP(15)),
        (GP(), lethe.GP(15)),
        (lethe.Sobol(), lethe.Sobol()),
    ],
)
def test_optimizers_by_name_and_as_objects(given: Any, native: Any) -> None:
    search = searched(opt(given))
    assert search.optimizer == native
    assert search.stopping == lethe.Median(min_trials=11, min_epochs=1)


@pytest.mark.parametrize(
    ("given", "asha", "budget"),
    [("asha", lethe.ASHA(2, 1, False), 4), (Asha(3, 1, 9), lethe.ASHA(3, 1, False), 9)],
)
def test_asha_stops_at_rungs_and_says_the_budget(given: Any, asha: lethe.ASHA, budget: int) -> None:
    found = translate(train, opt(given))
    assert isinstance(found.experiment, lethe.Search)
    assert found.experiment.stopping == asha
    assert found.experiment.trials == 7
    assert found.train.epochs == budget
    assert found.extra == {"budget": budget}
    assert found.ignored == ()


def test_trials_that_can_be_paused_are() -> None:
    def saving(hparams: Any, reporter: Any, checkpoint: Any) -> None:
        raise AssertionError("only its arguments are looked at")

    assert searched(opt(Asha(3, 1, 9)), saving).stopping == lethe.ASHA(3, 1, True)


def test_rungs_without_reports_are_said() -> None:
    found = translate(silent, opt("asha"))
    assert ["silent takes no reporter" in one for one in found.ignored] == [True]


def test_hyperband_is_a_stopping_rule_beside_its_optimizer() -> None:
    kwargs = {"min_budget": 1, "max_budget": 9, "eta": 3, "n_iterations": 3}
    found = translate(train, opt(TPE(pruner="hyperband", pruner_kwargs=kwargs)))
    assert isinstance(found.experiment, lethe.Search)
    assert found.experiment.optimizer == lethe.TPE(15)
    assert found.experiment.stopping == lethe.Hyperband(3, 1, False)
    assert found.experiment.trials == 9 + 3 + 3, "the configurations of three brackets"
    assert found.train.epochs == 9
    assert Hyperband(1, 8, 2, 1).configurations() == 8
    with pytest.raises(lethe.ConfigError, match="min_budget, max_budget, eta and n_iterations, not eta"):
        RandomSearch(pruner="hyperband", pruner_kwargs={"eta": 3})


def test_a_grid_is_the_whole_grid() -> None:
    lists = space(batch=("DISCRETE", [16, 32]), kind=("CATEGORICAL", ["a", "b", "c"]))
    search = searched(opt("gridsearch", searchspace=lists, num_trials=2))
    assert search.trials == 6
    assert search.optimizer == lethe.Grid()
    numbers = space(units=("INTEGER", [1, 3]), lr=("DOUBLE", [0, 1]))
    assert searched(opt(GridSearch(), searchspace=numbers, num_trials=100)).trials == 15
    cut = translate(train, opt(GridSearch(), searchspace=numbers))
    assert isinstance(cut.experiment, lethe.Search)
    assert cut.experiment.trials == 7
    assert ["15 points" in one for one in cut.ignored] == [True]


def test_runs_without_an_optimizer_have_no_hyperparameters() -> None:
    found = translate(train, opt(None, searchspace=None))
    assert isinstance(found.experiment, Runs)
    entries = found.experiment.entries(None)
    assert [(entry.hparams, entry.replicate) for entry in entries] == [({}, number) for number in range(7)]
    source = trials_of(found.experiment, found.train, None, None, None, 1).source
    assert len(source["trials"]) == 7


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        ("none", None),
        ("Median", lethe.Median(11, 1)),
        (MedianStoppingRule(), lethe.Median(11, 1)),
        (lethe.Patience(3), lethe.Patience(3)),
    ],
)
def test_early_stopping(policy: Any, rule: Any) -> None:
    assert searched(opt(es_policy=policy)).stopping == rule


class Own(AbstractOptimizer):
    def get_suggestion(self, trial: Any = None) -> None:
        raise AssertionError("only its arguments are looked at")


class OwnStop(AbstractEarlyStop):
    pass


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_trials": 0}, "num_trials must be a whole number from 1"),
        ({"direction": "up"}, 'direction must be "max" or "min"'),
        ({"optimizer": "bayes"}, "optimizer must be one of randomsearch, gridsearch, asha, tpe, gp, none"),
        ({"optimizer": 3}, "Asha"),
        ({"optimizer": Own()}, "Own: an optimizer of your own is a lethe.Optimizer"),
        ({"searchspace": {"lr": 1}}, "searchspace must be a Searchspace"),
        ({"searchspace": Searchspace()}, "no parameter"),
        ({"es_policy": "patience"}, 'es_policy must be "median", "none"'),
        ({"es_policy": OwnStop()}, "OwnStop: a policy of your own"),
        ({"es_policy": lethe.Patience(3), "optimizer": "asha"}, "leave one out"),
        ({"es_min": -1}, "es_min"),
        ({"dataset": [DATA]}, "a lethe.Dataset is dataset= itself"),
    ],
)
def test_what_there_is_nothing_for_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        translate(train, opt(**changes))


def test_functions_may_ask_for_hyperparameters_by_their_names_and_nothing_else() -> None:
    def named(lr: float, reporter: Any, scale: float = 1.0) -> None:
        raise AssertionError("only its arguments are looked at")

    assert translate(named, opt()).train.arguments == ("reporter", "hparams")
    with pytest.raises(
        lethe.ConfigError, match="named asks for 'lr'; in this experiment it can ask for hparam"
    ):
        translate(named, config.BaseConfig())
    with pytest.raises(lethe.ConfigError, match="train_fn must be a function"):
        translate(3, opt())  # type: ignore[arg-type]


def test_a_dataset_of_lethe_comes_with_the_trial() -> None:
    def on_sets(train_set: Any, test_set: Any, hparams: Any) -> None:
        raise AssertionError("only its arguments are looked at")

    found = translate(on_sets, opt(dataset=DATA))
    assert found.dataset is DATA
    assert found.train.arguments == ("hparams", "dataset")
    assert translate(on_sets, opt(train_set=[1], test_set=[2])).train.arguments == ("hparams",)
    assert translate(train, opt(dataset=DATA)).train.arguments == ("reporter", "hparams")


def test_one_run() -> None:
    found = translate(train, config.BaseConfig(name="once"))
    assert found.experiment == Single(metric="metric", direction="max")
    assert found.name == "once"
    with pytest.raises(lethe.ConfigError, match="config must be a HyperparameterOptConfig"):
        translate(train, {})  # type: ignore[arg-type]


def test_distributed_training_is_on_one_worker_unless_it_is_said() -> None:
    def torch_fn(module: Any, hparams: Any, train_set: Any) -> None:
        raise AssertionError("only its arguments are looked at")

    hparams = {"lr": 0.1, "layers": [3, 4]}
    found = translate(torch_fn, config.TorchDistributedConfig(make_model, hparams=hparams))
    assert found.experiment == Distributed(metric="metric", direction="max", hparams={"lr": 0.1}, workers=1)
    assert found.extra == {"layers": [3, 4]}
    assert [one.partition(":")[0] for one in found.ignored] == ["workers"]
    tf = config.TfDistributedConfig(make_model, workers=1, hb_interval=5, mixed_precision=True)
    ignored = [one.partition(":")[0] for one in translate(train, tf).ignored]
    assert ignored == ["hb_interval", "mixed_precision"]
    assert translate(train, tf).train.strategy is None
    mirrored = translate(train, config.TfDistributedConfig(make_model, workers=2))
    assert mirrored.train.strategy == "multi_worker_mirrored"
    zero = config.TorchDistributedConfig(make_model, zero_lvl=2, workers=1)
    assert [one.partition(":")[0] for one in translate(train, zero).ignored] == ["zero_lvl"]
    several = translate(torch_fn, config.TorchDistributedConfig(make_model, zero_lvl=2, workers=(2, 4)))
    assert several.experiment == Distributed(metric="metric", direction="max", workers=(2, 4))
    assert several.train.sharding == "full"
    assert not several.ignored


def test_what_distributed_training_cannot_do_is_refused() -> None:
    with pytest.raises(lethe.ConfigError, match="TfDistributedConfig: workers must be a whole number from 1"):
        config.TfDistributedConfig(make_model, workers=0)
    with pytest.raises(lethe.ConfigError, match="workers must be a whole number from 1"):
        config.TorchDistributedConfig(make_model, workers=0)
    with pytest.raises(lethe.ConfigError, match='"torch" or "deepspeed"'):
        config.TorchDistributedConfig(make_model, backend="horovod")
    with pytest.raises(lethe.ConfigError, match="there is no DeepSpeed; write"):
        translate(train, config.TorchDistributedConfig(make_model, backend="deepspeed"))


def study(*features: str, layers: bool = True) -> AblationStudy:
    found = AblationStudy("titanic", training_dataset_version=1, label_name="survived")
    found.features.include(*features)
    if layers:
        found.model.set_base_model_generator(make_model)
        found.model.layers.include("hidden", ["head"])
        found.model.layers.include_groups(["hidden", "head"], prefix="enc")
        found.model.add_custom_model_generator(make_model, "small")
    return found


def of_study(given: AblationStudy, function: Any = ablated, **changes: Any) -> tuple[Translation, Any]:
    found = translate(function, config.AblationConfig(given, **changes))
    return found, found.experiment


def test_an_ablation_study_leaves_out_the_same() -> None:
    found, listing = of_study(study("age"), dataset=DATA, direction="min")
    assert (listing.metric, listing.direction) == ("metric", "min")
    assert found.train.model is make_model
    assert found.train.arguments == ("hparams", "dataset", "model")
    assert found.train.generates, "each trial's function is given the generator"
    components = listing.components(DATA)
    assert [one.name for one in components] == [
        "feature age",
        "layer hidden",
        "layer head",
        "layers ['hidden', 'head']",
        "model prefix enc",
        "model small",
    ]
    assert [one.layers for one in components[1:4]] == [("hidden",), ("head",), ("hidden", "head")]
    assert [found.left_out[one.name]["ablated_layer"] for one in components] == [
        "None",
        "hidden",
        "head",
        "['hidden', 'head']",
        "Layers prefixed enc",
        "Custom model: small",
    ]
    assert found.left_out["feature age"]["ablated_feature"] == "age"


def test_layers_can_be_left_out_of_functions_that_load_their_data() -> None:
    given = study()
    given.set_dataset_generator(lambda epochs, size: None)
    found, listing = of_study(given)
    made = trials_of(listing, found.train, None, None, None, 1)
    assert made.count == 6
    assert sorted(made.models) == [1, 2, 3, 4, 5]


def test_features_are_left_out_by_a_dataset_generator() -> None:
    given = study("age", "fare", layers=False)
    given.set_dataset_generator(lambda epochs, size, ablated_feature: None)
    _, listing = of_study(given)
    assert [one.hparams for one in listing.trials(None)] == [
        {"ablated_feature": "None"},
        {"ablated_feature": "age"},
        {"ablated_feature": "fare"},
    ]


def test_an_ablator_of_one_s_own_comes_beside() -> None:
    class Both(lethe.Ablator):
        def components(self, study: Any) -> Any:
            return [lethe.Component("small and slow", hparams={"slow": True})]

    _, listing = of_study(study("age", layers=False), dataset=DATA, ablator=Both())
    assert [one.name for one in listing.components(DATA)] == ["feature age", "small and slow"]


@pytest.mark.parametrize(
    ("given", "function", "problem"),
    [
        (
            study("age"),
            ablated,
            r"no feature store to read 'titanic' from; give its rows to AblationConfig\(da",
        ),
        (
            study("age"),
            lambda model_function: 0,
            "nothing can leave them out; .*with an argument ablated_feat",
        ),
        (study(), lambda: 0, "does not ask for its model; give it the argument model_function"),
        (AblationStudy(), lambda: 0, "nothing is left out"),
        ("titanic", lambda: 0, "must be an AblationStudy, not str"),
    ],
)
def test_studies_that_cannot_be_are_refused(given: Any, function: Any, problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        of_study(given, function)


def test_a_study_needs_a_base_model() -> None:
    given = AblationStudy()
    given.model.layers.include("hidden")
    with pytest.raises(lethe.ConfigError, match=r"call study\.model\.set_base_model_generator"):
        of_study(given, lambda model_function: 0)
    assert of_study(given, lambda model_function: 0, model=make_model)[0].train.model is make_model


def test_what_a_study_includes_can_be_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    given = study("age", "fare")
    given.features.exclude(["age"])
    given.model.layers.exclude("head")
    given.model.layers.exclude_groups(["head", "hidden"])
    assert given.to_dict() == {
        "training_dataset_name": "titanic",
        "training_dataset_version": 1,
        "label_name": "survived",
        "included_features": ["fare"],
        "included_layers": ["hidden"],
        "custom_dataset_generator": False,
    }
    given.features.list_all()
    given.model.layers.print_all()
    given.model.layers.print_all_groups()
    assert capsys.readouterr().out == "fare\nhidden\nall layers prefixed 'enc'\n"
    for wrong in (["one"], "one", ["one", 2]):
        with pytest.raises(ValueError, match="include_groups"):
            given.model.layers.include_groups(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"features\.include takes names"):
        given.features.include(3)  # type: ignore[arg-type]


def test_folders_are_called_by_the_configuration_and_the_time() -> None:
    name = experiment.folder_name(".my search: no 1", resume=False)
    assert name.startswith("my-search-no-1-2")
    assert name != experiment.folder_name(".my search: no 1", resume=False)
    assert experiment.folder_name("my search", resume=True) == "my-search"


def test_names_are_where_maggy_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import lethe.maggy
    from lethe.maggy import experiment_config
    from lethe.maggy.experiment import experiment as itself

    assert itself is experiment is lethe.maggy.experiment
    assert experiment_config.OptimizationConfig is config.HyperparameterOptConfig
    keras = types.ModuleType("lethe.callbacks.keras")
    keras.KerasBatchEnd, keras.KerasEpochEnd = object(), object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lethe.callbacks", types.ModuleType("lethe.callbacks"))
    monkeypatch.setitem(sys.modules, "lethe.callbacks.keras", keras)
    for name in dir(lethe.maggy.callbacks):
        assert getattr(lethe.maggy.callbacks, name) is getattr(keras, name)
    for name in lethe.maggy.__all__:
        assert getattr(lethe.maggy, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lethe.maggy.nothing


def test_what_is_ignored_is_said_once_and_the_arguments_reach_lagom(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Any, Any]] = []

    def lagom(*given: Any, **options: Any) -> None:
        called.append((given, options))
        raise lethe.ExperimentError("far enough")

    monkeypatch.setattr("lethe.experiment.lagom.lagom", lagom)
    given = config.TorchDistributedConfig(make_model, hb_interval=2)
    with (
        pytest.warns(
            UserWarning, match=r"TorchDistributedConfig: ignored: hb_interval: .*; workers: "
        ) as caught,
        pytest.raises(lethe.ExperimentError, match="far enough"),
    ):
        experiment.lagom(train, given, spark=False, slots=2)
    assert len(caught) == 1
    [((function, dataset, listing), options)] = called
    assert isinstance(function, lethe.Function)
    assert dataset is None
    assert isinstance(listing, Distributed)
    assert options.pop("name").startswith("torchDist-")
    assert options == {"spark": False, "slots": 2}
    with pytest.raises(lethe.ConfigError, match="given by the config"):
        experiment.lagom(train, given, dataset=DATA)
