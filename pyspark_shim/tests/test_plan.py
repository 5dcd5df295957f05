"""An experiment's folder, and the plan by which it begins or goes on."""

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import lethe
from lethe.experiment.code import code, source
from lethe.experiment.plan import folder, plan, tidy
from lethe.version import PROTOCOL


def generator(hparams: dict[str, Any], inputs: int, bias: bool = True) -> Any:
    return (hparams, inputs, bias)


def search(*constraints: lethe.Constraint, **changes: Any) -> lethe.Search:
    space = lethe.SearchSpace(*constraints, x=lethe.uniform(0, 1))
    return lethe.Search(space, **{"trials": 3, "metric": "x", "direction": "min", **changes})


def test_a_name_is_taken_once_unless_it_is_resumed(tmp_path: Path) -> None:
    first = folder("digits", str(tmp_path))
    assert first.path == tmp_path / "digits"
    assert "resume" not in first.message()
    with pytest.raises(lethe.ConfigError, match=r"already; go on with it \(resume=True\), or choose another"):
        folder("digits", str(tmp_path))
    again = folder("digits", str(tmp_path), resume=True)
    assert again.message() == {
        "directory": str(tmp_path / "digits"),
        "resume": {"type": "resume", "accept_changes": False},
    }


def test_what_is_not_there_begins(tmp_path: Path) -> None:
    found = folder("digits", str(tmp_path / "runs"), resume=True)
    assert found.path.is_dir()
    assert "resume" not in found.message()


def test_a_copy_in_a_store_is_looked_for_on_another_host(tmp_path: Path) -> None:
    store = {"store": "s3://bucket/digits", "store_options": {"aws_endpoint": "http://10.0.0.9:9000"}}
    found = folder("digits", str(tmp_path), resume=True, accept_changes=True, **store)  # type: ignore[arg-type]
    assert found.message() == {
        "directory": str(tmp_path / "digits"),
        "store": {"url": "s3://bucket/digits", "options": {"aws_endpoint": "http://10.0.0.9:9000"}},
        "resume": {"type": "resume", "accept_changes": True},
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"resume": True}, "needs the experiment's name"),
        ({"name": "a", "accept_changes": True}, "add resume=True"),
        ({"name": "a", "store": "bucket/folder"}, "must be a URL"),
        ({"name": "a", "store_options": {}}, "are for a store"),
        ({"name": "a", "store": "s3://b", "store_options": {"retries": 3}}, "must be strings"),
        ({"name": "../a"}, "experiment's name"),
        ({"name": "../a", "resume": True}, "experiment's name"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    tmp_path: Path, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        folder(**{"name": None, "directory": str(tmp_path), **arguments})
    assert list(tmp_path.iterdir()) == []


def test_the_plan_has_retries_code_and_how_it_goes_on(tmp_path: Path) -> None:
    experiment = search(retries=5, retry_exceptions=1)
    found = plan(
        lethe.Supervised(model=generator, loss="mse"),
        None,
        experiment,
        experiment.source(2),
        folder("digits", str(tmp_path)),
        slots=2,
    )
    assert found["retries"] == {"infrastructure": 5, "exceptions": 1}
    assert found["source"]["budget"] == {"trials": 3}
    assert found["code"]["model"].startswith("def generator(hparams")
    assert found["directory"] == str(tmp_path / "digits")
    assert (found["slots"], found["protocol"]) == (2, PROTOCOL)


def test_workers_have_rows_of_their_own_where_that_is_said(tmp_path: Path) -> None:
    train = lethe.Supervised(model=generator, loss="mse")

    def planned(**changes: Any) -> dict[str, Any]:
        experiment = lethe.Distributed(workers=2, metric="loss", direction="min", **changes)
        return plan(train, None, experiment, {}, folder(None, str(tmp_path)), 2)

    assert planned(order="local")["shards"] == "local"
    assert "shards" not in planned()
    with pytest.raises(lethe.ConfigError, match='order must be "global" or "local", not'):
        planned(order="mine")


def test_an_experiment_that_never_began_leaves_its_name_free(tmp_path: Path) -> None:
    for resume in (False, True):
        found = folder("digits", str(tmp_path), resume=resume)
        (found.path / "journal").touch()
        tidy(found, began=False)
        assert not found.path.exists()


def test_what_has_run_is_kept(tmp_path: Path) -> None:
    found = folder("digits", str(tmp_path))
    (found.path / "journal").touch()
    (found.path / "checkpoints").mkdir()
    tidy(found, began=True)
    assert [path.name for path in found.path.iterdir()] == ["journal"]
    again = folder("digits", str(tmp_path), resume=True)
    tidy(again, began=False)
    assert (found.path / "journal").exists(), "of the run before"


class Maker:
    """Called like a function."""

    def __call__(self, hparams: dict[str, Any]) -> Any:
        return hparams


def test_code_is_the_source_of_what_makes_models() -> None:
    assert source(generator).splitlines()[-1].strip() == "return (hparams, inputs, bias)"
    assert source(Maker()).startswith("class Maker:")
    partial = source(functools.partial(generator, bias=False))
    assert partial.startswith("partial(bias=False) of\ndef generator")
    assert partial != source(functools.partial(generator, bias=True))


def test_code_without_a_source_is_its_name(tmp_path: Path) -> None:
    # As in an interactive session: there is no file to read it from.
    scope: dict[str, Any] = {"__name__": "session"}
    exec("def made(hparams):\n    return hparams", scope)
    assert source(scope["made"]) == "session.made"
    assert source(len) == "builtins.len"


def test_a_changed_generator_is_other_code(tmp_path: Path) -> None:
    texts = []
    for width in (32, 64):
        path = tmp_path / f"models_{width}.py"
        path.write_text(f"def model(hparams):\n    return {width}\n")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        texts.append(code(lethe.Supervised(model=module.model, loss="mse"), search())["model"])
    assert texts == ["def model(hparams):\n    return 32", "def model(hparams):\n    return 64"]


def test_predicates_are_code_too() -> None:
    found = code(lethe.Registered("lethe.sleep", 1), search(lethe.constraint(lambda h: h["x"] < 0.5)))
    assert list(found) == ["constraint 1"]
    assert 'h["x"] < 0.5' in found["constraint 1"]
