"""The best model on an MLflow server, in the flavour of PyTorch."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.errors import ModelError
from lethe.tracking.tracker import Outcome

if TYPE_CHECKING:
    from torch import nn

#: The model's name, beside its run.
NAME = "model"


def log(client: Any, experiment: str, run: str, outcome: Outcome) -> str:
    """Logs it as the run's model, and returns its address.

    As TorchScript, which loads without the user's code; a module that cannot be scripted is pickled.
    """
    import mlflow.pytorch
    import torch
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    assert outcome.model is not None
    module = outcome.model()
    logged = client.create_logged_model(experiment, name=NAME, source_run_id=run)
    with tempfile.TemporaryDirectory(prefix="lethe-mlflow-") as folder:
        path = str(Path(folder) / NAME)
        logger = logging.getLogger("mlflow.pytorch")
        level = logger.level
        # It warns of pickle, which TorchScript is not.
        logger.setLevel(logging.ERROR)
        try:
            mlflow.pytorch.save_model(
                _scripted(module),
                path,
                mlflow_model=Model(
                    artifact_path=logged.artifact_location, run_id=run, model_id=logged.model_id
                ),
                signature=_signature(module, outcome.sections),
                pip_requirements=[f"torch=={str(torch.__version__).partition('+')[0]}"],
                extra_files=list(outcome.files) or None,
                serialization_format="pickle",
            )
        finally:
            logger.setLevel(level)
        client.log_model_artifacts(logged.model_id, path)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, 0)])
    return f"models:/{logged.model_id}"


def _scripted(module: nn.Module) -> Any:
    from lethe.model.script import script

    try:
        return script(module)
    except ModelError:
        return module


def _signature(module: nn.Module, sections: Any) -> Any:
    """Of a model with one input: its shape and dtype, and those of what it answers. None of one with several,
    which MLflow's scoring server cannot call."""
    if not sections or len(sections) != 1:
        return None
    import numpy as np
    import torch
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import Schema, TensorSpec

    dtype, shape = np.dtype(sections[0]["dtype"]), tuple(int(size) for size in sections[0]["shape"])
    given = Schema([TensorSpec(dtype, (-1, *shape))])
    try:
        with torch.no_grad():
            answer = module(torch.from_numpy(np.zeros((2, *shape), dtype)))
        answered = infer_signature(np.zeros((2, *shape), dtype), answer.numpy()).outputs
    except Exception:
        # It may want rows of another kind than zeros.
        return ModelSignature(inputs=given)
    return ModelSignature(inputs=given, outputs=answered)
