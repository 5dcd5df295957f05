"""Search spaces refuse what cannot be sampled, and name the parameter."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lethe
from lethe import process


def nested() -> lethe.SearchSpace:
    return lethe.SearchSpace(
        lethe.constraint("layers * width < 2048"),
        nesterov=lethe.choice(True, False, default=False).when(momentum=[0.5, 0.9]),
        momentum=lethe.ordinal(0.0, 0.5, 0.9, default=0.5).when(optimizer="sgd"),
        optimizer=lethe.choice("adam", "sgd", "rmsprop", default="adam"),
        layers=lethe.integer(1, 64, log=True, default=2),
        width=lethe.integer(16, 256, step=16, default=64),
        dropout=lethe.uniform(0.0, 0.6, step=0.1, default=0.3),
        lr=lethe.loguniform(1e-4, 1e-1, default=1e-3),
    )


def test_a_space_reads_as_it_was_written() -> None:
    space = lethe.SearchSpace(
        lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(16, 256), act=lethe.choice("relu", "gelu")
    )
    assert repr(space) == (
        "SearchSpace(lr=loguniform(0.0001, 0.1), width=integer(16, 256), act=choice('relu', 'gelu'))"
    )
    assert list(space) == ["lr", "width", "act"]


def test_what_is_read_makes_the_same_space() -> None:
    names = ("SearchSpace", "constraint", "uniform", "loguniform", "integer", "choice", "ordinal")
    made = {name: getattr(lethe, name) for name in names}
    for space in (nested(), lethe.SearchSpace(sizes=lethe.choice([[1, 2]]), k=lethe.choice((1, 2), (3,)))):
        again = eval(repr(space), made)
        assert repr(again) == repr(space)
        assert again.message() == space.message()


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        (lethe.uniform(1, 0), "x=uniform.* swap them"),
        (lethe.loguniform(0, 1), "x=loguniform.* above 0"),
        (lethe.integer(0, 8, log=True), "x=integer.* above 0"),
        (lethe.integer(1, 2.5), "x=integer.* must be integers"),  # type: ignore[arg-type]
        (lethe.uniform(0, float("nan")), "must be finite"),
        (lethe.uniform(False, True), "must be numbers"),
        (lethe.uniform(0, 1, step=0), "the step must be a number above 0"),
        (lethe.uniform(0, 1, step=1.5), "the step 1.5 is larger than the range from 0 to 1"),
        (lethe.uniform(0, 1, step=1e-20), "the step 1e-20 is too small for the range from 0 to 1"),
        (lethe.integer(1, 10**400), "must be finite, and fit 64 bits"),
        (lethe.integer(1, 9, default=10**400), "is not a number"),
        (lethe.integer(1, 9, step=10**400), "the step must be a number above 0"),
        (lethe.integer(0, 9, step=0.5), "the step must be a whole number"),  # type: ignore[arg-type]
        (lethe.integer(1, 9, step=2, log=True), "exclude each other"),
        (lethe.choice(), "choice needs at least one value"),
        (lethe.ordinal(), "ordinal needs at least one value"),
        (lethe.choice(object()), "not plain data"),
        (lethe.choice("a", "b", "a"), "'a' is there twice"),
        (lethe.choice(1, True, 1.0), "1.0 is there twice"),
        (lethe.uniform(0, 1, default=2), "the default 2 is not between 0 and 1"),
        (lethe.uniform(0, 1, step=0.25, default=0.3), r"the default 0\.3 is not 0 plus a whole number"),
        (lethe.integer(0, 9, default=1.5), "the default 1.5 is not a whole number"),
        (lethe.choice("a", "b", default=None), "the default None is not one of 'a', 'b'"),
        (lethe.choice(0, 1, default=True), "the default True is not one of 0, 1"),
        (0.1, "x=0.1 is not a domain; .*choice"),
    ],
)
def test_a_domain_that_cannot_be_sampled_is_refused_by_name(domain: Any, problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=f"SearchSpace: x=.*{problem}|{problem}"):
        lethe.SearchSpace(x=domain)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"x": lethe.choice(1).when(z=1)}, "x=.*there is no parameter 'z'; the others are y"),
        ({"x": lethe.choice(1).when(y=4)}, "x=.*y=integer.* cannot take that value: 4 is not between"),
        ({"x": lethe.choice(1).when(u=0.5), "u": lethe.uniform(0, 1)}, "x=.*u is continuous"),
        ({"x": lethe.choice(1).when(y=[])}, "x=.*has no value"),
        ({"x": lethe.choice(1).when(x=1)}, "x=.*circle.*x → x"),
        (
            {"a": lethe.choice(1).when(b=1), "b": lethe.choice(1).when(c=1), "c": lethe.choice(1).when(b=1)},
            "b=.*circle.*b → c → b",
        ),
    ],
)
def test_a_condition_that_cannot_hold_is_refused_by_name(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        lethe.SearchSpace(y=lethe.integer(1, 3), **parameters)


def test_a_step_as_wide_as_the_range_is_one() -> None:
    assert lethe.SearchSpace(x=lethe.uniform(0.1, 0.3, step=0.2))["x"].step == 0.2


def test_a_domain_has_one_condition() -> None:
    with pytest.raises(lethe.ConfigError, match="name one parent, not 2"):
        lethe.choice(1).when(a=1, b=2)
    with pytest.raises(lethe.ConfigError, match="conditional already"):
        lethe.choice(1).when(a=1).when(b=2)


def test_the_message_has_conditions_with_the_parent_s_own_values() -> None:
    space = lethe.SearchSpace(n=lethe.integer(1, 3), x=lethe.uniform(0, 1, step=0.5).when(n=[2.0, 3]))
    assert space.message()[1] == {
        "name": "x",
        "domain": {"type": "uniform", "low": 0, "high": 1, "step": 0.5},
        "condition": {"parent": "n", "values": [2, 3]},
    }
    assert json.dumps(space.message()[1]["condition"]["values"]) == "[2, 3]"
    log = lethe.SearchSpace(n=lethe.integer(1, 64, log=True)).message()[0]["domain"]
    assert log == {"type": "integer", "low": 1, "high": 64, "log": True}


def test_parents_come_before_what_depends_on_them() -> None:
    assert (
        nested().order.index("optimizer")
        < nested().order.index("momentum")
        < nested().order.index("nesterov")
    )


def test_numbers_of_numpy_travel_as_plain_ones() -> None:
    space = lethe.SearchSpace(a=lethe.choice(np.int64(3), np.float64(0.5)), b=lethe.integer(np.int32(1), 2))
    assert [type(value) for value in space["a"].values] == [int, float]
    assert space.message()[1] == {"name": "b", "domain": {"type": "integer", "low": 1, "high": 2}}


def test_choice_takes_a_list_or_values() -> None:
    assert lethe.choice([1, 2]) == lethe.choice(1, 2)
    assert lethe.choice("ab").values == ("ab",)


def test_a_parameter_may_have_any_name() -> None:
    assert list(lethe.SearchSpace(self=lethe.choice(1), constraints=lethe.choice(2))) == [
        "self",
        "constraints",
    ]


def test_a_point_is_completed_by_the_defaults_of_what_exists() -> None:
    space = nested()
    default = {"optimizer": "adam", "layers": 2, "width": 64, "dropout": 0.3, "lr": 1e-3}
    assert space.default() == default
    sgd = space.point({"optimizer": "sgd", "dropout": 0.1 + 0.2})
    assert sgd == {
        **default,
        "optimizer": "sgd",
        "momentum": 0.5,
        "nesterov": False,
        "dropout": pytest.approx(0.3),
    }
    assert "nesterov" not in space.point({"optimizer": "sgd", "momentum": 0.0})
    assert lethe.SearchSpace(a=lethe.choice(1, 2)).default() is None


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        ({"depth": 1}, "'depth' is not a parameter of the space"),
        ({"lr": 1}, "lr=loguniform.*1 is not between"),
        ({"momentum": 0.5}, "momentum exists only when optimizer='sgd'; optimizer is 'adam'"),
        (
            {"optimizer": "sgd", "momentum": 0.0, "nesterov": True},
            "nesterov exists only when.*momentum is 0.0",
        ),
        ([1], "not a dict"),
    ],
)
def test_a_point_outside_the_space_is_refused_by_name(point: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        nested().point(point)


def test_a_point_cannot_have_a_child_whose_parent_is_to_be_drawn() -> None:
    space = lethe.SearchSpace(o=lethe.choice("a", "b"), x=lethe.uniform(0, 1).when(o="a"))
    with pytest.raises(ValueError, match="x exists only when o='a'; give o too"):
        space.point({"x": 0.5})
    assert space.point({}) == {}
    with pytest.raises(ValueError, match="o is missing"):
        space.point({}, whole=True)


def test_a_constraint_is_an_expression_or_a_function() -> None:
    with pytest.raises(lethe.ConfigError, match=r"write constraint\('a < b'\)"):
        lethe.SearchSpace("a < b", a=lethe.choice(1))  # type: ignore[arg-type]
    with pytest.raises(lethe.ConfigError, match="parameters are given by name"):
        lethe.SearchSpace(lethe.choice(1), a=lethe.choice(1))  # type: ignore[arg-type]
    for wrong in ("", 3):
        with pytest.raises(lethe.ConfigError, match=r"^constraint"):
            lethe.constraint(wrong)  # type: ignore[arg-type]


def test_a_predicate_that_asks_for_what_does_not_exist_is_fulfilled() -> None:
    space = lethe.SearchSpace(
        lethe.constraint(lambda h: h["a"] < h["b"]),
        a=lethe.integer(0, 9),
        b=lethe.integer(0, 9).when(a=[0, 5]),
    )
    assert space.refused({"a": 1}) is None
    assert space.refused({"a": 0, "b": 3}) is None
    assert "<lambda> at line" in str(space.refused({"a": 5, "b": 3}))
    misspelt = lethe.SearchSpace(lethe.constraint(lambda h: h["c"]), a=lethe.integer(0, 9))
    with pytest.raises(KeyError, match="c"):
        misspelt.refused({"a": 1})
    forgotten = lethe.SearchSpace(lethe.constraint(lambda h: None), a=lethe.integer(0, 9))  # type: ignore[arg-type,return-value]
    with pytest.raises(lethe.ConfigError, match="returned None"):
        forgotten.refused({"a": 1})


#: Stands in for the driver's program: it says what it was asked, and counts x up from the seed.
STAND_IN = """#!/usr/bin/env python3
import json, os, sys
question = json.loads(sys.stdin.readline())
with open(os.path.dirname(__file__) + "/asked", "a") as file:
    file.write(json.dumps([sys.argv[1:], question]) + "\\n")
