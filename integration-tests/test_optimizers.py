"""Who suggests and what ends early, on the digits: the user's own optimizer, Optuna's, and every rule."""

import threading
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pytest
from conftest import wait_for
from journals import count, events
from searches import mlp, search, training
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

RUNS = Path("lethe-runs")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def run(dataset: lethe.Dataset, what: lethe.Search, **options: Any) -> lethe.Result:
    changes = {name: options.pop(name) for name in ("model", "epochs") if name in options}
    given = {"spark": False, "quiet": True, "slots": 2, **options}
    return lethe.lagom(training(**changes), dataset, what, **given)


class Recording(lethe.Optimizer):
    """Asks for widths one after another, and writes down what it is called for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.told: dict[int, lethe.Trial] = {}

    def ask(self, trial: int) -> dict[str, Any] | None:
        self.calls.append(("ask", trial))
        return {"width": 16 + trial, "lr": 1e-3, "dropout": 0.1}

    def tell(self, trial: lethe.Trial) -> None:
        self.calls.append(("tell", trial.number))
        assert trial.number not in self.told, "each trial once"
        self.told[trial.number] = trial


def test_an_own_optimizer_learns_of_every_end(dataset: lethe.Dataset) -> None:
    def generator(hparams: dict[str, Any], inputs: int) -> nn.Module:
        if hparams["width"] == 18:
            raise ValueError("no such width")
        return mlp(hparams, inputs)

    optimizer = Recording()
    what = search(6, optimizer=optimizer, stopping=lethe.Threshold(bound=0.99, min_epochs=2))
    result = run(dataset, what, model=generator, epochs=4, slots=1)
    assert [trial for kind, trial in optimizer.calls if kind == "ask"] == list(range(6)), "in order"
    for trial in range(6):
        assert optimizer.calls.index(("ask", trial)) < optimizer.calls.index(("tell", trial))
    states = {number: trial.state for number, trial in sorted(optimizer.told.items())}
    assert list(states.values()) == result.trials["state"].tolist()
    assert states[2] == "failed"
    assert optimizer.told[2].values == ()
    assert "stopped" in states.values()
    for number, trial in optimizer.told.items():
        assert trial.hparams["width"] == 16 + number
        own = result.history[result.history["trial"] == number]
        assert {epoch: found["accuracy"] for epoch, found in trial.history.items()} == dict(
            zip(own["epoch"], own["accuracy"], strict=True)
        )
        if trial.state != "failed":
            assert trial.values == (own["accuracy"].iloc[-1],)


def test_a_slow_optimizer_delays_nobody_until_the_queue_is_dry(dataset: lethe.Dataset) -> None:
    """While it thinks about the fifth trial, those that it was asked for ahead run to their end."""
    ended: list[int] = []

    class Slow(Recording):
        def ask(self, trial: int) -> dict[str, Any] | None:
            if trial == 4:
                assert wait_for(lambda: count(RUNS / "slow", "ended") >= 4, 60)
                ended.append(count(RUNS / "slow", "ended"))
            return super().ask(trial)

    result = run(dataset, search(6, optimizer=Slow()), epochs=2, name="slow")
    assert ended == [4]
    assert result.trials["state"].tolist() == ["finished"] * 6


def test_an_exhausted_optimizer_ends_the_search(dataset: lethe.Dataset) -> None:
    class Three(Recording):
        def ask(self, trial: int) -> dict[str, Any] | None:
            return super().ask(trial) if trial < 3 else None

    optimizer = Three()
    result = run(dataset, search(50, optimizer=optimizer), epochs=1)
    assert not result.interrupted
    assert result.trials["state"].tolist() == ["finished"] * 3
    assert sorted(optimizer.told) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["ask", "tell"])
def test_an_exception_of_an_own_optimizer_ends_the_search_and_comes_first(
    dataset: lethe.Dataset, kind: str
) -> None:
    class Raises(Recording):
        def ask(self, trial: int) -> dict[str, Any] | None:
            if kind == "ask" and trial == 2:
                raise ZeroDivisionError("no luck")
            return super().ask(trial)

        def tell(self, trial: lethe.Trial) -> None:
            if kind == "tell":
                raise ZeroDivisionError("no luck")

    with pytest.raises(lethe.ExperimentError) as caught:
        run(dataset, search(8, optimizer=Raises()), epochs=2)
    assert str(caught.value).splitlines()[0].endswith(f"Raises.{kind} raised ZeroDivisionError: no luck")
    assert "test_optimizers.py" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_optuna_s_sampler_learns_what_came_of_its_trials(dataset: lethe.Dataset) -> None:
    optimizer = lethe.optuna(optuna.samplers.TPESampler(seed=1, n_startup_trials=3))
    result = run(dataset, search(8, optimizer=optimizer, stopping=lethe.ASHA(pause=False)), epochs=3)
    assert optimizer.study is not None
    theirs = {trial.user_attrs.get("trial", trial.number): trial for trial in optimizer.study.trials}
    assert len(theirs) == len(result.trials) == 8
    states = {"finished": optuna.trial.TrialState.COMPLETE, "stopped": optuna.trial.TrialState.PRUNED}
    assert sorted(states[state].name for state in result.trials["state"]) == sorted(
        trial.state.name for trial in optimizer.study.trials
    )
    assert sorted(result.trials["value"]) == sorted(trial.value for trial in optimizer.study.trials)


def conditional() -> lethe.SearchSpace:
    return lethe.SearchSpace(
        lethe.constraint("layers * width <= 96"),
        lethe.constraint(lambda h: h.get("momentum", 0.0) < 0.8),
        optimizer=lethe.choice("adam", "sgd"),
        momentum=lethe.uniform(0.0, 0.95).when(optimizer="sgd"),
        layers=lethe.integer(1, 3),
        width=lethe.integer(16, 64),
        inner=lethe.integer(8, 16).when(layers=[2, 3]),
    )


def test_a_generator_gets_only_what_exists_and_is_allowed(dataset: lethe.Dataset) -> None:
    given: list[dict[str, Any]] = []

    def deep(hparams: dict[str, Any], inputs: int) -> nn.Module:
        given.append(dict(hparams))
        width, inner = hparams["width"], hparams.get("inner", 8)
        middle = [
            layer
            for number in range(hparams["layers"] - 1)
            for layer in (nn.Linear(width if number == 0 else inner, inner), nn.ReLU())
        ]
        last = inner if middle else width
        return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), *middle, nn.Linear(last, 10))

    first = {"optimizer": "sgd", "momentum": 0.5, "layers": 1, "width": 17}
    result = run(dataset, search(24, space=conditional(), enqueue=[first]), model=deep, epochs=1)
    assert result.trials["state"].tolist() == ["finished"] * 24
    assert given[0] == first, "what was enqueued goes first"
    for hparams in given:
        assert ("momentum" in hparams) == (hparams["optimizer"] == "sgd")
        assert ("inner" in hparams) == (hparams["layers"] > 1)
        assert hparams["layers"] * hparams["width"] <= 96
        assert hparams.get("momentum", 0.0) < 0.8
    assert {hparams["optimizer"] for hparams in given} == {"adam", "sgd"}
    assert {hparams["layers"] for hparams in given} == {1, 2, 3}


def test_a_predicate_that_raises_ends_the_search(dataset: lethe.Dataset) -> None:
    def never(hparams: Any) -> bool:
        raise LookupError("no rule")

    space = lethe.SearchSpace(lethe.constraint(never), width=lethe.integer(16, 64))
    with pytest.raises(lethe.ExperimentError, match="LookupError: no rule"):
        run(dataset, search(2, space=space), epochs=1)


RULES = {
    "asha": lethe.ASHA(),
    "asha-stops": lethe.ASHA(pause=False),
    "hyperband": lethe.Hyperband(),
    "hyperband-stops": lethe.Hyperband(pause=False),
    "bohb": lethe.BOHB(),
    "median": lethe.Median(min_trials=3),
    "threshold": lethe.Threshold(bound=0.8, min_epochs=2),
    "patience": lethe.Patience(epochs=1, min_delta=0.01),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("metric", "direction"), [("accuracy", "max"), ("loss", "min")])
def test_every_rule_saves_epochs_and_finds_a_good_trial(
    dataset: lethe.Dataset, rule: str, metric: str, direction: str
) -> None:
    stopping = RULES[rule]
    if isinstance(stopping, lethe.Threshold) and metric == "loss":
        stopping = lethe.Threshold(bound=0.8, min_epochs=2)
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-5, 1e-2))
    what = search(18, space=space, stopping=stopping, metric=metric, direction=direction)
    result = run(dataset, what, epochs=9)
    assert set(result.trials["state"]) == {"finished", "stopped"}
    assert result.trials["epochs"].sum() < 18 * 9
    assert result.trials["why"][result.trials["state"] == "stopped"].notna().all(), "each says why"
    assert result.best is not None
    assert result.best.metrics["accuracy"] > 0.9


def test_a_population_s_worst_goes_on_from_the_best_s_checkpoint(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-6, 1e-1))
    given = [{"lr": lr} for lr in (1e-6, 1e-2, 3e-3, 2e-6)]
    what = search(4, space=space, enqueue=given, stopping=lethe.PBT(every=2, quantile=0.25))
    result = run(dataset, what, epochs=8, name="population")
    assert result.trials["epochs"].tolist() == [8] * 4
    taken = result.sql(
        "select trial, epoch, text from events where kind = 'assigned' "
        "and text like 'from the checkpoint of trial%' order by sequence"
    )
    assert len(taken) > 0
    loser, epoch = int(taken["trial"][0]), int(taken["epoch"][0])
    assert loser in (0, 3), "of the rates that learn nothing"
    history = result.history[result.history["trial"] == loser].set_index("epoch")["accuracy"]
    assert history.index.tolist() == list(range(1, 9)), "its own epochs, none twice"
    assert history[epoch + 1] > history[epoch] + 0.2, "it goes on with the other's weights"
    assert result.trials.set_index("trial")["lr"][loser] != given[loser]["lr"]
    puts = [event for event in events(RUNS / "population") if event["type"] == "checkpointed"]
    assert puts


def test_threads_of_an_own_optimizer_end_with_the_search(dataset: lethe.Dataset) -> None:
    run(dataset, search(2, optimizer=Recording()), epochs=1)
    assert not [thread.name for thread in threading.enumerate() if thread.name == "lethe-adviser"]
