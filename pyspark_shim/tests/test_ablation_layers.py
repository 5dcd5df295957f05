"""Layers are left out by name; what stays keeps its names, its weights and its TorchScript."""

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest
import torch
from torch import nn

from lethe.ablation.check import check_layers
from lethe.ablation.component import Component
from lethe.ablation.layered import layered
from lethe.ablation.layers import without_layers
from lethe.errors import ModelError
from lethe.model.generator import Generator
from lethe.model.script import script
from lethe.model.structure import structure


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 1.0) -> torch.Tensor:
        if mask is not None:
            x = x * mask
        return self.linear(x) * scale  # type: ignore[no-any-return]


class Net(nn.Module):
    """Four features, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.encoder = nn.Sequential(
            nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4))
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(x, mask=None, scale=2.0)
        for block in self.blocks:
            x = block(x, x)
        return self.head(self.dropout(self.encoder(x)))  # type: ignore[no-any-return]


class Residual(nn.Sequential):
    """Elements that are not called one after the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self:
            x = x + module(x)
        return x


def net(inputs: int) -> nn.Module:
    return Net()


SECTIONS = [{"name": "features", "dtype": "float32", "shape": [4], "offset": 0}]


def made(generator: Callable[..., Any], seed: int = 3) -> nn.Module:
    return Generator(generator)({}, 4, seed)


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        (["encoder.0"], ["encoder.0."]),
        (["encoder.1"], []),
        (["encoder.3.1"], ["encoder.3.1."]),
        (["encoder.2", "encoder.3"], ["encoder.2.", "encoder.3."]),
        (["encoder."], ["encoder."]),
        (["encoder"], ["encoder."]),
        (["encoder", "encoder.2"], ["encoder."]),
        (["blocks.0"], ["blocks.0."]),
        (["blocks"], ["blocks."]),
        (["block"], ["block."]),
        (["dropout"], []),
    ],
)
def test_the_layers_that_stay_have_their_names_weights_and_a_script(
    names: list[str], gone: list[str]
) -> None:
    whole, without = made(net), made(layered(net, names))
    left = {
        name: weight
        for name, weight in whole.state_dict().items()
        if not any(name.startswith(prefix) for prefix in gone)
    }
    assert list(without.state_dict()) == list(left)
    for name, weight in without.state_dict().items():
        assert torch.equal(weight, left[name])
    # So that its program is looked up and not compiled for each repetition.
    assert structure(without) == structure(made(layered(net, names), seed=4))
    without.eval()
    scripted, x = script(without), torch.rand(5, 4)
    assert torch.equal(scripted(x), without(x))
    assert list(scripted.state_dict()) == list(left)


def test_an_element_of_a_sequential_is_taken_out() -> None:
    module = without_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), ["1"])
    assert [name for name, _ in module.named_children()] == ["0", "2"]
    x = torch.rand(3, 2)
    linear = nn.Sequential(module.get_submodule("0"), module.get_submodule("2"))
    assert torch.equal(module(x), linear(x))


def test_an_element_of_a_list_or_of_an_own_sequential_passes_on_its_argument() -> None:
    x = torch.rand(3, 4)
    module = without_layers(Residual(nn.Linear(4, 4)), ["0"])
    assert torch.equal(module(x), x + x)
    whole = Net().eval()
    before = whole.blocks[1](whole.block(x, None, 2.0), whole.block(x, None, 2.0))
    expected = whole.head(whole.encoder(before))
    torch.testing.assert_close(without_layers(whole, ["blocks.0"])(x), expected)


def test_a_layer_of_torch_s_transformer_is_left_out() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    module = without_layers(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), ["layers.1"]).eval()
    x = torch.rand(5, 3, 8)
    assert torch.equal(module(x), module.get_submodule("layers.0")(x))
    assert script(module)(x).shape == x.shape


def test_a_module_without_source_is_replaced_by_the_identity() -> None:
    scope: dict[str, Any] = {"nn": nn}
    exec("class Made(nn.Module):\n    def forward(self, x):\n        return x + 1", scope)
    module = nn.ModuleList([scope["Made"]()])
    assert type(without_layers(module, ["0"]).get_submodule("0")) is nn.Identity


def test_a_generator_without_layers_asks_for_the_same_and_can_be_pickled() -> None:
    def own(hparams: dict[str, Any], inputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, hparams["width"]), nn.ReLU())

    without = layered(own, ["1"])
    assert inspect.signature(without) == inspect.signature(own)
    again = pickle.loads(cloudpickle.dumps(without))
    for generator in (without, again):
        assert len(list(Generator(generator)({"width": 3}, 4, 0).children())) == 1


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["encodr.2"], r"^layer encodr.2: the model Net has no such module; did you mean encoder.2"),
        (["zzzzzz"], r"has no such module; there are: block, block.linear"),
        (["encodr."], r"^layers encodr\.: the model Net has no modules under it; did you mean encoder"),
        (["head."], r"^layers head\.: .* no modules under it"),
    ],
)
def test_unknown_layers_are_refused_with_near_names(names: list[str], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        without_layers(Net(), names)


def test_what_has_no_layers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"scripted module; let the generator return the nn\.Module itself"):
        without_layers(script(nn.Sequential(nn.ReLU())), ["0"])
    with pytest.raises(ModelError, match="layer 0 cannot be left out of a scripted module"):
        check(lambda: script(nn.Sequential(nn.ReLU())), "0")
    with pytest.raises(
        ModelError, match=r"cannot be left out of int; let the generator return the nn\.Module"
    ):
        without_layers(3, ["0"])


