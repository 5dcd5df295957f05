"""Random points of a space, drawn by the driver's program: the same that a random search tries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from lethe import process
from lethe.errors import ConfigError, ProcessError

#: Points that predicates may refuse for each one that is wanted.
DRAWS = 1000
SECONDS = 60.0


def points(
    space: list[dict[str, Any]], constraints: list[str], *, seed: int, count: int
) -> list[dict[str, Any]]:
    """So many points that fulfil the constraints.

    Raises ConfigError if the space or a constraint cannot be used, or leaves too little; InstallError or
    ProcessError if the program cannot be run.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(f"sample: seed must be a whole number from 0, below 2**63, not {seed!r}")
    found, error = _ask(space, constraints, [], seed, count)
    if error is not None:
        raise ConfigError(f"SearchSpace: {error}")
    return found


def unfulfilled(
    space: list[dict[str, Any]], constraints: list[str], given: list[dict[str, Any]]
) -> tuple[int, str] | None:
    """The place of the first of these points that cannot be completed so that it fulfils the constraints, and
    why; None if all can.

    Raises InstallError or ProcessError if the program cannot be run.
    """
    found, error = _ask(space, constraints, given, 0, len(given))
    return None if error is None else (len(found), error)


def _ask(
    space: list[dict[str, Any]],
    constraints: list[str],
    enqueued: list[dict[str, Any]],
    seed: int,
    count: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """So many points, or those before the first that there is none for, with why."""
    question = {
        "space": space,
        "constraints": constraints,
        "enqueued": enqueued,
        "seed": seed,
        "count": count,
    }
    done = process.ask("lethe-driver", "sample", question, SECONDS)
    found: list[dict[str, Any]] = []
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        if "error" in answer:
            return found, str(answer["error"])
        found.append(answer["hparams"])
    if done.returncode != 0 or len(found) != count:
        raise ProcessError(
            f"lethe-driver sample gave {len(found)} of {count} points and ended with status "
            f"{done.returncode}: {process.said(done.stderr)}"
        )
    return found, None


def allowed(
    space: list[dict[str, Any]],
    constraints: list[str],
    refused: Callable[[dict[str, Any]], str | None],
    *,
    seed: int,
    count: int,
) -> list[dict[str, Any]]:
    """So many points that `refused` gives no reason against; points are drawn until there are enough.

    Raises ConfigError if there are not enough among `DRAWS` for each.
    """
    drawn, limit = count, max(1, count) * DRAWS
    while True:
        reasons: Counter[str] = Counter()
        found = []
        for point in points(space, constraints, seed=seed, count=drawn):
            reason = refused(point)
            if reason is None:
                found.append(point)
                if len(found) == count:
                    break
            else:
                reasons[reason] += 1
        if len(found) == count:
            return found
        if drawn >= limit:
            name, times = reasons.most_common(1)[0]
            raise ConfigError(
                f"sample: only {len(found)} of {drawn} random points are allowed; {name} refused {times}: "
                "relax it, or narrow the domains"
            )
        drawn = min(limit, drawn * 10)
