"""`results_query_ms`: a group-by over the reports of 10,000 trials × 100 epochs, asked over Flight while the
experiment runs, from the query to the answer's last row (`driver/examples/results_query.rs`)."""

from __future__ import annotations

import json
import subprocess

from benchmarks.example import built
from benchmarks.figure import Figure, alone


def measure() -> list[Figure]:
    run = subprocess.run([built("results_query")], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(run.stdout)
    return [alone("results_query_ms", found["results_query_ms"], "ms", "< 200 ms")]