if "nonsense" in question["constraints"]:
    print(json.dumps({"error": "constraint \\"nonsense\\": no column nonsense; there are x"}))
    sys.exit(1)
for place in range(question["count"]):
    print(json.dumps({"hparams": {"x": question["seed"] + place}}))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lethe-driver"
    path.write_text(STAND_IN)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr(process, "binary", lambda name: tmp_path / name)
    return tmp_path / "asked"


def test_points_are_drawn_by_the_driver_s_program(program: Path) -> None:
    space = lethe.SearchSpace(x=lethe.integer(0, 99))
    assert space.sample(seed=7) == {"x": 7}
    assert space.sample(seed=7, n=2) == [{"x": 7}, {"x": 8}]
    assert space.sample(n=0) == []
    arguments, question = json.loads(program.read_text().splitlines()[0])
    assert arguments == ["sample"]
    assert question == {"space": space.message(), "constraints": [], "enqueued": [], "seed": 7, "count": 1}


def test_a_predicate_is_fulfilled_by_every_sample(program: Path) -> None:
    space = lethe.SearchSpace(lethe.constraint(lambda h: h["x"] % 50 == 0), x=lethe.integer(0, 999))
    assert space.sample(seed=1, n=3) == [{"x": 50}, {"x": 100}, {"x": 150}]
    never = lethe.SearchSpace(lethe.constraint(lambda h: h["x"] < 0), x=lethe.integer(0, 999))
    with pytest.raises(lethe.ConfigError, match=r"only 0 of 1000 random points are allowed; .*<lambda>"):
        never.sample()


def test_an_expression_is_checked_when_the_space_is_made(program: Path) -> None:
    with pytest.raises(lethe.ConfigError, match="no column nonsense; there are x"):
        lethe.SearchSpace(lethe.constraint("nonsense"), x=lethe.integer(0, 9))
    assert len(lethe.SearchSpace(lethe.constraint("x < 5"), x=lethe.integer(0, 9)).expressions) == 1


def test_a_program_that_dies_is_no_answer(program: Path) -> None:
    (program.parent / "lethe-driver").write_text("#!/bin/sh\necho 'lethe-driver: no memory' >&2\nexit 3\n")
    with pytest.raises(lethe.ProcessError, match="gave 0 of 1 points and ended with status 3: no memory"):
        lethe.SearchSpace(x=lethe.integer(0, 9)).sample()
