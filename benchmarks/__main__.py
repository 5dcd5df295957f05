"""Runs all benchmarks, or those named: `python -m benchmarks overhead steps`."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile

from benchmarks.figure import Figure, table

ALL = ("overhead", "forty", "steps", "transport", "results", "broadcast")
#: Only where they are named.
OTHERS = (
    "allreduce",
    "asha",
    "curves",
    "data",
    "distributed",
    "feed",
    "first_step",
    "gpu",
    "ranks",
    "resident",
    "scheduler",
    "search",
    "spark_put",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ALL)} (the default), {', '.join(OTHERS)}")
    names = parser.parse_args().names or ALL
    for name in names:
        if name not in ALL + OTHERS:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(ALL + OTHERS)}")
    figures: list[Figure] = []
    here = os.getcwd()
    for name in names:
        measure = importlib.import_module(f"benchmarks.{name}").measure
        with tempfile.TemporaryDirectory() as folder:
            # Experiments leave their folders here.
            os.chdir(folder)
            try:
                found = measure()
            finally:
                os.chdir(here)
        for figure in found:
            print(figure.line(), flush=True)
            figures.append(figure)
    print()
    print(table(figures))


if __name__ == "__main__":
    main()
