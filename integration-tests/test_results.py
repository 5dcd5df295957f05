"""What can be read of an experiment while it runs, at its end and later; its budgets; its Pareto front."""

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
import torch
from conftest import wait_for
from journals import count, events
from searches import mlp, search, training
from torch import nn

import lethe
from lethe.application.registry import application

pytestmark = pytest.mark.usefixtures("no_process_left")

DRIVER = Path(lethe.__file__).parent / "bin" / "lethe-driver"
RUNS = Path("lethe-runs")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def run(dataset: lethe.Dataset, what: lethe.Search, **options: Any) -> lethe.Result:
    changes = {name: options.pop(name) for name in ("model", "epochs", "batch_size") if name in options}
    given = {"spark": False, "quiet": True, "slots": 2, **options}
    return lethe.lagom(training(**changes), dataset, what, **given)


def asked(experiment: str, query: str) -> list[dict[str, Any]]:
    """The answer that any client of Flight gets who has the token."""
    owner = application(None)
    client = fl.connect(f"grpc+tcp://127.0.0.1:{owner.driver.port}")
    headers = [(b"authorization", f"Bearer {owner.token}".encode())]
    ticket = pa.py_buffer(
        b'{"type": "sql", "experiment": "%s", "query": "%s"}' % (experiment.encode(), query.encode())
    ).to_pybytes()
    reader = client.do_get(fl.Ticket(ticket), fl.FlightCallOptions(headers=headers))
    return list(reader.read_all().to_pylist())


def test_a_running_search_is_asked_over_flight(dataset: lethe.Dataset) -> None:
    seen: list[dict[str, Any]] = []
    enough = threading.Event()

    def generator(hparams: dict[str, Any], inputs: int) -> nn.Module:
        # The seventh trial is not there before the others have been looked at.
        if count(RUNS / "live", "prepared") >= 6:
            assert enough.wait(60)
        return mlp(hparams, inputs)

    def look() -> None:
        query = "select count(*) as n, max(value) as best from metrics where metric = 'accuracy'"
        wait_for(lambda: count(RUNS / "live", "ended") >= 2, 60)
        seen.extend(asked("live", query))
        seen.extend(asked("live", "select count(*) as trials from trials where state = 'finished'"))
        seen.extend(asked("live", "select count(*) as slots from slots"))
        enough.set()

    thread = threading.Thread(target=look)
    thread.start()
    result = run(dataset, search(8), model=generator, epochs=2, name="live")
    thread.join()
    reports, finished, slots = seen
    assert reports["n"] >= 4
    assert reports["best"] <= result.history["accuracy"].max()
    assert 2 <= finished["trials"] <= 6, "before the end"
    assert slots["slots"] == 2
    assert asked("live", "select count(*) as n from metrics where metric = 'accuracy'") == [{"n": 16}]


def test_the_tables_are_not_open_to_whoever_has_no_token(dataset: lethe.Dataset) -> None:
    run(dataset, search(1), epochs=1, name="closed")
    client = fl.connect(f"grpc+tcp://127.0.0.1:{application(None).driver.port}")
    ticket = fl.Ticket(b'{"type": "sql", "experiment": "closed", "query": "select 1"}')
    for headers in ([], [(b"authorization", b"Bearer " + b"0" * 64)]):
        with pytest.raises(fl.FlightUnauthenticatedError):
            client.do_get(ticket, fl.FlightCallOptions(headers=headers)).read_all()


def test_the_tables_agree_with_the_result_and_outlive_the_driver(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(6, stopping=lethe.ASHA(reduction=3)), epochs=9, name="later")
    query = (
        "select trial, max(value) as best from metrics where metric = 'accuracy' "
        "group by trial order by trial"
    )
    live = result.sql(query)
    assert live["best"].tolist() == result.history.groupby("trial")["accuracy"].max().tolist()
    states = result.sql("select trial, state, value, lr from trials order by trial")
    assert states["state"].tolist() == result.trials["state"].tolist()
    assert states["value"].tolist() == result.trials["value"].tolist()
    assert states["lr"].tolist() == result.trials["lr"].tolist()
    lethe.shutdown()
    for after in (result.sql(query), lethe.open("later").sql(query), lethe.open(RUNS / "later").sql(query)):
        assert after.equals(live)
    assert lethe.open("later").events["kind"].iloc[-1] == "over"
    _plots(result, lethe.open("later"))


def _plots(result: lethe.Result, opened: lethe.Opened) -> None:
    """Of a search with promotions, whose driver has gone."""
    best = result.best
    assert best is not None
    for one in (result, opened):
        title = one.plot.history().get_suptitle()
        assert title == f"later: best accuracy {best.value:.4g} (trial {best.trial})"
    legend = [text.get_text() for text in opened.plot.curves().axes[0].get_legend().get_texts()]
    assert legend[-1] == f"best (trial {best.trial})"
    scales = {axes.get_label(): axes.get_yscale() for axes in opened.plot.parallel().axes[1:]}
    assert scales == {"lr": "log", "width": "linear", "dropout": "linear", "accuracy": "linear"}
    slots = opened.plot.slots()
    attempts = result.trials["attempts"].sum()
    assert slots.get_suptitle() == f"later: {attempts} attempts on 2 slots"
    shares = [text.get_text().split() for text in slots.axes[0].get_legend().get_texts()]
    kinds = {kind: float(share.rstrip("%")) for kind, share in shares[1:]}
    assert result.training_share is not None
    assert kinds["training"] == pytest.approx(100 * result.training_share, abs=1)
    assert sum(kinds.values()) == pytest.approx(100, abs=0.3)
    for figure in (opened.plot.curves(), opened.plot.parallel(), slots):
        figure.savefig("figure.png")


