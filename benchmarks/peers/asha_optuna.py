"""Optuna's SuccessiveHalvingPruner on the digits MLP: threads of one process share a study in memory
(processes with a journal file took longer); each trains with torch on one thread, presliced tensors and a
fused Adam. The learning rates are given."""

import json
import sys
import threading
import time
from typing import Any

import optuna
import torch
from torch_loops import accuracies, tensors

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Given(optuna.samplers.BaseSampler):
    """Learning rates by the trial's number."""

    def __init__(self, rates: list[float]) -> None:
        self._rates = rates

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> float:
        return self._rates[trial.number]


def run(trial: optuna.Trial, data: dict[str, torch.Tensor], given: dict[str, Any]) -> float | None:
    """The last accuracy; None if the trial was pruned."""
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    accuracy = 0.0
    for epoch, accuracy in enumerate(accuracies(data, given["batch"], lr, given["seed"] + trial.number), 1):
        trial.report(accuracy, epoch)
        if epoch == given["epochs"]:
            break
        if trial.should_prune():
            return None
    return accuracy


def worker(study: optuna.Study, data: dict[str, torch.Tensor], given: dict[str, Any], left: Any) -> None:
    """Runs trials while there are any in `left`."""
    for _ in left:
        trial = study.ask()
        accuracy = run(trial, data, given)
        if accuracy is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, accuracy)


def main() -> None:
    given = json.loads(sys.stdin.read())
    torch.set_num_threads(1)
    data = tensors(given)
    study = optuna.create_study(
        direction="maximize",
        sampler=Given(given["lr"]),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=given["reduction"]),
    )
    # Outside the time: the first steps of a process are slow.
    next(accuracies(data, given["batch"], 1e-3, 0))
    # One step of a range's iterator is atomic.
    left = iter(range(len(given["lr"])))
    workers = [
        threading.Thread(target=worker, args=(study, data, given, left)) for _ in range(given["slots"])
    ]
    begin = time.perf_counter()
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    wall = time.perf_counter() - begin
    trials = study.get_trials(deepcopy=False)
    epochs = sum(len(trial.intermediate_values) for trial in trials)
    best = max(trial.intermediate_values[max(trial.intermediate_values)] for trial in trials)
    print(json.dumps({"wall_s": wall, "epochs": epochs, "best": best, "trials": len(trials)}))


if __name__ == "__main__":
    main()
