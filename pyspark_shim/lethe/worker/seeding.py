"""Random numbers of a trial: those of `random`, NumPy, PyTorch and TensorFlow follow from its seed."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any


def _seed_keras(keras: Any, seed: int) -> None:
    with _kept():
        # It would seed the others too.
        keras.utils.set_random_seed(seed % 2**32)


def _clear_keras() -> None:
    """The numbers in its layers' names begin anew. Its dtype policy is that of the first trial's begin, which
    the function's modules have set: what a function sets is its trial's own."""
    global _policy, _began
    keras = _imported("keras", "utils")
    if keras is not None:
        # Keras 2 keeps its policy elsewhere, and does not clear it.
        config = getattr(keras, "config", None)
        if config is not None and not _began:
            policy = config.dtype_policy()
            # The default is left to follow `floatx`.
            _policy = None if policy.name == config.floatx() else policy
        with _kept():
            keras.utils.clear_session()
        if config is not None and _policy is not None:
            config.set_dtype_policy(_policy)
    _began = True


def _imported(name: str, attribute: str) -> Any:
    """The module; None where it is not, or is being imported."""
    module = sys.modules.get(name)
    return module if hasattr(module, attribute) else None


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """The random states of `random`, NumPy and PyTorch are after it what they were before."""
    numpy, torch = _imported("numpy", "random"), _imported("torch", "get_rng_state")
    python_state = random.getstate()
    numpy_state = None if numpy is None else numpy.random.get_state()
    torch_state = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        if torch is not None:
            torch.set_rng_state(torch_state)


_SEEDERS: dict[str, Callable[[Any, int], object]] = {
    "numpy": lambda numpy, seed: numpy.random.seed(seed % 2**32),
    "torch": lambda torch, seed: torch.manual_seed(seed),
    "tensorflow": lambda tensorflow, seed: tensorflow.random.set_seed(seed % 2**32),
    "keras": _seed_keras,
}
_seed = 0
#: Whether a trial has begun; Keras's dtype policy then, unless it was the default.
_began = False
_policy: Any = None


def seed_all(seed: int) -> None:
    """Begins a trial: seeds what is imported, and the rest when it is."""
    _clear_keras()
    _seed_imported(seed)


def _seed_imported(seed: int) -> None:
    global _seed
    _seed = seed
    random.seed(seed)
    for name, seeder in _SEEDERS.items():
        module = sys.modules.get(name)
        if module is not None:
            seeder(module, seed)


def of_rank(seed: int, rank: int) -> int:
    """The seed of one of a trial's workers: the first has the trial's own."""
    # Of SplitMix64: those of neighbours have nothing in common.
    return (seed + rank * 0x9E3779B97F4A7C15) % 2**63


def go_on(epoch: int) -> None:
    """Seeds all anew, for what comes after the epoch."""
    _seed_imported(of_rank(_seed, epoch << 32))


def watch_imports() -> None:
    """From now on these packages are seeded when they are imported: none is imported for that alone."""
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _SEEDERS:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The package's own loader, and then its seed."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        with _kept():
            self._own.exec_module(module)
        _SEEDERS[module.__name__](module, _seed)


@contextlib.contextmanager
def plainly_seeded(seed: int) -> Iterator[None]:
    """Seeds `random` and NumPy within, and restores their states after."""
    with _kept():
        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed % 2**32)
        yield


@contextlib.contextmanager
def late_imports() -> Iterator[None]:
    """What is imported within is seeded anew after: a worker's first trial finds the same as any other."""
    before = set(sys.modules)
    yield
    for name, seeder in _SEEDERS.items():
        if name in sys.modules and name not in before:
            seeder(sys.modules[name], _seed)
