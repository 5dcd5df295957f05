"""Experiments on MLflow's own server, in an environment of its own."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow.pytorch
import pandas as pd
import pyarrow as pa
import pytest
import torch
from conftest import wait_for
from journals import count
from mlflow.tracking import MlflowClient
from searches import mlp, search, training
from torch import nn

import lethe
from places.environments import environment
from places.pages import REPOSITORY

pytestmark = pytest.mark.usefixtures("no_process_left")

LOCAL: dict[str, Any] = {"spark": False, "slots": 2, "quiet": True}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
#: Seconds that a server has to start, on a machine that does other things too.
STARTS = 240


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def process(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """In a session of its own, so that all of it ends."""
    with open(folder / "server.log", "ab") as log:
        started = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **QUIET, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(10)


def wait_until_up(running: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    wait_for(lambda: running.poll() is not None or answers(url), STARTS)
    assert running.poll() is None and answers(url), (folder / "server.log").read_text()[-2000:]  # noqa: PT018


class Server:
    """MLflow's, with SQLite and artifacts in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._running = contextlib.ExitStack()
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        mlflow = environment("mlflow").parent / "mlflow"
        command = [str(mlflow), "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        where = ["--backend-store-uri", f"sqlite:///{self._folder}/runs.db"]
        where += ["--artifacts-destination", str(self._folder / "artifacts")]
        running = self._running.enter_context(process([*command, *where], self._folder))
        wait_until_up(running, f"{self.uri}/health", self._folder)

    def kill(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    return MlflowClient(server.uri)


def children(client: MlflowClient, track: lethe.MLflow) -> dict[int, Any]:
    """The trials' runs by number; each has one."""
    parent = client.get_run(track.run_id)
    wanted = f"tags.`mlflow.parentRunId` = '{track.run_id}'"
    found = client.search_runs([parent.info.experiment_id], wanted)
    trials = [(int(run.data.tags["lethe.trial"]), run) for run in found if "lethe.trial" in run.data.tags]
    assert len(dict(trials)) == len(trials)
    return dict(trials)


def check(client: MlflowClient, track: lethe.MLflow, result: lethe.Result) -> None:
    """Runs, states, hyperparameters and values are those of the result, each once."""
    runs, trials = children(client, track), result.trials.set_index("trial")
    status = {"finished": "FINISHED", "stopped": "KILLED", "cancelled": "KILLED", "failed": "FAILED"}
    assert {number: run.info.status for number, run in runs.items()} == trials["state"].map(status).to_dict()
    assert result.best is not None
    names = set(result.best.hparams)
    rows = []
    for number, run in sorted(runs.items()):
        assert run.data.tags["lethe.state"] == trials["state"][number]
        assert run.data.params == {name: str(trials[name][number]) for name in names}
        assert run.info.start_time <= run.info.end_time
        by_epoch: dict[int, dict[str, float]] = {}
        for name in run.data.metrics:
            for value in client.get_metric_history(run.info.run_id, name):
                assert name not in by_epoch.setdefault(value.step, {}), "once"
                by_epoch[value.step][name] = value.value
        rows += [{"trial": number, "epoch": epoch, **by_epoch[epoch]} for epoch in sorted(by_epoch)]
    history = result.history.sort_values(["trial", "epoch"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(rows)[history.columns], history, check_exact=True)


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def test_a_search_is_tracked_and_its_best_model_serves(
    dataset: lethe.Dataset, server: Server, client: MlflowClient, tmp_path: Path
) -> None:
    def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
        if hparams["width"] == 28:
            raise ValueError("this width is not wanted")
        return mlp(hparams, inputs)

    track = lethe.MLflow(server.uri, experiment="digits", tags={"team": "river"})
    what = search(12, stopping=lethe.ASHA(reduction=3))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="lethe:")
        result = lethe.lagom(training(model=model), dataset, what, track=track, **LOCAL)
    assert set(result.trials["state"]) == {"finished", "stopped", "failed"}
    check(client, track, result)
    runs, parent = children(client, track), client.get_run(track.run_id)
    assert set(runs[0].data.params) == {"lr", "width", "dropout"}
    failed = next(run for run in runs.values() if run.info.status == "FAILED")
    assert "this width is not wanted" in failed.data.tags["lethe.error"]
    assert client.get_experiment(parent.info.experiment_id).name == "digits"
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", result.name)
    assert result.best is not None
    assert parent.data.metrics == result.best.metrics
    told = {"seed": "3", "optimizer": "random", "stopping": "asha", "budget.trials": "12", "slots": "2"}
    assert told.items() <= parent.data.params.items()
    tags = {"team": "river", "version.lethe": lethe.__version__, "lethe.context": "search"}
    tags |= {
        "lethe.best_trial": str(result.best.trial),
        "lethe.best_run": runs[result.best.trial].info.run_id,
    }
    assert tags.items() <= parent.data.tags.items()

    features, _ = dataset.validation.to_torch()
    with torch.no_grad():
        expected = result.best_model()(features[:8])
        for uri in (track.model_uri, f"runs:/{track.run_id}/model"):
            assert torch.equal(mlflow.pytorch.load_model(uri)(features[:8]), expected)

    port, programs = free_port(), Path(sys.executable).parent
    command = [str(programs / "mlflow"), "models", "serve", "--model-uri", str(track.model_uri)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    with process(command, tmp_path, PATH=path) as serving:
        wait_until_up(serving, f"http://127.0.0.1:{port}/ping", tmp_path)
        body = json.dumps({"inputs": features[:8].tolist()}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = torch.tensor(json.load(answer)["predictions"])
    torch.testing.assert_close(found, expected)


def test_a_server_that_was_away_is_told_what_it_missed_and_the_search_goes_on(
    server: Server, client: MlflowClient, tmp_path: Path
) -> None:
    gone, back = tmp_path / "gone", tmp_path / "back"

    def fit(hparams: dict[str, Any], reporter: Any) -> None:
        number = 0
        while True:
            try:
                (tmp_path / str(number)).touch(exist_ok=False)
                break
            except FileExistsError:
                number += 1
        for step in range(5):
            reporter.broadcast({"value": hparams["x"] * step, "other": -hparams["x"]}, step)
            time.sleep(0.02)
        # One slot is held until the server is there again; on the other all but a few wait until it has gone.
        awaited = back if number == 0 else gone if number > 4 else None
        end = time.monotonic() + 300
        while awaited is not None and not awaited.exists() and time.monotonic() < end:
            time.sleep(0.05)

    away: list[int] = []

    def come_and_go() -> None:
        def ended() -> int:
            return count(Path("lethe-runs/away"), "ended")

        try:
            assert wait_for(lambda: ended() >= 4, 60)
            assert wait_for(lambda: len(client.search_experiments(filter_string="name = 'away'")) == 1, 60)
            server.kill()
            away.append(ended())
            gone.touch()
            assert wait_for(lambda: ended() >= 23, 60), "the other slot goes on meanwhile"
            away.append(ended())
            server.start()
        finally:
            gone.touch()
            back.touch()

    space = lethe.SearchSpace(x=lethe.uniform(0, 1))
    what = lethe.Search(space, trials=24, metric="value", direction="max", seed=1)
    track = lethe.MLflow(server.uri, experiment="away")
    outage = threading.Thread(target=come_and_go)
    outage.start()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="lethe:")
        result = lethe.lagom(fit, None, what, name="away", track=track, **LOCAL)
    outage.join()
    assert away == [4, 23], "the search has not waited"
    check(client, track, result)
    run = track.run_id
    tags = {"mlflow.parentRunId": str(run)}
    client.create_run(client.get_run(run).info.experiment_id, tags=tags, run_name="of the user's own")

    more = lethe.lagom(fit, None, replace(what, trials=26), name="away", resume=True, track=track, **LOCAL)
    assert track.run_id == run, "the parent run goes on"
    assert len(more.trials) == 26
    check(client, track, more)


@contextmanager
def proxy(server: Server, method: str, path: str, status: int) -> Iterator[str]:
    """In front of the server; such requests it answers itself. Its address."""
    where = server.uri.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == method and self.path.startswith(path):
                self.answer(status, "text/html", b"<html>no</html>")
                return
            with closing(http.client.HTTPConnection(where, timeout=60)) as connection:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                self.answer(answer.status, answer.getheader("Content-Type", ""), answer.read())

        do_POST = do_PUT = do_PATCH = do_GET

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        serving = threading.Thread(target=running.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/api/2.0/mlflow/logged-models", 404, id="MLflow 2"),
        pytest.param("PUT", "/api/2.0/mlflow-artifacts/", 413, id="a proxy that limits uploads"),
        pytest.param("PUT", "/api/2.0/mlflow-artifacts/", 503, id="a store that is down"),
    ],
)
def test_a_model_that_is_not_taken_keeps_no_run_open(
    dataset: lethe.Dataset, server: Server, client: MlflowClient, method: str, path: str, status: int
) -> None:
    with proxy(server, method, path, status) as uri:
        track = lethe.MLflow(uri, experiment="models")
        with pytest.warns(UserWarning, match=f"lethe: MLflow at {uri} did not take everything") as told:
            result = lethe.lagom(training(epochs=1), dataset, search(2), track=track, **LOCAL)
    (text,) = [str(one.message) for one in told if str(one.message).startswith("lethe:")]
    assert str(status) in text
    assert ("the best model was not logged" in text) == (status < 500)
    assert track.model_uri is None
    check(client, track, result)
    assert result.best is not None
    parent = client.get_run(track.run_id)
    assert (parent.info.status, parent.data.metrics) == ("FINISHED", result.best.metrics)
    assert parent.data.tags["lethe.best_trial"] == str(result.best.trial)
    assert parent.data.tags["lethe.state"] == "finished"


def test_the_page_runs_as_it_is_written(dataset: lethe.Dataset, server: Server, client: MlflowClient) -> None:
    page = (REPOSITORY / "docs" / "tracking.md").read_text().replace("http://mlflow:5000", server.uri)
    scope = {"lethe": lethe, "train": training(epochs=1), "digits": dataset, "search": search(2)}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    before = mlflow.get_tracking_uri()
    try:
        for block in blocks:
            exec(block, scope)
    finally:
        mlflow.set_tracking_uri(before)
    assert len(blocks) == 2
    accuracy = float(scope["right"].double().mean())
    assert accuracy == pytest.approx(scope["result"].best.metrics["accuracy"], abs=1e-6)
