"""Python functions on the local executor, without Spark."""

import os
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import lethe_processes, wait_for
from functions import fit_without_saving, fitting, net, score
from programs import executable

import lethe
from lethe.experiment.seed import trial_seed

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def search(trials: int, **changes: Any) -> lethe.Search:
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-3, 1e-1))
    return lethe.Search(
        changes.pop("space", space),
        **{"trials": trials, "metric": "accuracy", "direction": "max", "seed": 3, **changes},
    )


def run(train: Any, dataset: lethe.Dataset | None, what: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def test_a_function_is_searched_and_its_model_comes_back(dataset: lethe.Dataset) -> None:
    result = run(fitting(), dataset, search(4))
    assert list(result.trials["state"]) == ["finished"] * 4
    assert list(result.history.groupby("trial")["epoch"].apply(list)) == [[1, 2, 3]] * 4
    assert result.best is not None
    assert result.best.value > 0.8
    assert score(result.best_model(), dataset) == result.best.value
    assert result.best_model_path is not None
    assert result.best.metrics.keys() == {"accuracy", "train_loss"}


def test_any_callable_that_returns_a_number_is_a_function() -> None:
    doubled = 2.0

    class Callable:
        def __call__(self, hparams: dict[str, Any]) -> dict[str, float]:
            return {"accuracy": doubled * hparams["lr"], "other": np.float32(1.5)}

    for train in (lambda hparams: doubled * hparams["lr"], Callable()):
        result = run(train, None, search(3))
        values = result.trials.set_index("trial")["value"]
        lrs = result.trials.set_index("trial")["lr"]
        assert np.allclose(values, 2.0 * lrs)
        assert list(result.history["epoch"]) == [1, 1, 1]


def test_what_cannot_be_run_is_an_error_before_the_trials_start(dataset: lethe.Dataset) -> None:
    before = lethe_processes()
    refused: list[tuple[Any, Any, str]] = [
        (lambda lr: lr, None, "asks for 'lr'; it can ask for model, dataset, hparams, reporter, checkpoint"),
        (lambda model: 1.0, None, "asks for a model; give its generator"),
        (lambda dataset: 1.0, None, "asks for a dataset; give lagom one"),
        (3, None, "train must be lethe.Supervised"),
    ]
    for train, data, text in refused:
        with pytest.raises(lethe.ConfigError, match=text):
            run(train, data, search(1))
    lock = threading.Lock()
    with pytest.raises(lethe.ConfigError, match="cannot be shipped to its slots"):
        run(lambda hparams: bool(lock), None, search(1))
    with pytest.raises(lethe.ConfigError, match="Hyperband has to know how many steps"):
        run(lambda hparams: 1.0, None, search(1, stopping=lethe.Hyperband()))
    with pytest.raises(lethe.ConfigError, match="PBT copies checkpoints"):
        run(lambda hparams: 1.0, None, search(4, stopping=lethe.PBT(every=1)))
    assert {pid for pid in lethe_processes() - before if executable(pid).startswith("python")} == set()


def test_exceptions_are_the_trials_and_prints_reach_whoever_watches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(hparams: dict[str, Any], reporter: Any) -> float:
        print("lr is", hparams["lr"])
        reporter.log("logged", 1)
        if hparams["lr"] > 0.05:
            raise RuntimeError("too\nfast")
        return 1.0

    what = search(2, enqueue=[{"lr": 0.001}, {"lr": 0.09}])
    result = run(train, None, what, quiet=False, name="prints", slots=1)
    assert list(result.trials["state"]) == ["finished", "failed"]
    error = result.trials["error"][1]
    assert error.splitlines()[0] == "the training function raised RuntimeError: too"
    assert 'raise RuntimeError("too\\nfast")' in error
    assert "lethe/worker" not in error
    printed = capsys.readouterr().out
    assert "trial 0: lr is 0.001\n" in printed
    assert "trial 1: logged 1\n" in printed
    log = Path(result.directory, "logs", "trial-1.log").read_text()
    assert log == "lr is 0.09\nlogged 1\n"


def test_a_function_without_checkpoints_is_stopped_where_others_pause(dataset: lethe.Dataset) -> None:
    train = lethe.Function(fit_without_saving, net)
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1), epochs=lethe.choice(9))
    what = search(8, stopping=lethe.ASHA(reduction=3), space=space)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run(train, dataset, what)
    said = [str(one.message) for one in caught if "takes no checkpoint" in str(one.message)]
    assert len(said) == 1
    assert result.sql("select count(*) as n from events where kind = 'pause'")["n"][0] == 0
    stopped = result.trials[result.trials["state"] == "stopped"]
    assert len(stopped) > 0
    assert set(stopped["epochs"]) <= {1, 3}


