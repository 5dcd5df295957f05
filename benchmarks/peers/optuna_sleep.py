"""Optuna on two processes with a journal file: random trials that sleep 20 ms and report five times."""

import json
import multiprocessing
import os
import sys
import tempfile
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
STUDY = "sleep"


def objective(trial: optuna.Trial, seconds: float, reports: int) -> float:
    x = trial.suggest_float("x", 0.0, 1.0)
    end = time.perf_counter()
    for step in range(reports):
        end += seconds / reports
        time.sleep(max(0.0, end - time.perf_counter()))
        trial.report(x, step)
        trial.should_prune()
    return x


def worker(
    path: str, trials: int, seconds: float, reports: int, seed: int, barrier: "multiprocessing.Barrier"
) -> None:
    study = optuna.load_study(
        study_name=STUDY,
        storage=JournalStorage(JournalFileBackend(path)),
        sampler=optuna.samplers.RandomSampler(seed=seed),
    )
    barrier.wait()
    study.optimize(lambda trial: objective(trial, seconds, reports), n_trials=trials)
    barrier.wait()


def main() -> None:
    given = json.loads(sys.stdin.read())
    slots = given["slots"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "journal.log")
        optuna.create_study(study_name=STUDY, storage=JournalStorage(JournalFileBackend(path)))
        barrier = multiprocessing.Barrier(slots + 1)
        each = given["trials"] // slots
        arguments = (path, each, given["seconds"], given["reports"])
        workers = [
            multiprocessing.Process(target=worker, args=(*arguments, seed, barrier)) for seed in range(slots)
        ]
        for process in workers:
            process.start()
        barrier.wait()
        begin = time.perf_counter()
        barrier.wait()
        wall = time.perf_counter() - begin
        for process in workers:
            process.join()
    print(json.dumps({"wall_s": wall}))


if __name__ == "__main__":
    main()
