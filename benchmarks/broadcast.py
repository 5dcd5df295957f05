"""`broadcast_per_s`: reports of a Python function in a second, from first to last; all of them arrive."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import lethe
from benchmarks.figure import Figure, alone

REPORTS, ROUNDS = 300_000, 3


def train(reporter: Any) -> dict[str, float]:
    begin = time.perf_counter()
    for step in range(REPORTS):
        reporter.broadcast(0.5, step)
    return {"value": 0.5, "per_s": REPORTS / (time.perf_counter() - begin)}


def measure() -> list[Figure]:
    rates = []
    for _ in range(ROUNDS):
        result = lethe.lagom(train, None, lethe.Single(), spark=False, slots=1, quiet=True)
        if result.trials["epochs"][0] != REPORTS + 1:
            raise RuntimeError(f"{result.trials['epochs'][0]} reports of {REPORTS + 1} arrived")
        rates.append(float(result.trials["per_s"][0]))
    return [alone("broadcast_per_s", median(rates), "reports/s", "≥ 100,000")]