def test_a_paused_trial_goes_on_to_the_bit_as_if_it_had_not(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-3, 3e-2), epochs=lethe.choice(9))
    train = fitting()
    result = run(train, dataset, search(7, space=space, stopping=lethe.ASHA(reduction=2), seed=5))
    moved = result.sql("select trial from events where kind = 'promoted' group by trial")["trial"]
    assert len(moved) > 0
    finished = result.trials[result.trials["trial"].isin(moved) & (result.trials["epochs"] >= 2)]
    # Trial 0's seed is that of a single run.
    for trial in finished["trial"]:
        history = result.history[result.history["trial"] == trial]
        assert list(history["epoch"]) == list(range(1, len(history) + 1))
    best = result.best
    assert best is not None
    alone = run(train, dataset, search(best.trial + 1, space=space, seed=5), slots=1)
    one = alone.history[alone.history["trial"] == best.trial]
    other = result.history[result.history["trial"] == best.trial]
    columns = ["epoch", "accuracy", "train_loss"]
    count = len(other)
    assert one[columns].to_numpy()[:count].tolist() == other[columns].to_numpy()[: len(one)].tolist()


def test_a_trial_that_neither_reports_nor_returns_is_ended_by_its_time_limit() -> None:
    def train(hparams: dict[str, Any]) -> float:
        while hparams["lr"] > 0.05:
            time.sleep(0.1)
        return float(os.getpid())

    what = search(3, enqueue=[{"lr": 0.001}, {"lr": 0.09}, {"lr": 0.002}], trial_seconds=1.0)
    result = run(train, None, what, slots=1)
    assert list(result.trials["state"]) == ["finished", "stopped", "finished"]
    first, _, last = result.trials["value"]
    assert first != last, "another worker is in the place of the one that was killed"
    assert list(result.slots["trials"]) == [3]


