"""What trackers are told of real experiments: event files that TensorBoard reads, and trackers that fail."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import wait_for
from searches import mlp, search, training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import lethe
from lethe.tracking.tracker import About, Outcome, Report, Sink, Tracker, Trial

pytestmark = pytest.mark.usefixtures("no_process_left")

LOCAL: dict[str, Any] = {"spark": False, "slots": 2, "quiet": True}
POINTS = lethe.Search(
    lethe.SearchSpace(x=lethe.uniform(0, 1)), trials=6, metric="value", direction="max", seed=1
)


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def stepping() -> Any:
    """A function that its slots need no module of these tests for."""

    def steps(hparams: dict[str, Any], reporter: Any) -> None:
        for step in range(3):
            reporter.broadcast({"value": hparams["x"] * step, "other": -hparams["x"]}, step)

    return steps


def read(root: Path) -> pd.DataFrame:
    """The scalars of event files as a result's history, in float32."""
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for folder in sorted(root.glob("trial-*")):
        events = EventAccumulator(str(folder), {"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if not tag.startswith("_hparams_/"):
                found = events.Tensors(tag)
                assert len({event.step for event in found}) == len(found), "each epoch once"
                for event in found:
                    row = rows.setdefault((int(folder.name[6:]), event.step), {})
                    row[tag] = event.tensor_proto.float_val[0]
    index = pd.MultiIndex.from_tuples(list(rows), names=["trial", "epoch"])
    return pd.DataFrame(list(rows.values()), index=index).sort_index()


def same(found: pd.DataFrame, result: lethe.Result) -> None:
    history = result.history.set_index(["trial", "epoch"]).sort_index().astype(np.float32)
    pd.testing.assert_frame_equal(found[history.columns].astype(np.float32), history)


@contextmanager
def tensorboard(root: Path) -> Iterator[str]:
    """TensorBoard itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--port", str(port)]
    process = subprocess.Popen([*command, "--reload_interval", "1"], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/data/plugin/hparams"
    finally:
        process.terminate()
        process.wait(10)


def asked(url: str, message: dict[str, Any] | None = None) -> Any:
    body = None if message is None else json.dumps(message).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_tensorboard_shows_values_and_hyperparameters(dataset: lethe.Dataset, tmp_path: Path) -> None:
    def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
        if hparams["width"] == 28:
            raise ValueError("this width is not wanted")
        return mlp(hparams, inputs)

    what = search(12, stopping=lethe.ASHA(reduction=3))
    track = lethe.TensorBoard(tmp_path / "tb")
    result = lethe.lagom(training(model=model), dataset, what, name="shown", track=track, **LOCAL)
    states = result.trials.set_index("trial")["state"]
    assert {"finished", "stopped", "failed"} == set(states)
    same(read(tmp_path / "tb" / "shown"), result)

    with tensorboard(tmp_path / "tb") as url:
        wanted = {
            "startIndex": 0,
            "sliceSize": 100,
            "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        }
        groups: list[Any] = []

        def loaded() -> bool:
            try:
                groups[:] = asked(f"{url}/session_groups", wanted)["sessionGroups"]
            except (OSError, KeyError):
                return False
            return len(groups) == 12 and all("endTimeSecs" in group["sessions"][0] for group in groups)

        assert wait_for(loaded, 60)
        columns = asked(f"{url}/experiment", {"experimentName": "shown"})
    assert {info["name"] for info in columns["hparamInfos"]} == {"lr", "width", "dropout"}
    assert {info["name"]["tag"] for info in columns["metricInfos"]} == {"accuracy", "loss", "train_loss"}
    for group in groups:
        trial = int(group["sessions"][0]["name"].split("trial-")[1])
        row = result.trials.set_index("trial").loc[trial]
        assert {name: group["hparams"][name] for name in ("lr", "dropout")} == {
            name: pytest.approx(row[name]) for name in ("lr", "dropout")
        }
        failed = group["sessions"][0]["status"] == "STATUS_FAILURE"
        assert failed == (states[trial] == "failed")


def test_a_search_that_goes_on_writes_nothing_twice(tmp_path: Path) -> None:
    root = tmp_path / "tb"
    how = {"name": "more", "track": lethe.TensorBoard(root), **LOCAL}
    lethe.lagom(stepping(), None, POINTS, **how)
    written = {path: path.read_bytes() for path in root.rglob("events.*")}
    # What a killed process leaves.
    torn = sorted(root.rglob("events.*"))[0]
    torn.write_bytes(torn.read_bytes()[:-7])
    written.pop(torn)
    result = lethe.lagom(stepping(), None, replace(POINTS, trials=8), resume=True, **how)
    same(read(root / "more"), result)
    assert len(result.trials) == 8
    assert {path: path.read_bytes() for path in written} == written
    assert len(list(root.rglob("events.*"))) == len(written) + 1 + 3, "two trials more, one end again"


def test_an_epoch_that_is_repeated_is_told_once(tmp_path: Path) -> None:
    died = tmp_path / "died"

    def fit(hparams: dict[str, Any], reporter: Any) -> None:
        for step in range(6):
            reporter.broadcast(hparams["x"] * step, step)
            if step == 3 and not died.exists():
                wait_until_told(tmp_path / "told")
                died.touch()
                os.kill(os.getpid(), 9)

    def wait_until_told(told: Path) -> None:
        end = time.monotonic() + 60
        while not told.exists() and time.monotonic() < end:
            time.sleep(0.02)

    class Marking(Recording):
        def report(self, trial: int, reports: Sequence[Report]) -> None:
            super().report(trial, reports)
            (tmp_path / "told").touch()

    tracker = Own(Marking())
    result = lethe.lagom(
        fit, None, lethe.Single(hparams={"x": 0.5}), track=[tracker, lethe.TensorBoard("tb")], **LOCAL
    )
    assert result.trials["attempts"].tolist() == [2]
    assert tracker.one.epochs == {0: [1, 2, 3, 4, 5, 6]}
    same(read(Path("tb") / result.name), result)


class Recording(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.epochs: dict[int, list[int]] = {}
        self.ends: dict[int, str] = {}
        self.outcome: Outcome | None = None
        self.closed = threading.Event()

    def begin(self, about: About, at: int) -> None:
        self.about = about

    def start(self, trial: Trial) -> int:
        self.epochs.setdefault(trial.number, [])
        return 0

    def report(self, trial: int, reports: Sequence[Report]) -> None:
        self.epochs[trial] += [report.epoch for report in reports]

    def end(self, trial: Trial) -> None:
        assert trial.number not in self.ends
        self.ends[trial.number] = trial.state

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def close(self) -> None:
        self.closed.set()


class Own(Tracker):
    """A tracker of a user's own."""

    patience = 2.0

    def __init__(self, one: Recording) -> None:
        self.one = one

    @property
    def place(self) -> str:
        return "a tracker of my own"

    def sink(self) -> Sink:
        return self.one


class Failing(Recording):
    """Fails at each call, the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[Any] = set()

    def _fail(self, *what: Any) -> None:
        if what not in self.failed:
            self.failed.add(what)
            raise ConnectionError("it is not there")

    def begin(self, about: About, at: int) -> None:
        self._fail("begin")
        super().begin(about, at)

    def start(self, trial: Trial) -> int:
        self._fail("start", trial.number)
        return super().start(trial)

    def report(self, trial: int, reports: Sequence[Report]) -> None:
        self._fail("report", trial, reports[0].epoch)
        super().report(trial, reports)

    def finish(self, outcome: Outcome) -> None:
        self._fail("finish")
        super().finish(outcome)


def test_what_fails_is_told_again_and_everything_once() -> None:
    tracker = Own(Failing())
    tracker.patience = 60.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = lethe.lagom(stepping(), None, POINTS, track=tracker, **LOCAL)
    assert tracker.one.epochs == {trial: [1, 2, 3] for trial in range(6)}
    assert tracker.one.ends == dict.fromkeys(range(6), "finished")
    assert tracker.one.outcome is not None
    assert (tracker.one.outcome.state, tracker.one.outcome.best) == ("finished", result.best.trial)


def test_what_is_told_late_has_the_time_at_which_it_was_reported() -> None:
    def slow(hparams: dict[str, Any], reporter: Any) -> None:
        for step in range(3):
            reporter.broadcast(hparams["x"], step)
            time.sleep(0.4)

    class Late(Recording):
        def __init__(self) -> None:
            super().__init__()
            self.times: list[int] = []
            self.there = math.inf

        def report(self, trial: int, reports: Sequence[Report]) -> None:
            self.there = min(self.there, time.monotonic() + 2.5)
            if time.monotonic() < self.there:
                raise ConnectionError("it comes late")
            super().report(trial, reports)
            self.times += [report.at for report in reports]

        def end(self, trial: Trial) -> None:
            super().end(trial)
            self.times.append(trial.ended or 0)

    tracker = Own(Late())
    tracker.patience = 60.0
    result = lethe.lagom(slow, None, lethe.Single(hparams={"x": 0.5}), track=tracker, **LOCAL)
    assert tracker.one.epochs == {0: [1, 2, 3]}
    apart = np.diff(tracker.one.times)
    assert len(apart) == 3
    assert (apart > 200).all()
    told = result.sql('select cast("at" as bigint) as ms from metrics order by epoch')["ms"]
    assert told.tolist() == tracker.one.times[:3]


def test_one_that_hangs_neither_holds_the_search_nor_the_other() -> None:
    let_go = threading.Event()

    class Hanging(Recording):
        def report(self, trial: int, reports: Sequence[Report]) -> None:
            let_go.wait(60)

    hanging, other = Own(Hanging()), Own(Recording())
    with pytest.warns(
        UserWarning, match=r"a tracker of my own has no (\d of 6 trials and )?36 of 36 values"
    ) as told:
        result = lethe.lagom(stepping(), None, POINTS, track=[hanging, other], **LOCAL)
    assert len(told) == 1, "once"
    assert len(result.trials) == 6
    assert other.one.closed.is_set()
    assert other.one.epochs == {trial: [1, 2, 3] for trial in range(6)}
    let_go.set()
    assert hanging.one.closed.wait(10), "its thread ends"


@pytest.mark.parametrize("hangs", [False, True])
def test_a_server_that_is_not_there_costs_a_warning(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the user has set is honoured.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    before = dict(os.environ)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if not hangs:
            server.close()
        track = lethe.MLflow(f"http://user:secret@127.0.0.1:{port}", experiment="none")
        began = time.monotonic()
        with pytest.warns(UserWarning, match="^lethe: MLflow at ") as told:
            result = lethe.lagom(stepping(), None, POINTS, name=f"alone-{hangs}", track=track, **LOCAL)
    assert time.monotonic() - began < 60, "MLflow's own tries take four minutes"
    (warning,) = (str(one.message) for one in told)
    assert warning.startswith(
        f"lethe: MLflow at http://127.0.0.1:{port} has no 6 of 6 trials and 36 of 36 values ("
    )
    assert warning.endswith(f'; lagom(…, name="alone-{hangs}", resume=True, track=…) tells the rest')
    assert len(result.trials) == 6
    assert wait_for(lambda: dict(os.environ) == before, 60), "its thread ends"


def test_what_was_interrupted_is_told_so() -> None:
    class Interrupting(Recording):
        def report(self, trial: int, reports: Sequence[Report]) -> None:
            if not self.epochs[trial] and trial == 0:
                os.kill(os.getpid(), signal.SIGINT)
            super().report(trial, reports)

    def slow(hparams: dict[str, Any], reporter: Any) -> None:
        for step in range(10_000):
            reporter.broadcast(hparams["x"], step)
            time.sleep(0.01)

    tracker = Own(Interrupting())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = lethe.lagom(slow, None, POINTS, track=tracker, **LOCAL)
    assert result.interrupted
    assert tracker.one.outcome is not None
    assert tracker.one.outcome.state == "stopped"
    history = result.history.groupby("trial")["epoch"].apply(list).to_dict()
    assert tracker.one.epochs == history
    assert tracker.one.ends == result.trials.set_index("trial")["state"].loc[list(history)].to_dict()


def test_an_experiment_that_never_began_has_nothing_to_tell() -> None:
    tracker = Own(Recording())
    lethe.lagom(stepping(), None, POINTS, name="taken", directory="one", **LOCAL)
    how = {"name": "taken", "directory": "other", "track": tracker, **LOCAL}
    with (
        warnings.catch_warnings(record=True) as told,
        pytest.raises(lethe.ExperimentError, match="taken ran"),
    ):
        lethe.lagom(stepping(), None, POINTS, **how)
    assert not told
    assert tracker.one.outcome is None


def test_a_failed_experiment_is_told_so(dataset: lethe.Dataset) -> None:
    class Optimizer(lethe.Optimizer):
        def ask(self, trial: int) -> dict[str, Any] | None:
            if trial < 2:
                return {"x": 0.5}
            raise RuntimeError("it broke")

    tracker = Own(Recording())
    what = replace(POINTS, optimizer=Optimizer())
    with pytest.raises(lethe.ExperimentError):
        lethe.lagom(stepping(), None, what, track=tracker, **LOCAL)
    assert tracker.one.outcome is not None
    assert tracker.one.outcome.state == "failed"
    assert "it broke" in str(tracker.one.outcome.error)