def check(generator: Callable[..., Any], *layers: str, **changes: Any) -> None:
    component = Component(f"layer {layers[0]}", "layer", layers=layers)
    check_layers(generator, [component], {}, **{"sections": SECTIONS, "scripted": True, **changes})


def test_layers_that_can_be_left_out_pass_the_check() -> None:
    for names in (
        ["encoder.0"],
        ["encoder.1"],
        ["encoder.2", "encoder.3"],
        ["blocks.0"],
        ["block"],
        ["dropout"],
    ):
        check(net, *names)
    check(net, "encoder.")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(4, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.gate = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found, _ = self.lstm(self.widen(x).unsqueeze(1))
        if self.training:
            found = self.gate(found)
        return found.squeeze(1)  # type: ignore[no-any-return]


class Stepping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.head(self.body(batch["features"])).sum()  # type: ignore[no-any-return]


class Unscriptable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.list = nn.ModuleList([nn.Linear(4, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for place in range(len(self.list)):
            x = self.list[place](x)
        return x


@pytest.mark.parametrize(
    ("generator", "layers", "problem"),
    [
        (
            net,
            ["encoder.2"],
            r"^layer encoder.2 cannot be left out: the layer after it, encoder.3.0 \(Linear\), takes 8 "
            r"features and would get 4; leave it out together with what depends on it \(layer_groups\)",
        ),
        (
            net,
            ["encoder.3.0"],
            r"the layer after it, encoder.3.1 \(Linear\), takes 4 features and would get 8",
        ),
        (
            net,
            ["encoder.3"],
            r"the layer head \(Linear\), which comes later, takes 4 features and would get 8",
        ),
        (net, ["head"], "the model would give 4 values, and gives 3 values with it"),
        (net, ["unused"], "layer unused is never called by the model, so nothing changes without it"),
        (net, ["encoder.9"], "no such module; did you mean encoder"),
        (
            Recurrent,
            ["widen"],
            r"lstm \(LSTM\), takes rows of shape \(1, 8\) and would get rows of shape",
        ),
        (
            Recurrent,
            ["lstm"],
            r"it makes a tuple of 2 of rows of shape \(1, 8\), and the forward of the model fails without "
            "it: ValueError: too many values to unpack",
        ),
    ],
)
def test_a_layer_that_cannot_be_left_out_is_named_with_the_reason(
    generator: Callable[..., Any], layers: list[str], problem: str
) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        check(generator, *layers)
    assert "\n" not in str(caught.value)


def test_a_layer_that_only_trains_counts_as_called() -> None:
    check(Recurrent, "gate")


def test_a_module_with_its_own_step_is_run_by_the_caller() -> None:
    def run(module: nn.Module, tensors: list[torch.Tensor]) -> Any:
        return module.training_step({"features": tensors[0]})  # type: ignore[operator]

    check(Stepping, "body", scripted=False)
    with pytest.raises(ModelError, match=r"head \(Linear\), takes 8 features and would get 4"):
        check(Stepping, "body", scripted=False, run=run)
    with pytest.raises(ModelError, match="no such module"):
        check(Stepping, "bodi", scripted=False)


def test_several_inputs_have_their_shapes_and_dtypes() -> None:
    seen: list[Any] = []

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.drop = nn.Embedding(1, 4), nn.Dropout(0.1)

        def forward(self, word: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
            seen.append((word.dtype, word.shape[1:], image.dtype, image.shape[1:]))
            return self.drop(self.embed(word).sum(1) + image.flatten(1))  # type: ignore[no-any-return]

    def two(inputs: dict[str, Any]) -> nn.Module:
        assert inputs == {"word": 7, "image": (1, 2, 2)}
        return Two()

    sections = [
        {"name": "word", "dtype": "int64", "shape": [7]},
        {"name": "image", "dtype": "float32", "shape": [1, 2, 2]},
    ]
    check(two, "drop", sections=sections, scripted=False)
    assert set(seen) == {(torch.int64, (7,), torch.float32, (1, 2, 2))}


def test_the_component_s_own_model_and_hyperparameters_are_checked() -> None:
    def deep(hparams: dict[str, Any], inputs: int) -> nn.Module:
        return nn.Sequential(*(nn.Linear(inputs, inputs) for _ in range(hparams["depth"])))

    check_layers(deep, [Component("c", layers=("2",), hparams={"depth": 3})], {"depth": 2}, SECTIONS)
    with pytest.raises(ModelError, match="no such module; there are: 0, 1"):
        check_layers(deep, [Component("c", layers=("2",))], {"depth": 2}, SECTIONS)
    check_layers(deep, [Component("c", layers=("encoder.0",), model=net)], {"depth": 2}, SECTIONS)
    with pytest.raises(ModelError, match="asks for 'classes'"):
        check_layers(deep, [Component("c", model=lambda classes: Net())], {"depth": 2}, SECTIONS)


def test_where_the_whole_model_fails_only_names_are_looked_at() -> None:
    narrow = [{**SECTIONS[0], "shape": [3]}]
    check(net, "encoder.2", sections=narrow, scripted=False)
    check(Unscriptable, "list.0")
    with pytest.raises(ModelError, match="no such module"):
        check(net, "encoder.9", sections=narrow)


def test_leaving_out_layers_imports_no_keras() -> None:
    statement = (
        "from torch import nn\nfrom lethe.ablation.layered import layered\nimport sys\n"
        "layered(lambda: nn.Sequential(nn.ReLU()), ['0'])()\nprint('keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
