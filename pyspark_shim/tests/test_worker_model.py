"""A trial's model, as its worker keeps it."""

import pytest
import torch
from torch import nn

from lethe import ConfigError, Function
from lethe.worker.gang.alone import Alone
from lethe.worker.model import Models
from lethe.worker.reporter import Moment

SPEC = {"objective": {"metric": "x", "direction": "max", "select": "best"}, "trial": 0}


def spectral() -> nn.Module:
    """With weights of a dtype that is not written."""
    model = nn.Linear(2, 1)
    model.register_buffer("spectrum", torch.zeros(3, dtype=torch.complex64))
    return model


def test_weights_that_cannot_be_kept_are_said_once_and_training_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = Models(spectral, {}, None, 1, Alone(), "float32")
    models.make()
    moment = Moment(SPEC, None, models.snapshot)
    for epoch, value in enumerate([0.1, 0.2, 0.3], 1):
        moment.look(value, epoch)
    assert models.at_hand() == models.kept() == {}
    said = capsys.readouterr().err
    assert said.count("keeping the model's weights raised") == 1
    assert "the weight spectrum has dtype complex64; convert it to float32" in said


def test_what_can_be_kept_is_that_of_the_best_moment() -> None:
    models = Models(lambda: nn.Linear(1, 1, bias=False), {}, None, 1, Alone(), "float32")
    model = models.make()
    moment = Moment(SPEC, None, models.snapshot)
    for epoch, value in enumerate([0.5, 0.9, 0.2], 1):
        with torch.no_grad():
            model.weight.fill_(value)
        moment.look(value, epoch)
    dtype, shape, data = models.kept()["weight"]
    assert (dtype, shape) == ("float32", [1, 1])
    assert torch.frombuffer(bytearray(data), dtype=torch.float32).item() == pytest.approx(0.9)


def test_a_precision_that_no_model_would_have_is_refused() -> None:
    def own(hparams):  # type: ignore[no-untyped-def]
        return 0.0

    def given(model, hparams):  # type: ignore[no-untyped-def]
        return 0.0

    for options in ({}, {"model": spectral}):
        with pytest.raises(ConfigError, match=r"own takes none; give .* or use torch.autocast"):
            Function(own, precision="bfloat16", **options)  # type: ignore[arg-type]
    assert Function(given, spectral, precision="bfloat16").precision == "bfloat16"