def test_a_worker_that_dies_costs_its_attempt_only() -> None:
    def train(hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> float:
        done = checkpoint.load() or {"step": 0}
        for step in range(done["step"], 4):
            checkpoint.save({"step": step + 1})
            reporter.broadcast(float(step), step)
        if not Path(hparams["mark"]).exists():
            Path(hparams["mark"]).touch()
            os._exit(3)
        return 5.0

    mark = str(Path("died").absolute())
    result = run(train, None, lethe.Single(hparams={"mark": mark}))
    assert list(result.trials["state"]) == ["finished"]
    assert list(result.trials["attempts"]) == [2]
    assert list(result.trials["value"]) == [5.0]
    notices = result.sql("select text from events where kind = 'notice'")["text"]
    assert any("died: exit status: 3" in text for text in notices), list(notices)


def test_a_trial_that_breaks_its_worker_costs_the_next_one_nothing() -> None:
    def train(hparams: dict[str, Any]) -> float:
        if hparams["x"] % 2 == 1:
            # What is tidied up after a trial is no more: so is a GPU's memory after an error of the GPU.
            Path.cwd().rmdir()
            raise ValueError("broken")
        return float(os.getpid())

    space = lethe.SearchSpace(x=lethe.ordinal(*range(8)))
    result = run(train, None, search(8, space=space, optimizer=lethe.Grid()), slots=1)
    assert list(result.trials["state"]) == ["finished", "failed"] * 4
    assert list(result.trials["attempts"]) == [1] * 8
    assert result.trials["value"].nunique() == 4, "another process has taken its place"


def test_every_report_arrives() -> None:
    def train(reporter: Any) -> None:
        for step in range(100_000):
            reporter.broadcast(step * 0.5, step)

    result = run(train, None, lethe.Single(), slots=1)
    assert result.trials["epochs"][0] == 100_000
    found = result.sql("select count(*) as n, sum(value) as total, max(epoch) as last from metrics")
    assert found.iloc[0].tolist() == [100_000, 0.5 * 99_999 * 100_000 / 2, 100_000]


def test_reports_that_make_no_sense_are_errors_of_the_function() -> None:
    cases: list[tuple[Any, str]] = [
        (
            lambda reporter: reporter.broadcast("fast", 1),
            "TypeError: the metric 'value' must be a number, not str",
        ),
        (
            lambda reporter: reporter.broadcast({"value": 1.0, "loss": 10**400}),
            "TypeError: the metric 'loss' must be a number, not int",
        ),
        (
            lambda reporter: reporter.broadcast(1.0, -1),
            "reporter.broadcast: step must be a whole",
        ),
        (
            lambda reporter: reporter.broadcast({"a": 1.0}),
            "metric 'value' is not among a",
        ),
        (lambda reporter: [reporter.broadcast(1.0, 5), reporter.broadcast(1.0, 5)], "steps must rise"),
        (lambda reporter: None, "has returned nothing and reported nothing"),
        (lambda checkpoint: checkpoint.save({"a": [object()]}), r"state\['a'\]\[0\] is a object"),
    ]
    for train, text in cases:
        result = run(train, None, lethe.Single(), slots=1)
        assert list(result.trials["state"]) == ["failed"]
        assert re.search(text, result.trials["error"][0].splitlines()[0]), result.trials["error"][0]


def test_a_trial_is_stopped_at_its_next_report(dataset: lethe.Dataset) -> None:
    def train(hparams: dict[str, Any], reporter: Any) -> None:
        step = 0
        try:
            while True:
                reporter.broadcast(hparams["lr"], step)
                step += 1
                time.sleep(0.001)
        except lethe.TrialStopped:
            print("stopped after", step)
            raise

    result = run(train, None, search(2, seconds=2.0))
    assert set(result.trials["state"]) == {"stopped"}
    for trial in (0, 1):
        assert "stopped after" in Path(result.directory, "logs", f"trial-{trial}.log").read_text()


def test_random_numbers_follow_from_the_seed_alone(dataset: lethe.Dataset) -> None:
    def train(model: Any, hparams: dict[str, Any]) -> dict[str, float]:
        import random

        return {
            "accuracy": random.random(),
            "numpy": float(np.random.rand()),
            "torch": float(torch.rand(1)),
            "weight": float(next(model.parameters()).sum()),
        }

    function = lethe.Function(train, net)
    first = run(function, dataset, search(3), slots=1).history
    again = run(function, dataset, search(3), slots=2).history.sort_values("trial", ignore_index=True)
    assert first.equals(again)
    assert first["torch"].nunique() == 3


def test_the_generator_is_given_where_it_is_asked_for(dataset: lethe.Dataset) -> None:
    from collections.abc import Callable

    def train(model: Callable[[], Any], hparams: dict[str, Any]) -> float:
        one, other = model(), model()
        same = all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        return float(same and one is not other)

    assert list(run(lethe.Function(train, net), dataset, search(2)).trials["value"]) == [1.0, 1.0]


def test_the_environment_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_TEST_SECRET", "x")

    def train() -> float:
        assert "LETHE_TEST_SECRET" not in os.environ
        return float(os.environ["GIVEN"])

    result = run(lethe.Function(train, environment={"GIVEN": "4"}), None, lethe.Single())
    assert list(result.trials["value"]) == [4.0]


def test_batches_of_a_trial_are_the_native_loop_s(dataset: lethe.Dataset) -> None:
    seed = trial_seed(3, 0)

    def train(dataset: Any) -> dict[str, float]:
        batches = list(dataset.train.batches(100, epoch=2))
        frames = [batch["label"].tolist() for batch in dataset.train.to_dataloader(100)]
        weighted = sum((i + 1) * int(n) for i, n in enumerate(torch.cat([b["label"] for b in batches])))
        first = sum((i + 1) * n for i, n in enumerate(label for frame in frames for label in frame))
        return {"accuracy": float(weighted), "first": float(first), "test": float(dataset.has_validation)}

    result = run(train, dataset, search(1))

    def expected(epoch: int) -> float:
        labels = torch.cat([batch["label"] for batch in dataset.train.batches(100, seed=seed, epoch=epoch)])
        return float(sum((i + 1) * int(n) for i, n in enumerate(labels)))

    assert result.trials["value"][0] == expected(2)
    assert result.trials["first"][0] == expected(1)


def test_a_search_is_resumed_with_a_function(dataset: lethe.Dataset) -> None:
    for trials in (2, 4):
        result = run(fitting(), dataset, search(trials), name="again", resume=True)
    assert list(result.trials["state"]) == ["finished"] * 4
    with pytest.raises(lethe.ExperimentError, match="another plan"):
        run(lethe.Function(fit_without_saving, net, epochs=3), dataset, search(5), name="again", resume=True)


def test_a_function_starts_processes_and_none_outlives_its_trial(dataset: lethe.Dataset) -> None:
    def train(hparams: dict[str, Any]) -> dict[str, float]:
        import subprocess

        from torch.utils.data import DataLoader, TensorDataset

        rows = TensorDataset(torch.arange(20.0))
        total = sum(float(batch[0].sum()) for batch in DataLoader(rows, batch_size=5, num_workers=2))
        # It waits for ever, and so does this.
        started = subprocess.Popen(["sleep", "1000"])
        with Path(hparams["pids"]).open("a") as pids:
            pids.write(f"{started.pid}\n")
        if hparams["how"] == "hang":
            started.wait()
        return {"value": total}

    pids = str(Path("pids").absolute())
    space = lethe.SearchSpace(how=lethe.choice("end", "hang", "last"), pids=lethe.choice(pids))
    points = [{"how": how, "pids": pids} for how in ("end", "hang", "last")]
    what = lethe.Search(space, 3, "value", "max", enqueue=points, trial_seconds=3.0)
    result = run(train, None, what, slots=1)
    assert list(result.trials["state"]) == ["finished", "stopped", "finished"], list(result.trials["error"])
    assert list(result.trials["value"].fillna(-1)) == [190.0, -1.0, 190.0]
    children = [int(pid) for pid in Path(pids).read_text().split()]
    assert len(children) == 3
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)


