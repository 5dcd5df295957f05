"""`trial_overhead_ms`, `slot_idle_p50_ms`, `slot_idle_p99_ms`: what a trial costs besides training.

2,000 random trials of 20 ms on two slots: a Rust training function that sleeps and reports five times. The
overhead is (wall × slots / trials − 20 ms), the wall from the first assignment to the last result.
"""

from __future__ import annotations

from statistics import median

import numpy as np

import lethe
from benchmarks import peer
from benchmarks.figure import Figure, alone, compared

TRIALS, SECONDS, REPORTS, SLOTS = 2000, 0.020, 5, 2
ROUNDS = 3


def overhead_ms(wall_s: float) -> float:
    return (wall_s * SLOTS / TRIALS - SECONDS) * 1e3


def measure() -> list[Figure]:
    ours, optuna, idle = [], [], []
    space = lethe.SearchSpace(
        x=lethe.uniform(0.0, 1.0), seconds=lethe.choice([SECONDS]), reports=lethe.choice([REPORTS])
    )
    search = lethe.Search(space, trials=TRIALS, metric="x", direction="max", seed=1)
    for _ in range(ROUNDS):
        result = lethe.lagom(
            lethe.Registered("lethe.sleep", epochs=REPORTS),
            None,
            search,
            spark=False,
            slots=SLOTS,
            quiet=True,
        )
        finished = (result.trials["state"] == "finished").sum()
        if finished != TRIALS:
            raise RuntimeError(f"{finished} of {TRIALS} trials finished")
        ours.append(overhead_ms(result.wall_s))
        idle.append(
            np.concatenate([np.asarray(times, dtype=float) for times in result.slots["idle_s"]]) * 1e3
        )
        given = {"trials": TRIALS, "seconds": SECONDS, "reports": REPORTS, "slots": SLOTS}
        optuna.append(overhead_ms(peer.run("optuna_sleep.py", given)["wall_s"]))
    return [
        compared("trial_overhead_ms", median(ours), "ms", "optuna", median(optuna), "≤ 2 ms"),
        alone("slot_idle_p50_ms", median(float(np.percentile(times, 50)) for times in idle), "ms", "≤ 2 ms"),
        alone("slot_idle_p99_ms", median(float(np.percentile(times, 99)) for times in idle), "ms", "≤ 10 ms"),
    ]