STATEMENTS = [
    "drop table trials",
    "create table mine as select 1",
    "insert into trials select * from trials",
    "delete from metrics",
    "update trials set value = 1",
    "copy trials to 'stolen.parquet'",
    "create external table passwords stored as csv location '/etc/passwd'",
    "set datafusion.execution.batch_size = 1",
    "select 1; select 2",
]


def test_only_a_select_is_answered(dataset: lethe.Dataset, tmp_path: Path) -> None:
    result = run(dataset, search(1), epochs=1, name="asked")
    for tables in (result, lethe.open("asked")):
        for statement in STATEMENTS:
            with pytest.raises(lethe.LetheError, match=r"^sql: "):
                tables.sql(statement)
        assert tables.sql("select count(*) as n from trials")["n"].tolist() == [1], "all is as it was"
    assert not list(tmp_path.rglob("stolen*"))


def test_a_budget_of_seconds_ends_the_search(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(None, seconds=4.0), epochs=100000, name="seconds")  # type: ignore[arg-type]
    assert not result.interrupted
    assert 3.9 < result.wall_s < 15
    assert "stopped" in set(result.trials["state"])
    assert count(RUNS / "seconds", "time_up") == 1


def test_a_budget_of_epochs_is_not_exceeded(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(None, epochs=20), epochs=6, name="epochs")  # type: ignore[arg-type]
    assert not result.interrupted
    assert result.trials["epochs"].sum() == 20
    assert len(result.history) == result.trials["epochs"].sum()


def test_a_target_ends_the_search(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(200, target=0.9), epochs=20, name="target")
    assert not result.interrupted
    assert result.history["accuracy"].max() >= 0.9
    assert len(result.trials) < 50
    reached = next(
        e for e in events(RUNS / "target") if e["type"] == "report" and e["metrics"]["accuracy"] >= 0.9
    )
    own = result.history[result.history["trial"] == reached["trial"]]
    assert reached["metrics"]["accuracy"] in set(own["accuracy"])


def test_a_trial_s_time_ends_it_alone(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(epochs=lethe.choice(1, 10_000_000), lr=lethe.loguniform(1e-3, 1e-2))
    what = search(
        4,
        space=space,
        trial_seconds=5,
        enqueue=[{"epochs": e, "lr": 1e-3} for e in (10_000_000, 1, 1, 10_000_000)],
    )
    result = run(dataset, what, name="trial-time")
    assert result.trials["state"].tolist() == ["stopped", "finished", "finished", "stopped"]
    assert (result.trials["epochs"] >= 1).all()
    assert count(RUNS / "trial-time", "trial_time_up") == 2


class Raises(nn.Module):
    """Its forward raises where it is told to."""

    broken: bool

    def __init__(self, hparams: dict[str, Any], inputs: int) -> None:
        super().__init__()
        self.broken = hparams["broken"]
        self.layer = nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.broken:
            raise ValueError("broken on purpose")
        return self.layer(x)


def test_an_exception_is_retried_as_often_as_asked(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(
        broken=lethe.choice(False, True), lr=lethe.choice(1e-3, 1e30), optimizer=lethe.choice("sgd")
    )
    given = [{"broken": broken, "lr": lr} for broken, lr in ((False, 1e-3), (True, 1e-3), (False, 1e30))]
    what = search(3, space=space, enqueue=given, retry_exceptions=2)
    result = run(dataset, what, model=Raises, name="retried")
    assert result.trials["state"].tolist() == ["finished", "failed", "failed"]
    assert "broken on purpose" in result.trials["error"][1]
    assert "NaN" in result.trials["error"][2]
    assert result.trials["attempts"].tolist() == [1, 3, 1], "a loss that is NaN would be so again"
    once = run(dataset, search(2, space=space, enqueue=given), model=Raises, name="once")
    assert once.trials["attempts"].tolist() == [1, 1]


def test_the_front_of_two_metrics_is_what_no_other_trial_beats(dataset: lethe.Dataset) -> None:
    two: dict[str, Any] = {"metric": ["accuracy", "train_loss"], "direction": ["max", "min"]}
    result = run(dataset, search(12, **two), name="front")
    rows = result.trials[["trial", "accuracy", "train_loss"]].to_dict("records")
    front = {
        row["trial"]
        for row in rows
        if not any(
            other["accuracy"] >= row["accuracy"]
            and other["train_loss"] <= row["train_loss"]
            and (other["accuracy"], other["train_loss"]) != (row["accuracy"], row["train_loss"])
            for other in rows
        )
    }
    assert {best.trial for best in result.pareto} == front
    values = [best.values["accuracy"] for best in result.pareto]
    assert values == sorted(values, reverse=True)


def replayed(folder: Path) -> str:
    done = subprocess.run([DRIVER, "replay", folder], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_replay_tells_each_decision_and_is_the_same_each_time(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(6, stopping=lethe.ASHA(reduction=3)), epochs=9, name="replayed")
    before = sorted((path, os.stat(path).st_mtime_ns) for path in (RUNS / "replayed").rglob("*"))
    first = replayed(RUNS / "replayed")
    assert first == replayed(RUNS / "replayed")
    assert sorted((path, os.stat(path).st_mtime_ns) for path in (RUNS / "replayed").rglob("*")) == before
    lines = first.splitlines()
    assert len(lines) == len(result.sql("select * from events"))
    assert sum(" suggested " in line for line in lines) == 6
    paused = [line for line in lines if " pause " in line]
    assert paused
    assert all("rung" in line or "of" in line.split("epoch")[-1] for line in paused), "each says why"
    assert sum(" trial_ended " in line for line in lines) >= 6
    assert lines[-1].split()[1:] == ["over", "completed"]
