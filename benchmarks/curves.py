"""`curves_<rule>`, `curves_slow_<rule>`: epochs spent until the best value found is within 1 % of the best
configuration's, median of 20 seeds, beside random search on the same 1,000 simulated learning curves
(`driver/examples/learning_curves.rs` says which, and where they are from)."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from benchmarks.example import built
from benchmarks.figure import Figure, alone, compared

RULES = {
    "asha": "ratio ≤ 0.33",
    "asha_stopping": "below random",
    "hyperband": "below random",
    "median": "below random",
}


def measure() -> list[Figure]:
    done = subprocess.run([str(built("learning_curves"))], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in map(json.loads, done.stdout.splitlines()):
        if "rule" in line:
            found[line["curves"], line["rule"]] = line
    figures = []
    for curves, prefix in (("independent", "curves"), ("slow", "curves_slow")):
        random = found[curves, "random"]["epochs"]
        figures.append(alone(f"{prefix}_random", random, "epochs", "the others' measure"))
        for rule, aim in RULES.items():
            line = found[curves, rule]
            if line["epochs"] is None:
                raise RuntimeError(f"{rule} missed the best of most {curves} curves: {line}")
            missed = f"; missed in {line['missed']} of {line['seeds']} seeds" if line["missed"] else ""
            figures.append(
                compared(f"{prefix}_{rule}", line["epochs"], "epochs", "random", random, aim + missed)
            )
    return figures
