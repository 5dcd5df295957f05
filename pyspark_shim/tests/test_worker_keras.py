"""Keras in a worker, with PyTorch's backend."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

import torch  # noqa: E402

from lethe.errors import LetheError  # noqa: E402
from lethe.worker import seeding  # noqa: E402
from lethe.worker.exchange import Attempt  # noqa: E402
from lethe.worker.gang.several import Several  # noqa: E402

SPEC = {"experiment": "e", "trial": 0, "attempt": 0, "gang": {"rank": 0, "world": 2}}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Before its first trial."""
    before = keras.config.dtype_policy()
    monkeypatch.setattr(seeding, "_began", False)
    monkeypatch.setattr(seeding, "_policy", None)
    yield
    keras.utils.clear_session()
    keras.config.set_dtype_policy(before)


def policy() -> str:
    return str(keras.config.dtype_policy().name)


def test_each_trial_has_the_dtype_policy_of_the_function_s_modules(worker: None) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    for seed in (1, 2):
        seeding.seed_all(seed)
        assert policy() == "mixed_bfloat16"
        assert keras.layers.Dense(2).name == "dense"
        # A trial's own, and what goes on from a checkpoint is the same trial.
        keras.config.set_dtype_policy("float16")
        seeding.go_on(3)
        assert policy() == "float16"
        assert keras.layers.Dense(2).name == "dense_1"


def test_a_policy_that_only_a_trial_has_set_ends_with_it(worker: None) -> None:
    seeding.seed_all(1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    seeding.seed_all(2)
    assert policy() == "float32"


def test_seeds_give_the_same_random_numbers(worker: None) -> None:
    drawn = []
    for go_on in (False, False, True, True):
        seeding.seed_all(5)
        if go_on:
            seeding.go_on(2)
        drawn.append([float(keras.random.uniform(())), float(torch.rand(()))])
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


def nested() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(2, 2), keras.layers.Dense(1))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends' models are no modules")
@pytest.mark.parametrize(
    ("make", "sharding", "said"),
    [
        (lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "full", "leave out sharding"),
        (lambda: keras.Sequential([keras.layers.Dense(1)]), "full", "leave out sharding"),
        (nested, "full", "leave out sharding"),
        (lambda: keras.Sequential([keras.layers.Dense(1)]), None, "begin it with keras.Input"),
    ],
)
def test_keras_models_that_would_train_apart_are_refused(make: Any, sharding: str | None, said: str) -> None:
    # Neither is asked before the workers have met.
    peer: Any = None
    attempt: Attempt = None  # type: ignore[assignment]
    with pytest.raises(LetheError, match=said):
        Several(peer, SPEC, attempt, sharding, None).parallel(make())
