"""`scheduler_*`: the driver's state machine, journal, random search and ASHA against simulated slots
(`driver/examples/scheduler.rs` says how): decisions a second, what they cost from 100 to 10,000 slots, memory
and journal by trial, and the share of the slots' time in which they wait."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.example import built
from benchmarks.figure import Figure, alone, compared

TRIALS = 200_000
MANY_TRIALS = 1_000_000
MANY_SLOTS = 10_000


def measure() -> list[Figure]:
    program = built("scheduler")
    figures = []
    for variant in ("pause", "stop"):
        few = run(program, 100, TRIALS, variant)
        middle = run(program, 1_000, TRIALS, variant)
        many = run(program, MANY_SLOTS, MANY_TRIALS, variant)
        # Processor time: what else the machine does is not the scheduler's cost.
        costs = {slots: found["us_per_decision"] for slots, found in ((100, few), (1_000, middle))}
        cost = run(program, MANY_SLOTS, TRIALS, variant)["us_per_decision"]
        name = f"scheduler_{variant}"
        figures += [
            alone(f"{name}_decisions_per_s", many["decisions_per_s"], "1/s", "≥ 200,000"),
            alone(f"{name}_decisions_per_cpu_s", many["decisions_per_cpu_s"], "1/s", "≥ 200,000"),
            compared(f"{name}_1000_slots", costs[1_000], "µs a decision", "100 slots", costs[100], "flat"),
            compared(f"{name}_10000_slots", cost, "µs a decision", "100 slots", costs[100], "flat"),
            alone(f"{name}_memory", many["resident_bytes_per_trial"], "bytes a trial", "small"),
            alone(f"{name}_journal", many["journal_bytes_per_trial"], "bytes a trial", "small"),
            alone(f"{name}_idle", many["idle_until_last_trial"] * 100, "% of slots' time", "< 0.1 %"),
        ]
    return figures


def run(program: Path, slots: int, trials: int, variant: str) -> dict[str, Any]:
    """A process of its own: its memory is that of this run."""
    command = [str(program), str(slots), str(trials), variant]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
