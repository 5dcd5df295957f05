"""Which modules share one program without being scripted, and which must not."""

import collections
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn import functional

from lethe.experiment import prepare
from lethe.experiment.prepare import Preparer
from lethe.model import weights
from lethe.model.generator import Generator
from lethe.model.program import Programs, canonical, save_without_weights
from lethe.model.script import script
from lethe.model.structure import structure


class Net(nn.Module):
    """Attributes of all kinds that TorchScript compiles."""

    __constants__ = ("half",)
    factor: float

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.first = nn.Linear(8, given.get("width", 8), bias=given.get("bias", True))
        self.second = nn.Linear(8, 8)
        if given.get("tied"):
            self.second.weight = self.first.weight
        self.drop = nn.Dropout(given.get("p", 0.1))
        self.factor = given.get("factor", 0.0)
        self.half = given.get("half", 0.5)
        self.sizes = given.get("sizes", [1, 2])
        self.activation = given.get("activation", functional.relu)
        self.register_buffer("scale", torch.ones(8, dtype=given.get("dtype", torch.float32)))
        self.second.bias.requires_grad_(given.get("trained", True))
        if given.get("eval"):
            self.drop.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.second(self.drop(self.first(x))))
        return y * self.scale * self.half + self.factor + self.sizes[0]


KINDS: dict[str, Callable[[], nn.Module]] = {
    "attributes": Net,
    "tied": lambda: Net(tied=True),
    "convolution": lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten()),
    "recurrent": lambda: nn.LSTM(4, 5, num_layers=2, dropout=0.1, batch_first=True),
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16, activation=functional.gelu),
    "embedding": lambda: nn.Embedding(10, 3, padding_idx=1),
    "list": lambda: nn.Sequential(collections.OrderedDict(a=nn.Linear(2, 2), b=nn.Tanh())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_modules_of_one_structure_have_one_program_and_the_same_weights(kind: str) -> None:
    first, second = KINDS[kind](), KINDS[kind]()
    assert structure(first) is not None
    assert structure(first) == structure(second)
    assert hash(structure(first)) == hash(structure(second))
    own = {name: tensor.clone() for name, tensor in weights.named(second).items()}
    scripted = script(second)
    assert own.keys() == weights.named(scripted).keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in weights.named(scripted).items())
    forms = {canonical(save_without_weights(one)) for one in (script(first), scripted)}
    assert len(forms) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"width": 8, "bias": False},
        {"tied": True},
        {"p": 0.2},
        {"factor": -0.0},
        {"factor": 1.0},
        {"half": 0.25},
        {"sizes": [2, 1]},
        {"activation": torch.tanh},
        {"dtype": torch.float64},
        {"trained": False},
        {"eval": True},
    ],
)
def test_what_changes_the_program_changes_the_structure(given: dict[str, Any]) -> None:
    plain, other = Net(), Net(**given)
    assert structure(other) is not None
    assert structure(plain) != structure(other)
    assert canonical(save_without_weights(script(plain))) != canonical(save_without_weights(script(other)))


def test_numbers_of_other_types_are_other_structures() -> None:
    found = {structure(Net(half=half)) for half in (1, 1.0, True)}
    assert len(found) == 3


def test_a_class_that_was_changed_between_trials_is_another_structure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Scaled(nn.Module):
        __constants__ = ("factor",)
        factor = 2.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    before = structure(Scaled())
    assert before == structure(Scaled())
    monkeypatch.setattr(Scaled, "factor", 3.0)
    assert before != structure(Scaled())
    monkeypatch.undo()
    monkeypatch.setattr(Scaled, "forward", lambda self, x: x)
    assert before != structure(Scaled())


def test_a_constant_that_is_computed_counts_by_its_value() -> None:
    outside = [2.0]

    class Computed(nn.Module):
        __constants__ = ("factor",)

        @property
        def factor(self) -> float:
            return outside[0]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    before = structure(Computed())
    assert before is not None
    outside[0] = 3.0
    assert before != structure(Computed())


def with_attribute(value: Any) -> nn.Module:
    module = nn.Linear(2, 2)
    module.extra = value
    return module


class Rewritten(nn.Linear):
    def __prepare_scriptable__(self) -> nn.Module:
        return nn.Linear(3, 3)


@pytest.mark.parametrize(
    "module",
    [
        with_attribute(torch.ones(2)),
        with_attribute(object()),
        with_attribute([object()]),
        with_attribute(nn.Linear(1, 1).forward),
        nn.Sequential(Rewritten(2, 2)),
        nn.Sequential(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))),
    ],
    ids=["tensor", "object", "objects", "method", "rewritten", "traced"],
)
def test_what_cannot_be_judged_has_no_structure(module: nn.Module) -> None:
    assert structure(module) is None


def test_structures_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.model.program.STRUCTURES", 2)
    programs = Programs()
    for form in "abc":
        programs.remember(form, form * 2)
    assert [programs.known(form) for form in ("a", "c", None)] == [None, "cc", None]


class Peer:
    """Keeps what is put and called."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        self.initial: dict[int, dict[str, torch.Tensor]] = {}
        self.prepared: list[dict[str, Any]] = []

    def put(self, what: dict[str, Any], schema: pa.Schema, batches: Any) -> None:
        table = pa.Table.from_batches(list(batches), schema=schema)
        if what["type"] == "program":
            self.programs.append(what["hash"])
        else:
            self.initial[what["trial"]] = weights.read(table)

    def call(self, kind: str, message: dict[str, Any]) -> None:
        self.prepared.append(message["result"])


def test_equal_modules_are_scripted_once_and_keep_their_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted: list[nn.Module] = []

    def counted(module: nn.Module) -> Any:
        scripted.append(module)
        return script(module)

    def model(hparams: dict[str, Any]) -> nn.Module:
        return Net(p=hparams["p"], tied=True)

    monkeypatch.setattr(prepare, "script", counted)
    peer = Peer()
    preparer = Preparer(peer, "x", model, "cross_entropy", 8)  # type: ignore[arg-type]
    for trial, p in enumerate((0.1, 0.1, 0.2, 0.1, 0.2)):
        preparer.prepare(trial, seed=trial, hparams={"p": p, "lr": 0.1 * trial})
    assert len(scripted) == len(peer.programs) == 2
    hashes = [result["program"]["hash"] for result in peer.prepared]
    assert hashes == [peer.programs[place] for place in (0, 0, 1, 0, 1)]
    for trial, p in enumerate((0.1, 0.1, 0.2, 0.1, 0.2)):
        expected = weights.named(Generator(model)({"p": p}, 8, seed=trial))
        assert peer.initial[trial].keys() == expected.keys()
        assert all(torch.equal(peer.initial[trial][name], tensor) for name, tensor in expected.items())
