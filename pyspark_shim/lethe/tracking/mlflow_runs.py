"""One experiment's runs on an MLflow server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from lethe.tracking.environment import Environment
from lethe.tracking.story import now
from lethe.tracking.tracker import About, Outcome, Refused, Report, Sink, Trial

if TYPE_CHECKING:
    from lethe.tracking.mlflow import MLflow

#: MLflow's limits of one request.
METRICS, PARAMS, KEY, VALUE, TAG = 900, 100, 250, 6000, 5000
#: Runs that a search answers at once.
FOUND = 1000
#: What a trial's end is to MLflow; the tag `lethe.state` tells "stopped" by a rule from "cancelled".
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "cancelled": "KILLED", "failed": "FAILED"}
#: Answers that another try would not change.
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")
#: From this status of HTTP on an error is the server's.
SERVERS = 500
#: Tries are the follower's: one that the client repeats for minutes would hold its thread.
LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # One line on stdout for each run that ends.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass
class _Run:
    """epochs, params: what is there. waiting: parameters that go with the next values. told: how it ended, as
    far as the server knows: state, attempts, epochs; tagged: the same, where only its tags say it yet."""

    id: str
    epochs: int
    params: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    tagged: tuple[str, int, int] | None = None
    told: tuple[str, int, int] | None = None


class Runs(Sink):
    """What is created may have been created by a call whose answer was lost, or by a run of the experiment
    before this one: runs are found again by their tags. Values travel with fixed times, so that the server
    knows those that it has."""

    def __init__(self, tracker: MLflow) -> None:
        self._tracker, self._environment = tracker, Environment(LIMITS)
        self._about: About | None = None
        self._client: Any = None
        self._experiment = ""
        self._parent: _Run | None = None
        self._runs: dict[int, _Run] = {}
        self._common: dict[str, str] = {}
        #: Of the parent, from a run before this one.
        self._former: dict[str, str] = {}
        #: Whose creation has been tried.
        self._unsure: set[int | None] = set()
        #: The parent has its end.
        self._over = False

    def begin(self, about: About, at: int) -> None:
        self._about = about
        self._environment.enter()
        from mlflow.tracking import MlflowClient
        from mlflow.tracking.context.registry import resolve_tags

        self._client = MlflowClient(tracking_uri=self._tracker.uri)
        # The user, the script, its commit.
        self._common = {**resolve_tags(), "lethe.experiment": about.name, "lethe.started": str(at)}
        with _refusals():
            self._experiment = self._experiment_id(self._tracker.experiment)
            mine = " and ".join(
                _tag(name, self._common[name]) for name in ("lethe.experiment", "lethe.started")
            )
            found = self._found(None, f"{mine} and {_tag('lethe.context', about.context)}")
            run = found or self._client.create_run(self._experiment, at, self._tags(about), about.name)
            if found is not None:
                self._client.update_run(run.info.run_id, status="RUNNING")
            if about.resumed:
                self._find_trials(run.info.run_id)
            parent = _Run(run.info.run_id, 0, dict(run.data.params))
            parent.waiting = _params({"seed": about.seed, **about.params}, parent.params)
            self._log(parent)
        self._former = dict(run.data.tags)
        self._parent, self._tracker.run_id = parent, parent.id

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def _tags(self, about: About) -> dict[str, str]:
        versions = {f"version.{name}": version for name, version in about.versions.items()}
        own = {"lethe.context": about.context, "lethe.directory": about.directory, **versions}
        return {**self._common, **own, **self._tracker.tags}

    def _found(self, trial: int | None, wanted: str) -> Any:
        """The run that fulfils this, where there may be one."""
        resumed = self._about is not None and self._about.resumed and trial is None
        if trial not in self._unsure and not resumed:
            self._unsure.add(trial)
            return None
        return next(iter(self._client.search_runs([self._experiment], wanted, max_results=1)), None)

    def _find_trials(self, parent: str) -> None:
        token, wanted = None, _tag("mlflow.parentRunId", parent)
        while True:
            page = self._client.search_runs([self._experiment], wanted, max_results=FOUND, page_token=token)
            for run in page:
                # The user may have nested runs of their own.
                if "lethe.trial" in run.data.tags:
                    self._runs[int(run.data.tags["lethe.trial"])] = self._of(run)
            if not (token := page.token):
                return

    def _of(self, run: Any) -> _Run:
        tags, name = run.data.tags, run.info.run_id
        if run.info.status in STATUS.values() and "lethe.state" in tags:
            told = (tags["lethe.state"], int(tags["lethe.attempts"]), int(tags["lethe.epochs"]))
            return _Run(name, told[2], dict(run.data.params), told=told)
        histories = [self._client.get_metric_history(name, key) for key in run.data.metrics]
        epochs = max((value.step for history in histories for value in history), default=0)
        return _Run(name, epochs, dict(run.data.params))

    def start(self, trial: Trial) -> int:
        about, parent = self._began()
        run = self._runs.get(trial.number)
        with _refusals():
            if run is None:
                tags = {
                    **self._common,
                    "mlflow.parentRunId": parent.id,
                    "lethe.trial": str(trial.number),
                    "lethe.seed": str(about.seed_of(trial.number)),
                    # One that has ended already takes no further request for these.
                    **(_end_tags(trial) if trial.state in STATUS else {}),
                }
                wanted = " and ".join(
                    _tag(name, tags[name]) for name in ("mlflow.parentRunId", "lethe.trial")
                )
                made = self._found(trial.number, wanted) or self._client.create_run(
                    self._experiment, trial.began, tags, about.name_of(trial.number)
                )
                run = self._runs[trial.number] = self._of(made)
                run.tagged = _told(trial) if trial.state in STATUS else None
                self._unsure.discard(trial.number)
            elif run.told is not None and trial.state not in STATUS:
                # It goes on: it was paused at an end that was not the last.
                self._client.update_run(run.id, status="RUNNING")
                run.told = None
            run.waiting = _params(trial.hparams, run.params)
            if trial.state not in STATUS:
                self._log(run)
        return run.epochs

    def report(self, trial: int, reports: Sequence[Report]) -> None:
        self._began()
        from mlflow.entities import Metric

        run = self._runs[trial]
        metrics = [
            [Metric(_key(name), value, report.at, report.epoch) for name, value in report.metrics.items()]
            for report in reports
        ]
        with _refusals():
            self._log(run, metrics=metrics)
        run.epochs = reports[-1].epoch

    def end(self, trial: Trial) -> None:
        self._began()
        run, told = self._runs[trial.number], _told(trial)
        if run.told == told:
            return
        with _refusals():
            self._log(run, tags={} if run.tagged == told else _end_tags(trial))
            self._client.set_terminated(run.id, STATUS[trial.state], trial.ended)
        run.told = told

    def finish(self, outcome: Outcome) -> None:
        _, parent = self._began()
        tags = {"lethe.state": outcome.state}
        if outcome.error is not None:
            tags["lethe.error"] = outcome.error
        best = None if outcome.best is None else self._runs.get(outcome.best)
        with _refusals():
            if best is not None:
                tags |= {"lethe.best_trial": str(outcome.best), "lethe.best_run": best.id}
                self._best(parent, outcome, f"trial {outcome.best} after epoch {best.epochs}", best.epochs)
            # Before the model, which may not be taken: the run is not to stay open for it.
            if not self._over:
                self._log(parent, tags=tags)
                self._client.set_terminated(parent.id, STATUS[outcome.state])
                self._over = True
        if best is not None:
            self._model(parent, outcome)

    def _best(self, parent: _Run, outcome: Outcome, which: str, epoch: int) -> None:
        """Its metrics, where they are not there from a run before."""
        from mlflow.entities import Metric

        if self._former.get("lethe.best") == which:
            return
        tags = {"lethe.best": which}
        metrics = [Metric(_key(name), value, now(), epoch) for name, value in outcome.metrics.items()]
        self._log(parent, metrics=[metrics], tags=tags)
        self._former = tags

    def _model(self, parent: _Run, outcome: Outcome) -> None:
        """The best one, where it is not there from a run before."""
        from lethe.tracking.mlflow_model import log

        uri = self._former.get("lethe.model")
        if uri is None and self._tracker.model and outcome.model is not None:
            refused = None
            try:
                uri = log(self._client, self._experiment, parent.id, outcome)
            except Exception as error:
                if _passes(error):
                    raise
                refused = str(error).strip()
            if uri is None:
                # Outside of the handler: it is this that the user is told, not what is below it.
                raise Refused(f"the best model was not logged: {refused}")
            self._former = {**self._former, "lethe.model": uri}
        if uri is not None:
            self._log(parent, tags={"lethe.model": uri})
        self._tracker.model_uri = uri

    def close(self) -> None:
        self._environment.leave()

    def _began(self) -> tuple[About, _Run]:
        if self._parent is None or self._about is None:
            raise Refused("there is no parent run")
        return self._about, self._parent

    def _log(
        self, run: _Run, *, metrics: Sequence[list[Any]] = (), tags: Mapping[str, str] | None = None
    ) -> None:
        """With the parameters that wait, in as few requests as MLflow's limits allow. metrics: by report;
        those of one travel together, so that a run has all of an epoch, or nothing."""
        from mlflow.entities import Param, RunTag

        waiting = [Param(name, value) for name, value in run.waiting.items()]
        params = [waiting[first : first + PARAMS] for first in range(0, len(waiting), PARAMS)]
        values: list[list[Any]] = []
        for report in metrics:
            if not values or len(values[-1]) + len(report) > METRICS:
                values.append([])
            values[-1] += report
        for some, those in zip_longest(params, values, fillvalue=()):
            self._client.log_batch(run.id, metrics=those, params=some)
        run.params, run.waiting = {**run.params, **run.waiting}, {}
        if tags:
            found = [RunTag(name, value[:TAG]) for name, value in tags.items()]
            self._client.log_batch(run.id, tags=found)


@contextmanager
def _refusals() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in REFUSALS:
            raise Refused(str(error)) from error
        raise


def _passes(error: Exception) -> bool:
    """Whether another try may do: of the server's errors, also of an upload, which are requests', those that
    no client's fault is. What the model itself raises stays."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.get_http_status_code() >= SERVERS)
    answer = getattr(error, "response", None)
    return isinstance(error, OSError) and (answer is None or answer.status_code >= SERVERS)


def _tag(name: str, value: str) -> str:
    return f"tags.`{name}` = '{value}'"


def _told(trial: Trial) -> tuple[str, int, int]:
    return (trial.state, trial.attempts, trial.epochs)


def _end_tags(trial: Trial) -> dict[str, str]:
    found = {
        "lethe.state": trial.state,
        "lethe.attempts": trial.attempts,
        "lethe.epochs": trial.epochs,
        "lethe.slot": trial.slot,
        "lethe.why": trial.why,
        "lethe.error": trial.error,
    }
    return {name: str(value)[:TAG] for name, value in found.items() if value is not None}


def _key(name: str) -> str:
    """What MLflow takes as a name."""
    return re.sub(r"[^\w.\-/ :]", "_", name)[:KEY]


def _params(values: Any, there: Any) -> dict[str, str]:
    """Those that are not there; they cannot be changed."""
    named = {_key(name): str(value)[:VALUE] for name, value in values.items()}
    return {name: value for name, value in named.items() if name not in there}
