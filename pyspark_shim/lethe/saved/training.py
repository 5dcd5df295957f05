"""What is known of a model's training, as `experiment.json` has it."""

from __future__ import annotations

import datetime
import json
import sys
from dataclasses import dataclass
from typing import Any

from lethe.errors import ModelError
from lethe.saved.signature import Signature
from lethe.version import installed

FORMAT = 1


@dataclass(frozen=True)
class Training:
    """Of an experiment that has ended. context: its class, in small letters. plan: its message `Plan`.
    signature: of its best model; None if it was trained without a dataset."""

    context: str
    plan: dict[str, Any]
    signature: Signature | None

    def searched(self) -> dict[str, Any]:
        """How the hyperparameters came about. Of listed trials only how many there were."""
        source = dict(self.plan["source"])
        if "trials" in source and isinstance(source["trials"], list):
            source["trials"] = len(source["trials"])
        source.pop("enqueued", None)
        function = {name: value for name, value in self.plan["function"].items() if value is not None}
        return {
            "context": self.context,
            "source": source,
            "objective": self.plan["objective"],
            "function": function,
        }


def described(
    training: Training,
    signature: Signature | None,
    trial: dict[str, Any],
    *,
    trial_seed: int,
    inputs: Any,
    unscriptable: str | None,
) -> str:
    """The text of `experiment.json`. trial: its row of the message `ExperimentResult`. inputs: as its model
    generator was told them."""
    message = {
        "format": FORMAT,
        "name": training.plan["experiment"],
        "saved": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "trial": trial["trial"],
        "hparams": trial["hparams"],
        "value": trial["value"],
        "metrics": trial["metrics"],
        "epochs": trial["epochs"],
        "seed": training.plan["seed"],
        "trial_seed": trial_seed,
        "inputs": inputs,
        "predicts": None if signature is None else signature.message(),
        "unscriptable": unscriptable,
        "searched": training.searched(),
        "versions": {
            **{name: installed(name) for name in ("lethe", "torch", "pyarrow")},
            "python": ".".join(map(str, sys.version_info[:3])),
        },
    }
    return json.dumps(message, ensure_ascii=False, indent=1) + "\n"


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """What `described` gave.

    Raises ModelError if it is not.
    """
    try:
        found: dict[str, Any] = json.loads(content)
        if found["format"] != FORMAT:
            raise ValueError(f"of the format {found['format']!r}, and this Lethe reads {FORMAT}")
        for name, kind in _KINDS.items():
            if not isinstance(found[name], kind):
                raise ValueError(f"{name} is {type(found[name]).__name__}")
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{where} is no model's description: {error}") from None


_KINDS: dict[str, Any] = {
    "name": str,
    "hparams": dict,
    "metrics": dict,
    "trial_seed": int,
    "inputs": (int, list, dict),
    "predicts": (dict, type(None)),
    "unscriptable": (str, type(None)),
    "searched": dict,
    "versions": dict,
}
