"""An ablation study of Maggy's as one of Lethe's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lethe.ablation.ablation import Ablation
from lethe.ablation.ablator import Ablator
from lethe.dataset.dataset import Dataset
from lethe.errors import ConfigError
from lethe.function import Function
from lethe.maggy.ablation import FEATURE, NOTHING, AblationStudy, FeatureAblator, asks_for, prefixed
from lethe.maggy.config import METRIC, AblationConfig
from lethe.maggy.function import GENERATORS, Call, adapted
from lethe.maggy.translation import Translation, call_of, ignored_of, placed_of


def ablation(train_fn: Callable[..., Any], config: AblationConfig) -> Translation:
    """With a `lethe.Dataset` as dataset= its columns are left out; without one a dataset generator is told
    what to leave out, by a hyperparameter that the training function does not see."""
    study = config.ablation_study
    if not isinstance(study, AblationStudy):
        raise ConfigError(
            f"AblationConfig: ablation_study must be an AblationStudy, not {type(study).__name__}"
        )
    if not isinstance(config.ablator, Ablator) and str(config.ablator).lower() != "loco":
        raise ConfigError(
            f'AblationConfig: ablator must be "loco" or a lethe.Ablator of your own, not {config.ablator!r}'
        )
    placed = placed_of(config)
    model = _base_model(study, config)
    call = call_of(
        train_fn,
        config,
        further=GENERATORS,
        study=True,
        generated=model is not None,
        dataset_generator=study.custom_dataset_generator,
    )
    changes, left_out = _left_out(study, model)
    ablators = [config.ablator] if isinstance(config.ablator, Ablator) else []
    function = Function(adapted(call), model)
    _check_study(study, call, function.name, placed, changes)
    base: dict[str, str] = {}
    if placed is None and changes["features"]:
        base = {FEATURE: NOTHING}
        ablators.insert(0, FeatureAblator(changes["features"]))
        changes["features"] = None
    experiment = Ablation(metric=METRIC, direction=config.direction, base=base, ablators=ablators, **changes)
    return Translation(
        function, placed, experiment, config.name, tuple(ignored_of(config)), left_out=left_out
    )


def _base_model(study: AblationStudy, config: AblationConfig) -> Callable[..., Any] | None:
    if study.model.base_model_generator is not None:
        return study.model.base_model_generator
    return config.model if callable(config.model) else None


def _left_out(
    study: AblationStudy, model: Callable[..., Any] | None
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Arguments of `Ablation`, and Maggy's names of the components."""
    features, layers = list(study.features.included_features), list(study.model.layers.included_layers)
    groups: dict[str, Any] = {}
    models: dict[str, Any] = {}
    names = {f"feature {one}": {FEATURE: one, "ablated_layer": NOTHING} for one in features}
    named = {f"layer {one}": one for one in layers}
    for group in study.model.layers.included_groups.values():
        if len(group) > 1:
            groups[str(list(group))] = list(group)
            named[f"layers {list(group)}"] = str(list(group))
        elif model is not None:
            models[f"prefix {group[0]}"] = prefixed(model, group[0])
            named[f"model prefix {group[0]}"] = f"Layers prefixed {group[0]}"
    for generator, name in study.model.custom_model_generators:
        models[name] = generator
        named[f"model {name}"] = f"Custom model: {name}"
    names.update({component: {FEATURE: NOTHING, "ablated_layer": one} for component, one in named.items()})
    found = {"features": features or None, "layers": layers, "layer_groups": groups, "models": models}
    return found, names


def _check_study(
    study: AblationStudy, call: Call, name: str, placed: Dataset | None, changes: Mapping[str, Any]
) -> None:
    own = study.custom_dataset_generator
    remedy = (
        "give its rows to AblationConfig(dataset=lethe.Dataset.from_spark(frame, features=[…], "
        f"label={study.label_name or '…'!r})), or set_dataset_generator a function of your own"
    )
    if "dataset_function" in call.asked and own is None and placed is None:
        raise ConfigError(
            f"AblationStudy: there is no feature store to read {study.hops_training_dataset_name!r} from; "
            f"{remedy}"
        )
    if changes["features"] and placed is None and (own is None or not asks_for(own, FEATURE)):
        raise ConfigError(
            f"AblationStudy: features are left out, and nothing can leave them out; {remedy} with an "
            f"argument {FEATURE}"
        )
    if changes["features"] and placed is None and not {"dataset_function", "hparams"} & set(call.asked):
        raise ConfigError(
            f"AblationStudy: features are left out, and {name} does not ask for its data; give it the "
            "argument dataset_function"
        )
    if not (study.model.layers.included_layers or study.model.layers.included_groups or changes["models"]):
        return
    if not call.generated:
        raise ConfigError(
            "AblationStudy: layers or models are left out, and there is no base model; call "
            "study.model.set_base_model_generator(make_model)"
        )
    if "model" not in call.parts:
        raise ConfigError(
            f"AblationStudy: layers or models are left out, and {name} does not ask for its model; give it "
            "the argument model_function"
        )
