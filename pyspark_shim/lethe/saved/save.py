"""Writes a trained model to a folder or an object store."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lethe.errors import ModelError
from lethe.saved import manifest
from lethe.saved.program import state_dict
from lethe.saved.store import Store
from lethe.saved.training import Training, described
from lethe.session.find import active_session

if TYPE_CHECKING:
    from lethe.result.model import TrainedModel


def save(
    target: str | os.PathLike[str],
    trained: TrainedModel,
    training: Training,
    trial: dict[str, Any],
    *,
    task: str | None,
    overwrite: bool,
    store_options: Mapping[str, str] | None,
) -> str:
    """See `Result.save`. trial: its row of the message `ExperimentResult`."""
    session = active_session()
    store = Store(target, store_options, None if session is None else session.spark)
    signature = None if training.signature is None else training.signature.of_task(task)
    module = trained()
    files: dict[str, bytes] = {manifest.STATE: _state(module)}
    unscriptable = None
    try:
        files[manifest.PROGRAM] = _scripted(module)
    except ModelError as error:
        unscriptable = str(error).splitlines()[0]
        warnings.warn(
            f"lethe: the model was saved without TorchScript, its weights alone: {unscriptable}. Load it "
            "with its generator: lethe.load(…, model=make_model)",
            stacklevel=3,
        )
    files[manifest.EXPERIMENT] = described(
        training,
        signature,
        trial,
        trial_seed=trained.seed,
        inputs=trained.inputs,
        unscriptable=unscriptable,
    ).encode()
    if signature is not None:
        files[manifest.PREPROCESSING] = signature.preprocessing.text().encode()
        files[manifest.SCHEMA] = signature.columns.serialize().to_pybytes()
    manifest.write(store, files, overwrite=overwrite)
    return store.url


def _scripted(module: Any) -> bytes:
    from lethe.model.script import save as save_script
    from lethe.model.script import script

    content = io.BytesIO()
    save_script(script(module), content)
    return content.getvalue()


def _state(module: Any) -> bytes:
    """Its state dict, which a reader that unpickles nothing can have.

    Raises ModelError if there are other things than tensors in it.
    """
    import torch

    content = io.BytesIO()
    torch.save({name: _plain(value) for name, value in module.state_dict().items()}, content)
    found = content.getvalue()
    # Whatever a module's get_extra_state gives: better known now.
    state_dict(found)
    return found


def _plain(value: Any) -> Any:
    """Without what autograd and a view's storage would add."""
    import torch

    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
