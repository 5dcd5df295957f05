"""A study's table as a file in its experiment's folder."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lethe.ablation.report import AblationTable, Effect
from lethe.errors import LetheError

ABLATION = "ablation.json"
#: Of the file; another one is refused.
FORMAT = 1


def save(table: AblationTable, path: Path) -> None:
    """As JSON, complete or not at all. What is not known is null.

    Raises OSError if it cannot be written.
    """
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"format": FORMAT, **_known(asdict(table))}, indent=1) + "\n")
    unfinished.replace(path)


def load(path: Path) -> AblationTable:
    """What `save` wrote.

    Raises LetheError if it is not.
    """
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError("of another format")
        base, components = _effect(found.pop("base")), tuple(map(_effect, found.pop("components")))
        return AblationTable(base=base, components=components, **found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LetheError(f"{path} is no saved table of an ablation study: {error}") from None


def _known(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _effect(found: dict[str, Any]) -> Effect:
    numbers = ("value", "difference", "low", "high")
    return Effect(**{**found, **{name: math.nan for name in numbers if found[name] is None}})
