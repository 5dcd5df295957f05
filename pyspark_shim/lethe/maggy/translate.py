"""What of Lethe's a configuration of Maggy's becomes. Nothing runs here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lethe.contexts import Distributed, Single
from lethe.errors import ConfigError
from lethe.function import MIRRORED, Function
from lethe.maggy.config import (
    METRIC,
    AblationConfig,
    HyperparameterOptConfig,
    LagomConfig,
    TfDistributedConfig,
    TorchDistributedConfig,
)
from lethe.maggy.function import adapted
from lethe.maggy.search import search
from lethe.maggy.study import ablation
from lethe.maggy.translation import Translation, call_of, ignored_of, placed_of

#: What a hyperparameter can be in a list of trials.
PLAIN = (bool, int, float, str, type(None))


def translate(train_fn: Callable[..., Any], config: LagomConfig) -> Translation:
    """Raises ConfigError for what cannot be had, with what there is in its place."""
    if isinstance(config, HyperparameterOptConfig):
        return search(train_fn, config)
    if isinstance(config, AblationConfig):
        return ablation(train_fn, config)
    if isinstance(config, TorchDistributedConfig | TfDistributedConfig):
        return _distributed(train_fn, config)
    if isinstance(config, LagomConfig):
        function = Function(adapted(call_of(train_fn, config)))
        experiment = Single(metric=METRIC, direction="max")
        return Translation(function, placed_of(config), experiment, config.name, tuple(ignored_of(config)))
    raise ConfigError(
        "lagom: config must be a HyperparameterOptConfig, AblationConfig, TorchDistributedConfig, "
        f"TfDistributedConfig or BaseConfig, not {type(config).__name__}"
    )


def _distributed(
    train_fn: Callable[..., Any], config: TorchDistributedConfig | TfDistributedConfig
) -> Translation:
    if isinstance(config, TorchDistributedConfig) and (
        config.backend == "deepspeed" or config.deepspeed_config is not None
    ):
        raise ConfigError(
            "TorchDistributedConfig: there is no DeepSpeed; write the training function for plain PyTorch "
            '(loss.backward(), optimizer.step()) and take backend="torch", without deepspeed_config'
        )
    ignored = ignored_of(config)
    if config.workers is None:
        ignored.append("workers: it runs on one; name another number, or say with workers=1 that you know")
    if config.mixed_precision:
        ignored.append("mixed_precision: use torch.autocast, or Keras's policy, in the function")
    sharding = "full" if getattr(config, "zero_lvl", 0) and config.workers not in (None, 1) else None
    if getattr(config, "zero_lvl", 0) and sharding is None:
        ignored.append("zero_lvl: one worker has nothing to share out")
    hparams = dict(config.hparams or {})
    plain = {name: one for name, one in hparams.items() if isinstance(one, PLAIN)}
    extra = {name: one for name, one in hparams.items() if name not in plain}
    changes: dict[str, Any] = (
        {} if isinstance(config, TorchDistributedConfig) else {"process": config.process_data}
    )
    call = call_of(train_fn, config, further=tuple(hparams), extra=extra, **changes)
    experiment = Distributed(
        metric=METRIC, direction="max", hparams=plain, workers=1 if config.workers is None else config.workers
    )
    several = config.workers not in (None, 1)
    strategy = MIRRORED if several and isinstance(config, TfDistributedConfig) else None
    function = Function(adapted(call), sharding=sharding, strategy=strategy)
    return Translation(function, placed_of(config), experiment, config.name, tuple(ignored), extra)
