"""`lethe.MLflow`: a parent run for the experiment, a child run for each trial."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping

from lethe import checks
from lethe.errors import ConfigError, InstallError
from lethe.tracking.tracker import Sink, Tracker


class MLflow(Tracker):
    """Tracks experiments on an MLflow server.

    uri: its address, such as "http://mlflow:5000"; by default what MLFLOW_TRACKING_URI says. Whatever else
        MLflow takes is taken ("databricks", "sqlite:///…"), and its environment variables are honoured.
    experiment: MLflow's experiment, which is made where it is not there. Default: MLFLOW_EXPERIMENT_NAME, or
        "Default".
    tags: of the parent run.
    model: whether the best trial's model is logged, as `model` of the parent run.
    patience: seconds after an experiment's end that `lagom` waits at most while the server takes the rest.

    run_id, model_uri: of the last experiment that it tracked, None before: as in
    `mlflow.pytorch.load_model(track.model_uri)`.

    Raises InstallError where mlflow is not installed.
    """

    def __init__(
        self,
        uri: str | None = None,
        *,
        experiment: str | None = None,
        tags: Mapping[str, str] | None = None,
        model: bool = True,
        patience: float = 300.0,
    ) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise InstallError("lethe.MLflow: mlflow is not installed here; run: pip install mlflow-skinny")
        for what, given in (("uri", uri), ("experiment", experiment)):
            if given is not None and (not isinstance(given, str) or not given):
                raise ConfigError(f"MLflow: {what} must be a string, not {given!r}")
        for name, value in (tags or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ConfigError(f"MLflow: tags must be strings by name, not {name!r}: {value!r}")
        checks.above("MLflow: patience", patience)
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        if self.uri is None:
            raise ConfigError('MLflow: name the server: lethe.MLflow("http://…"), or set MLFLOW_TRACKING_URI')
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        self.tags, self.model, self.patience = dict(tags or {}), model, patience
        self.run_id: str | None = None
        self.model_uri: str | None = None

    @property
    def place(self) -> str:
        # Without what may be a password.
        return f"MLflow at {re.sub('//[^/@]*@', '//', str(self.uri))}"

    def sink(self) -> Sink:
        from lethe.tracking.mlflow_runs import Runs

        self.run_id = self.model_uri = None
        return Runs(self)