def test_trials_leave_nothing_to_each_other() -> None:
    def train(hparams: dict[str, Any]) -> dict[str, float]:
        found = float(len(os.listdir()))
        Path("model.pt").write_text("x")
        Path("folder").mkdir()
        os.chdir("folder")
        with open("/dev/stdin") as stdin:
            return {"accuracy": found, "stdin": float(len(stdin.read()))}

    result = run(train, None, search(3), slots=1)
    assert list(result.trials["value"]) == [0.0] * 3
    assert list(result.trials["stdin"]) == [0.0] * 3


def test_what_is_no_text_is_no_end() -> None:
    def train(hparams: dict[str, Any], reporter: Any) -> float:
        import sys

        print("a file's name: \udcff")
        try:
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
        except TypeError:
            print("refused")
        raise OSError("no \udcfe" + "x" * 10_000_000)

    result = run(train, None, lethe.Single(), name="texts")
    assert list(result.trials["state"]) == ["failed"]
    assert list(result.trials["attempts"]) == [1]
    assert result.trials["error"][0].startswith("the training function raised OSError: no ?xxx")
    assert Path(result.directory, "logs", "trial-0.log").read_text() == "a file's name: ?\nrefused\n"


def test_the_best_moment_is_kept_over_a_pause(dataset: lethe.Dataset) -> None:
    def train(model: Any, reporter: Any, checkpoint: Any) -> None:
        saved = checkpoint.load() or {"step": 0}
        for step, value in list(enumerate([0.5, 0.9, 0.3, 0.2], 1))[saved["step"] :]:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(float(step))
            checkpoint.save({"step": step})
            reporter.broadcast(value, step)

    function = lethe.Function(train, net)
    space = lethe.SearchSpace(lr=lethe.uniform(0, 1))
    stopping = lethe.PBT(every=3, quantile=0.4, parameters=["lr"])
    what = search(2, space=space, stopping=stopping, select="best")
    result = run(function, dataset, what)
    assert result.sql("select count(*) as n from events where kind = 'pause'")["n"][0] > 0
    assert result.best is not None
    assert result.best.value == 0.9
    assert {float(parameter.max()) for parameter in result.best_model().parameters()} == {2.0}
