"""`search_<function>_<optimizer>`, `suggest_<optimizer>_ms`: suggestions' quality and time, beside Optuna's.

The value is the regret, best found minus known minimum: the median of 10 seeds after 60 evaluations, one
after the other. The functions are defined twice, alike: in `driver/examples/search_quality.rs` and in
`peers/optuna_search.py`. A suggestion's time is the median of the last one's, on Hartmann's function; with
10,000 trials it is that of five.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peer
from benchmarks.figure import Figure, alone, compared

SEEDS, EVALUATIONS = 10, 60
FUNCTIONS = ("branin", "hartmann6", "ackley5", "mixed")
#: Ours, Optuna's of the same kind, the milliseconds that a suggestion may take.
OPTIMIZERS = (("tpe", "tpe", 10), ("gp", "gp", 100), ("cmaes", "cmaes", 10))
ROOT = Path(__file__).parent.parent


def ours() -> list[dict[str, Any]]:
    # The same selection as the wheel's build, whose dependencies are then not compiled again.
    build = ["cargo", "build", "--release", "--workspace"]
    subprocess.run([*build, "--example", "search_quality"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release" / "examples" / "search_quality"
    done = subprocess.run([str(program)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def optuna(function: str, sampler: str) -> dict[str, list[float]]:
    given = {"function": function, "sampler": sampler, "seeds": SEEDS, "evaluations": EVALUATIONS}
    found: dict[str, list[float]] = peer.run("optuna_search.py", given)
    return found


def measure() -> list[Figure]:
    lines = ours()
    figures = []
    for name, sampler, milliseconds in OPTIMIZERS:
        for function in FUNCTIONS:
            (line,) = (one for one in lines if one.get("function") == function and one["optimizer"] == name)
            theirs = optuna(function, sampler)
            figures.append(
                compared(
                    f"search_{function}_{name}",
                    median(line["regrets"]),
                    "regret",
                    "optuna",
                    median(theirs["regrets"]),
                    "≤ optuna, or ≤ 0.001",
                )
            )
            if function == "hartmann6":
                figures.append(
                    compared(
                        f"suggest_{name}_ms",
                        median(line["suggest_ms"]),
                        "ms",
                        "optuna",
                        median(theirs["suggest_ms"]),
                        f"≤ {milliseconds} ms",
                    )
                )
        (many,) = (one for one in lines if one.get("observations") and one["optimizer"] == name)
        figures.append(alone(f"suggest_{name}_10000_ms", median(many["suggest_ms"]), "ms", "bounded"))
    for name in ("random", "sobol"):
        for function in FUNCTIONS:
            (line,) = (one for one in lines if one.get("function") == function and one["optimizer"] == name)
            figures.append(
                alone(f"search_{function}_{name}", median(line["regrets"]), "regret", "for comparison")
            )
    return figures
