"""From generator to program and weights and back."""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from lethe.errors import ModelError
from lethe.model import weights
from lethe.model.generator import Generator
from lethe.model.inputs import Inputs, inputs_of
from lethe.model.program import Programs, canonical, save_without_weights
from lethe.model.schema import SCHEMA
from lethe.model.script import script


def mlp(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hparams["width"]), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hparams["width"], 10)
    )


def local(hparams: dict[str, Any]) -> nn.Module:
    """A class that is another one at each call, with tied weights and buffers."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8, bias=False)
            self.second = nn.Linear(8, 8, bias=False)
            self.second.weight = self.first.weight
            self.register_buffer("scale", torch.ones(8))
            self.register_buffer("hidden", torch.arange(3), persistent=False)
            self.drop_first = nn.Dropout(hparams.get("a", 0.0))
            self.drop_second = nn.Dropout(hparams.get("b", 0.0))
            self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop_second(self.second(self.drop_first(self.first(x)) * self.scale))

    return Net()


def test_the_generator_gets_what_it_asks_for_by_name() -> None:
    asked: list[Any] = []

    def swapped(inputs: int, hparams: dict[str, Any], extra: int = 3) -> nn.Module:
        asked.append((inputs, hparams, extra))
        return nn.Linear(inputs, 1)

    Generator(swapped)({"x": 1}, 5, seed=0)
    Generator(lambda hparams: nn.Linear(1, 1))({}, 5, seed=0)
    Generator(lambda: nn.Linear(1, 1))({}, 5, seed=0)
    assert asked == [(5, {"x": 1}, 3)]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"features": [64]}, 64),
        ({"image": [1, 8, 8]}, (1, 8, 8)),
        ({"word": []}, ()),
        ({"image": [1, 8, 8], "facts": [3]}, {"image": (1, 8, 8), "facts": 3}),
    ],
)
def test_a_generator_is_told_the_width_the_shape_or_those_of_each_input(
    shapes: dict[str, list[int]], expected: Inputs
) -> None:
    sections = [
        {"name": name, "dtype": "float32", "shape": shape, "offset": 0} for name, shape in shapes.items()
    ]
    assert inputs_of(sections) == expected


def test_an_unknown_argument_is_refused_before_any_trial() -> None:
    with pytest.raises(ModelError, match=r"asks for 'classes'; it can ask for hparams and inputs"):
        Generator(lambda hparams, classes: nn.Linear(1, 1))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ModelError, match=r"returned int; it must return an nn\.Module"):
        Generator(lambda: 3)({}, 1, seed=0)
    with pytest.raises(ModelError, match="the parameter weight of the model has no shape yet"):
        Generator(lambda: nn.LazyLinear(3))({}, 1, seed=0)


def test_the_user_s_random_state_is_kept_and_the_seed_decides() -> None:
    def drawing(inputs: int) -> nn.Module:
        random.random(), np.random.random()
        return nn.Linear(inputs, 4)

    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first, again, other = (Generator(drawing)({}, 3, seed=seed) for seed in (2**63 + 5, 2**63 + 5, 7))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index]
    assert torch.equal(first.weight, again.weight)  # type: ignore[arg-type]
    assert not torch.equal(first.weight, other.weight)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="devices are seeded where there are any")
def test_where_there_is_no_device_none_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    module = Generator(lambda: nn.Linear(3, 4))({}, 3, seed=2**63 + 5)
    assert seeded == []
    torch.manual_seed(2**63 + 5)
    assert len(seeded) == 1
    assert torch.equal(module.weight, nn.Linear(3, 4).weight)  # type: ignore[arg-type]


def test_the_random_state_is_kept_when_the_generator_raises() -> None:
    def failing() -> nn.Module:
        torch.rand(3)
        raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        Generator(failing)({}, 1, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def generated(function: Callable[..., nn.Module], **hparams: Any) -> Any:
    return script(Generator(function)(hparams, 64, seed=random.randrange(2**40)))


def test_equal_architectures_give_one_program() -> None:
    programs = Programs()
    first, saved = programs.hash(generated(mlp, width=32))
    other, other_saved = programs.hash(generated(mlp, width=48))
    again, again_saved = programs.hash(generated(mlp, width=32))
    assert saved is not None
    assert other_saved is not None
    assert again_saved is None
    assert first == again != other


def test_classes_made_inside_the_generator_give_one_program_too() -> None:
    saved = [save_without_weights(generated(local)) for _ in range(12)]
    assert saved[0] != saved[1], "TorchScript numbers them"
    assert len({canonical(program) for program in saved}) == 1


def test_programs_that_differ_only_in_which_part_is_which_are_two() -> None:
    forms = {
        canonical(save_without_weights(generated(local, **hparams)))
        for hparams in ({"a": 0.5}, {"b": 0.5}, {})
    }
    assert len(forms) == 3


def test_a_program_is_small_and_keeps_shapes_ties_and_gradients() -> None:
    saved = save_without_weights(generated(local))
    large = save_without_weights(script(nn.Sequential(nn.Linear(4096, 4096), nn.Linear(4096, 4096))))
    assert len(large) < 20_000
    loaded = torch.jit.load(io.BytesIO(saved))
    named = weights.named(loaded)
    assert {name: tuple(tensor.shape) for name, tensor in named.items()} == {
        "first.weight": (8, 8),
        "second.weight": (8, 8),
        "scale": (8,),
        "hidden": (3,),
        "frozen": (2,),
    }
    assert named["first.weight"].data_ptr() == named["second.weight"].data_ptr()
    assert [named[name].requires_grad for name in ("first.weight", "frozen")] == [True, False]


def test_weights_survive_the_way_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CHUNK_BYTES", 64)
    tensors = {
        "w": torch.randn(7, 9),
        "half": torch.randn(3).to(torch.bfloat16),
        "count": torch.tensor(5),
        "none": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
        "strided": torch.randn(4, 6).t(),
    }
    table = pa.Table.from_batches(list(weights.batches(tensors)), schema=SCHEMA)
    assert table.num_rows > len(tensors)
    found = weights.read(table)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_trained_weights_are_loaded_by_name_and_checked() -> None:
    module = Generator(local)({}, 1, seed=1)
    trained = {name: torch.full_like(tensor, 3) for name, tensor in weights.named(module).items()}
    del trained["second.weight"]
    weights.load(module, trained)
    assert float(module.second.weight.detach().sum()) == 3 * 64  # type: ignore[union-attr,arg-type,operator]
    with pytest.raises(ModelError, match=r"scale has shape \[9\], the module's has \[8\]"):
        weights.load(module, {**trained, "scale": torch.ones(9)})
    with pytest.raises(ModelError, match="have no frozen"):
        weights.load(module, {"first.weight": trained["first.weight"]})


class Unscriptable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        return torch.from_numpy(np.asarray(y))  # LINE


def test_a_module_that_cannot_be_scripted_names_the_line_and_the_remedy() -> None:
    with open(__file__, encoding="utf-8") as file:
        line = next(number for number, text in enumerate(file, 1) if text.rstrip().endswith("# LINE"))
    with pytest.raises(ModelError) as caught:
        script(Unscriptable())
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{__file__}:{line}: the model cannot be scripted: ")
    assert "write this line in the part of Python that torch.jit.script knows" in first


class OwnSteps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (self(batch["features"]).squeeze(1) - batch["label"]).pow(2).mean()


def test_own_steps_are_exported_without_being_marked() -> None:
    loaded = torch.jit.load(io.BytesIO(save_without_weights(script(OwnSteps()))))
    assert hasattr(loaded, "training_step")
