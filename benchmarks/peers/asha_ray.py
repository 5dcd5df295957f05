"""Ray Tune's ASHAScheduler on the digits MLP: reused actors of one core, one thread each, presliced tensors
in Ray's object store, a fused Adam. The learning rates are given."""

import json
import logging
import os
import sys
import tempfile
import time
from typing import Any

# Before Ray is loaded: neither reports nor result files are written at every epoch.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_DEDUP_LOGS="0",
    RAY_AIR_NEW_OUTPUT="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
)

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from torch_loops import accuracies, tensors

HERE = os.path.dirname(os.path.abspath(__file__))


class Clock(tune.Callback):
    """From the first trial's start to the last result; the epochs and last accuracy of each trial."""

    def __init__(self) -> None:
        self.begin = self.end = 0.0
        self.last: dict[str, tuple[int, float]] = {}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.begin = self.begin or time.perf_counter()

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        self.end = time.perf_counter()
        self.last[trial.trial_id] = (result["training_iteration"], result["accuracy"])


def train(config: dict[str, Any], data: dict[str, torch.Tensor], given: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    seed = given["seed"] + config["number"]
    for epoch, accuracy in enumerate(
        accuracies(data, given["batch"], given["lr"][config["number"]], seed), 1
    ):
        tune.report({"accuracy": accuracy})
        if epoch == given["epochs"]:
            break


def main() -> None:
    given = json.loads(sys.stdin.read())
    slots = given["slots"]
    ray.init(
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": HERE}},
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, data=tensors(given), given=given), {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(len(given["lr"]))))},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                scheduler=ASHAScheduler(
                    max_t=given["epochs"], grace_period=1, reduction_factor=given["reduction"]
                ),
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[clock]),
        )
        tuner.fit()
    ray.shutdown()
    epochs = sum(epoch for epoch, _ in clock.last.values())
    best = max(accuracy for _, accuracy in clock.last.values())
    wall = clock.end - clock.begin
    print(json.dumps({"wall_s": wall, "epochs": epochs, "best": best, "trials": len(clock.last)}))


if __name__ == "__main__":
    main()
