"""Searches on the local executor, by the installed programs: optimizers, the user's own code, resume, SQL."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

import lethe
from lethe.application.registry import application

SLEEP = lethe.Registered("lethe.sleep", epochs=2)


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    lethe.shutdown()


def space(*constraints: lethe.Constraint, **parameters: lethe.Domain) -> lethe.SearchSpace:
    """For `lethe.sleep`, with a parameter of each kind."""
    return lethe.SearchSpace(
        *constraints,
        seconds=lethe.loguniform(1e-4, 1e-3),
        reports=lethe.choice(2),
        kind=lethe.choice("a", "b"),
        share=lethe.uniform(0.0, 1.0, step=0.25).when(kind="b"),
        size=lethe.ordinal(16, 32, 64),
        n=lethe.integer(1, 32, log=True),
        **parameters,
    )


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def lagom(searched: lethe.Search, train: Any = SLEEP, dataset: Any = None, **how: Any) -> lethe.Result:
        given = {"spark": False, "slots": 2, "directory": str(tmp_path), "quiet": True, **how}
        return lethe.lagom(train, dataset, searched, **given)

    return lagom


def search(searched: lethe.SearchSpace, trials: int = 12, **changes: Any) -> lethe.Search:
    return lethe.Search(searched, trials, "x", "max", **{"seed": 3, **changes})


def hparams(result: lethe.Result, names: Any) -> list[dict[str, Any]]:
    """Of each trial, without the columns of parameters that it has not."""
    found = []
    there = [name for name in names if name in result.trials]
    for row in result.trials[there].to_dict("records"):
        found.append({name: value for name, value in row.items() if not pd.isna(value)})
    return found


@pytest.mark.parametrize("optimizer", ["random", "grid", "sobol", "tpe", "cmaes"])
def test_every_trial_of_every_optimizer_lies_in_the_space(run: Any, optimizer: str) -> None:
    searched = space(lethe.constraint("size * n <= 512"), lethe.constraint(lambda h: h["n"] != 7))
    result = run(search(searched, optimizer=optimizer))
    points = hparams(result, searched)
    assert (result.trials["state"] == "finished").sum() == len(points) == 12
    for point in points:
        assert searched.point(point, whole=True) == point
        assert point["size"] * point["n"] <= 512
        assert point["n"] != 7
    assert len({str(point) for point in points}) == 12


def test_a_gaussian_process_searches_numbers(run: Any) -> None:
    searched = lethe.SearchSpace(seconds=lethe.loguniform(1e-4, 1e-3), reports=lethe.integer(2, 5))
    result = run(search(searched, optimizer=lethe.GP(startup=4), trials=8))
    assert (result.trials["state"] == "finished").sum() == 8


def test_samples_are_the_trials_of_a_random_search(run: Any) -> None:
    searched = space(lethe.constraint("size * n <= 512"))
    points = searched.sample(seed=3, n=6)
    assert points == searched.sample(seed=3, n=9)[:6]
    assert points[0] == searched.sample(seed=3)
    assert hparams(run(search(searched, trials=6)), searched) == points


def test_an_expression_that_is_none_is_refused_when_the_space_is_made() -> None:
    with pytest.raises(lethe.ConfigError, match="sise"):
        space(lethe.constraint("sise < 3"))
    with pytest.raises(lethe.ConfigError, match="size <"):
        space(lethe.constraint("size <"))


def test_a_grid_ends_by_itself(run: Any) -> None:
    searched = lethe.SearchSpace(
        seconds=lethe.choice(1e-3), reports=lethe.integer(2, 4), share=lethe.uniform(0, 1)
    )
    result = run(search(searched, trials=None, seconds=60.0, optimizer=lethe.Grid(points=3)))
    points = {tuple(point.values()) for point in hparams(result, searched)}
    assert points == {(1e-3, reports, share) for reports in (2, 3, 4) for share in (0.0, 0.5, 1.0)}
    assert not result.interrupted


def test_the_target_ends_a_search(run: Any) -> None:
    searched = lethe.SearchSpace(seconds=lethe.choice(0.01), reports=lethe.choice(5))
    result = run(search(searched, trials=1000, target=0.6), train=lethe.Registered("lethe.sleep", 5))
    assert result.history["x"].max() >= 0.6
    assert result.trials["epochs"].sum() <= 2 * 5


class Mine(lethe.Optimizer):
    """Counts n up; may kill the driver when it is told of a trial."""

    kill_at: int | None = None

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.told: list[lethe.Trial] = []

    def ask(self, trial: int) -> dict[str, Any] | None:
        self.asked.append(trial)
        return None if trial == 10 else {"n": trial % 32 + 1, "kind": "a", "size": 16, "seconds": 1e-3}

    def tell(self, trial: lethe.Trial) -> None:
        self.told.append(trial)
        if len(self.told) == self.kill_at:
            os.kill(application(None).driver.pid, signal.SIGKILL)


def defaults(**parameters: lethe.Domain) -> lethe.SearchSpace:
    return lethe.SearchSpace(
        seconds=lethe.loguniform(1e-4, 1e-2),
        reports=lethe.choice(2, default=2),
        kind=lethe.choice("a", "b"),
        size=lethe.ordinal(16, 32),
        n=lethe.integer(1, 32),
        **parameters,
    )


def test_an_own_optimizer_is_asked_and_told(run: Any) -> None:
    optimizer = Mine()
    first = {"n": 30, "kind": "b", "size": 32, "seconds": 1e-3}
    result = run(search(defaults(), optimizer=optimizer, enqueue=[first]))
    points = hparams(result, ["n"])
    assert [point["n"] for point in points][:10] == [30, *range(2, 11)]
    assert optimizer.asked == list(range(1, 11)), "nothing after the one without a point"
    told = {trial.number: trial for trial in optimizer.told}
    assert sorted(told) == list(range(10)), "each once, and the one without a point not at all"
    assert told[0].hparams == {**first, "reports": 2}
    assert {trial.state for trial in told.values()} == {"finished"}
    assert told[3].values == (1.0,)
    assert told[3].history == {1: {"x": 0.5}, 2: {"x": 1.0}}


def test_what_an_own_optimizer_raises_is_shown_first(run: Any, tmp_path: Path) -> None:
    class Raises(Mine):
        def ask(self, trial: int) -> dict[str, Any] | None:
            if trial == 5:
                raise ZeroDivisionError("no more luck")
            return super().ask(trial)

    with pytest.raises(
        lethe.ExperimentError, match=r"Raises\.ask raised ZeroDivisionError: no more luck"
    ) as caught:
        run(search(defaults(), optimizer=Raises()), name="raises")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(lethe.open(tmp_path / "raises").trials) >= 1


def test_an_optuna_sampler_searches_a_conditional_space(run: Any) -> None:
    optimizer = lethe.optuna(optuna.samplers.TPESampler(seed=1, n_startup_trials=4))
    searched = space()
    result = run(search(searched, optimizer=optimizer, stopping=lethe.Median(min_trials=2)))
    for point in hparams(result, searched):
        assert searched.point(point, whole=True) == pytest.approx(point)
    assert optimizer.study is not None
    assert len(optimizer.study.trials) == 12
    assert all(trial.state.is_finished() for trial in optimizer.study.trials)


def test_a_finished_search_is_extended(run: Any) -> None:
    before = run(search(space(), trials=4), name="extended")
    after = run(search(space(), trials=9), name="extended", resume=True)
    assert len(after.trials) == 9
    names = list(space())
    assert hparams(after, names)[:4] == hparams(before, names)
    assert after.trials["train_s"][:4].tolist() == before.trials["train_s"].tolist(), "not run again"
    assert hparams(after, names) == hparams(run(search(space(), trials=9)), names), "as if in one go"


def test_a_changed_space_is_refused_unless_it_is_accepted(run: Any) -> None:
    run(search(space(), trials=3), name="changed")
    other = space(m=lethe.integer(1, 3))
    with pytest.raises(lethe.ConfigError, match="already; go on with it"):
        run(search(other, trials=5), name="changed")
    with pytest.raises(lethe.ExperimentError, match="accept_changes=True"):
        run(search(other, trials=5), name="changed", resume=True)
    result = run(search(other, trials=5), name="changed", resume=True, accept_changes=True)
    assert result.trials["m"].notna().tolist() == [False] * 3 + [True] * 2


def test_a_search_whose_driver_was_killed_goes_on(run: Any) -> None:
    dying = Mine()
    dying.kill_at = 4
    with pytest.raises(lethe.ProcessError, match=r"lethe-driver .* has ended"):
        run(search(defaults(), trials=10, optimizer=dying), name="killed")
    before = {trial.number: trial for trial in dying.told}
    optimizer = Mine()
    result = run(search(defaults(), trials=10, optimizer=optimizer), name="killed", resume=True)
    assert (result.trials["state"] == "finished").sum() == len(result.trials) == 10
    told = {trial.number: trial for trial in optimizer.told}
    assert sorted(told) == list(range(10)), "it learns what was before"
    assert {number: told[number] for number in before} == before
    assert not set(optimizer.asked) & set(before)


def test_a_search_goes_on_from_its_store_on_another_host(run: Any, tmp_path: Path) -> None:
    how = {"name": "stored", "resume": True, "store": (tmp_path / "bucket").as_uri()}
    (tmp_path / "bucket").mkdir()
    before = run(search(space(), trials=4), **how, directory=str(tmp_path / "one"))
    # Only what lies in the store is there.
    lethe.shutdown()
    shutil.rmtree(tmp_path / "one")
    after = run(search(space(), trials=9), **how, directory=str(tmp_path / "other"))
    assert len(after.trials) == 9
    assert hparams(after, list(space()))[:4] == hparams(before, list(space()))
    assert after.trials["train_s"][:4].tolist() == before.trials["train_s"].tolist(), "not run again"


def test_sql_answers_while_the_driver_lives_and_after(run: Any, tmp_path: Path) -> None:
    result = run(search(space(), trials=6), name="queried")
    query = "select kind, count(*) as trials, max(n) as n from trials group by kind order by kind"
    live = result.sql(query)
    assert live["trials"].sum() == 6
    reports = result.sql("select trial, epoch, value from metrics where metric = 'x' order by trial, epoch")
    assert reports["value"].tolist() == [0.5, 1.0] * 6
    with pytest.raises(lethe.LetheError, match=r"^sql: .*nothing"):
        result.sql("select * from nothing")
    with pytest.raises(lethe.LetheError, match=r"^sql: "):
        result.sql("drop table trials")
    lethe.shutdown()
    opened = lethe.open(tmp_path / "queried")
    for after in (result.sql(query), opened.sql(query)):
        assert after.to_dict("list") == live.to_dict("list")
    assert opened.trials["trial"].tolist() == list(range(6))
    assert len(opened.metrics) == 12
    assert {"suggested", "ended"} & set(opened.events["kind"])
    with pytest.raises(lethe.LetheError, match=r"^sql: .*nothing"):
        opened.sql("select * from nothing")


def regression() -> lethe.Dataset:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(256, 4)).astype("float32")
    table = pa.table(
        {
            "x": pa.array(list(features), pa.list_(pa.float32())),
            "y": pa.array(features.sum(axis=1), pa.float32()),
        }
    )
    return lethe.Dataset.from_arrow(table, features="x", label="y").split(validation=0.25, seed=1)


def network(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hparams["width"]), nn.Dropout(hparams["dropout"]), nn.Linear(hparams["width"], 1)
    )


def supervised() -> tuple[lethe.Supervised, lethe.SearchSpace]:
    train = lethe.Supervised(model=network, loss="mse", metrics=["mae"], epochs=4, batch_size=64)
    searched = lethe.SearchSpace(
        lr=lethe.loguniform(1e-3, 1e-1), width=lethe.integer(4, 16), dropout=lethe.uniform(0.0, 0.5)
    )
    return train, searched


@pytest.mark.parametrize("optimizer", ["random", "nsga2"])
def test_two_metrics_give_the_pareto_front(run: Any, optimizer: str) -> None:
    train, searched = supervised()
    two = {"metric": ["loss", "train_loss"], "direction": ["min", "min"]}
    result = run(lethe.Search(searched, 12, **two, optimizer=optimizer), train, regression())
    values = result.trials[["loss", "train_loss"]].to_numpy()
    front = [
        number
        for number, point in enumerate(values)
        if not any((other <= point).all() and (other < point).any() for other in values)
    ]
    assert sorted(best.trial for best in result.pareto) == front
    assert list(result.pareto[0].values) == ["loss", "train_loss"]
    assert "Pareto front of loss, train_loss" in result.summary()


def test_a_population_trains_with_changing_hyperparameters(run: Any) -> None:
    train, searched = supervised()
    stopping = lethe.PBT(every=1, quantile=0.5, parameters=["lr", "dropout"])
    found = lethe.Search(searched, 4, "loss", "min", stopping=stopping, seed=1)
    result = run(found, train, regression())
    assert result.trials["epochs"].tolist() == [4] * 4
    first = [point["lr"] for point in searched.sample(seed=1, n=4)]
    assert result.trials["lr"].tolist() != first, "a result has the hyperparameters of its end"
    assert result.best_model_path is not None


def test_the_best_model_of_an_earlier_run_is_made_again(run: Any, tmp_path: Path) -> None:
    train, searched = supervised()
    data = regression()
    before = run(lethe.Search(searched, 3, "loss", "min", seed=2), train, data, name="again")
    lethe.shutdown()
    after = run(lethe.Search(searched, 3, "loss", "min", seed=2), train, data, name="again", resume=True)
    assert after.best is not None
    assert before.best is not None
    assert after.best.trial == before.best.trial
    for one, other in zip(after.best_model().parameters(), before.best_model().parameters(), strict=True):
        assert torch.equal(one, other)
    saved = torch.jit.load(after.best_model_path)
    features, labels = data.validation.to_torch()
    with torch.no_grad():
        loss = nn.functional.mse_loss(saved(features).squeeze(1), labels).item()
    assert loss == pytest.approx(after.best.value, rel=1e-5)
