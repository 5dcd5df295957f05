"""The user's code as text: what is compared when an experiment is resumed."""

from __future__ import annotations

import functools
import inspect
import textwrap
import tokenize
from typing import Any

from lethe.ablation.ablation import Ablation
from lethe.contexts import Listing
from lethe.function import Function
from lethe.search import Search
from lethe.supervised import Registered, Supervised

#: A part's text; what comes after is not compared.
CHARACTERS = 100_000


def code(train: Supervised | Registered | Function, experiment: Search | Listing) -> dict[str, str]:
    """By part: the model generator as `model`, a Python function as `train`, predicates as `constraint 1`,
    …"""
    found = {}
    if not isinstance(train, Registered) and train.model is not None:
        found["model"] = source(train.model)
    if isinstance(train, Function):
        found["train"] = source(train.train)
    if isinstance(experiment, Ablation):
        found.update({f"model {name}": source(model) for name, model in experiment.models.items()})
    constraints = experiment.space.constraints if isinstance(experiment, Search) else []
    predicates = [constraint.predicate for constraint in constraints if constraint.predicate]
    found.update({f"constraint {number}": source(rule) for number, rule in enumerate(predicates, 1)})
    return found


def source(function: Any) -> str:
    """Its source, or its qualified name where there is none (an interactive session, a compiled module)."""
    if isinstance(function, functools.partial):
        arguments = [repr(value) for value in function.args]
        arguments += [f"{name}={value!r}" for name, value in function.keywords.items()]
        return f"partial({', '.join(arguments)}) of\n{source(function.func)}"
    plain = inspect.isroutine(function) or inspect.isclass(function)
    try:
        # An object that is called like a function: its class.
        text = inspect.getsource(function if plain else type(function))
    # The last two: its file was changed meanwhile.
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        named = function if hasattr(function, "__qualname__") else type(function)
        text = f"{named.__module__}.{named.__qualname__}"
    return textwrap.dedent(text).strip()[:CHARACTERS]
