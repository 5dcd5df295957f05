"""Several workers that train one model: `ranks` (rows per second of two), `first_step` (how soon they begin),
`allreduce`. Each runs alone under its own name too. BENCH_ROWS (of `ranks`) and BENCH_ROUNDS make quick
runs."""

from __future__ import annotations

from benchmarks import allreduce, first_step, ranks
from benchmarks.figure import Figure


def measure() -> list[Figure]:
    return [*ranks.measure(), *first_step.measure(), *allreduce.measure()]
