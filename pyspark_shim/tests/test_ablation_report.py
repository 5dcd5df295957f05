"""What a study came to: differences within repetitions, their intervals, and the order of importance."""

import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lethe.ablation.report import AblationTable, Record
from lethe.ablation.saved import ABLATION, load, save
from lethe.ablation.student import interval, quantile
from lethe.errors import InstallError, LetheError


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.3027),
        (0.95, 3, 3.1824),
        (0.95, 4, 2.7764),
        (0.95, 9, 2.2622),
        (0.95, 30, 2.0423),
        (0.95, 120, 1.9799),
        (0.95, 1000, 1.9623),
        (0.99, 4, 4.6041),
        (0.99, 5, 4.0321),
        (0.9, 10, 1.8125),
        (0.999, 2, 31.5991),
    ],
)
def test_student_s_t_has_the_values_of_its_table(confidence: float, degrees: int, expected: float) -> None:
    assert quantile(confidence, degrees) == pytest.approx(expected, abs=6e-5)


def test_sum_and_expansion_agree_where_they_meet() -> None:
    assert quantile(0.95, 999) == pytest.approx(quantile(0.95, 1000), rel=1e-5)
    assert quantile(0.95, 999) > quantile(0.95, 1000)


def test_an_interval_needs_two_values() -> None:
    assert all(math.isnan(end) for end in interval([1.0], 0.95))
    low, high = interval([1.0, 2.0, 3.0], 0.95)
    assert (low, high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def records(values: dict[str | None, list[float | None]]) -> list[Record]:
    return [
        Record(name, replicate, value, "failed" if value is None else "finished", _error(value), "feature")
        for name, found in values.items()
        for replicate, value in enumerate(found)
    ]


def _error(value: float | None) -> str | None:
    return "ValueError: <shape>\n  File …" if value is None else None


THREE: dict[str | None, list[float | None]] = {
    None: [0.90, 0.92, 0.94],
    "noise": [0.91, 0.92, 0.96],
    "age": [0.80, 0.83, 0.82],
    "broken": [None, None, None],
    "city": [None, 0.90, 0.93],
}


def test_differences_are_taken_within_repetitions() -> None:
    table = AblationTable.of(records(THREE), "accuracy", "max")
    age, city, noise, broken = table.components
    assert [one.name for one in table.components] == ["age", "city", "noise", "broken"]
    assert age.value == pytest.approx(0.81666667)
    # -0.10, -0.09, -0.12: mean -0.10333, deviation 0.0152753, t(2) 4.30265.
    assert age.difference == pytest.approx(-0.10333333)
    assert (age.low, age.high) == pytest.approx((-0.141279, -0.065388), abs=1e-6)
    assert (age.pairs, age.trials, age.failed, age.clear) == (3, 3, 0, True)
    # The mean of all values, and the differences of the two repetitions that have both.
    assert city.value == pytest.approx(0.915)
    assert city.difference == pytest.approx(-0.015)
    assert (city.pairs, city.failed, city.error) == (2, 1, "ValueError: <shape>\n  File …")
    assert noise.difference == pytest.approx(0.01)
    assert table.harm(age) == pytest.approx(0.10333333)
    assert math.isnan(broken.value)
    assert math.isnan(broken.difference)
    assert (broken.pairs, broken.failed, broken.clear) == (0, 3, False)
    assert table.base.value == pytest.approx(0.92)
    assert (table.base.low, table.base.high) == pytest.approx((0.92 - 0.0496828, 0.92 + 0.0496828), abs=1e-6)


def test_where_lower_is_better_what_raises_the_metric_comes_first() -> None:
    table = AblationTable.of(records(THREE), "loss", "min")
    assert [one.name for one in table.components] == ["noise", "city", "age", "broken"]
    assert table.harm(table.components[0]) == pytest.approx(0.01)


def test_a_repetition_whose_base_failed_has_no_difference() -> None:
    found = AblationTable.of(records({None: [None, 0.9], "age": [0.7, 0.8]}), "accuracy", "max")
    assert found.components[0].difference == pytest.approx(-0.1)
    assert found.components[0].pairs == 1
    assert "fewer than two seeds have a value" in found.note


def test_what_is_no_number_counts_as_failed_and_what_was_cancelled_does_not() -> None:
    found = AblationTable.of(
        [
            Record(None, 0, 1.0, "finished"),
            Record("a", 0, math.nan, "finished"),
            Record("b", 0, None, "cancelled"),
            Record("c", 0, 2.0, "stopped"),
        ],
        "loss",
        "min",
    )
    assert [(one.name, one.pairs, one.failed) for one in found.components] == [
        ("c", 1, 0),
        ("a", 0, 1),
        ("b", 0, 0),
    ]


def test_another_confidence_gives_another_interval() -> None:
    narrow = AblationTable.of(records(THREE), "accuracy", "max", confidence=0.5).components[0]
    wide = AblationTable.of(records(THREE), "accuracy", "max", confidence=0.99).components[0]
    assert wide.low < narrow.low < narrow.difference < narrow.high < wide.high


def test_one_seed_has_no_intervals_and_says_so() -> None:
    table = AblationTable.of(records({None: [0.9], "age": [0.8]}), "accuracy", "max")
    assert math.isnan(table.components[0].low)
    assert "one seed: no confidence intervals; Ablation(…, seeds=5) gives them" in repr(table)
    assert "interval" not in repr(table).splitlines()[1]


def test_a_study_without_any_value_is_a_table_too() -> None:
    table = AblationTable.of(
        [Record(None, 0, None, "failed", "ValueError: no"), *records({"a": [None]})], "loss", "min"
    )
    assert "base has no value" in repr(table)
    assert table.to_pandas()["failed"].tolist() == [1, 1]
    assert "has no value" in AblationTable.of([], "loss", "min").title


def test_the_table_is_aligned_and_its_html_is_escaped() -> None:
    table = AblationTable.of(records(THREE), "accuracy", "max")
    assert repr(table).splitlines() == [
        "accuracy (higher is better): base 0.92 ± 0.05",
        "without  accuracy  difference            interval  trials  failed  error",
        "(base)       0.92                                       3",
        "age        0.8167     -0.1033   [-0.141, -0.0654]       3",
        "city        0.915      -0.015  [-0.0785, +0.0485]       3       1  ValueError: <shape>",
        "noise        0.93       +0.01  [-0.0148, +0.0348]       3",
        "broken                                                  3       3  ValueError: <shape>",
        "intervals: 0.95 confidence, of the differences within each of 3 seeds",
    ]
    page = table._repr_html_()
    assert "ValueError: &lt;shape&gt;" in page
    assert "<shape>" not in page
    assert page.count("<tr>") == 6


def test_pandas_gets_a_row_for_the_base_and_each_component() -> None:
    frame = AblationTable.of(records(THREE), "accuracy", "max").to_pandas()
    assert list(frame.columns) == [
        *("component", "kind", "value", "difference", "low", "high", "pairs", "trials", "failed", "error"),
    ]
    assert frame["component"].tolist() == ["base", "age", "city", "noise", "broken"]
    assert frame["kind"].tolist() == ["base", *["feature"] * 4]
    assert pd.isna(frame["difference"][0])


def test_a_chart_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InstallError, match=r"chart needs Matplotlib; run: pip install 'lethe\[charts\]'"):
        AblationTable.of(records(THREE), "accuracy", "max").chart()


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_chart_has_a_bar_and_an_interval_for_each_difference(direction: str, tmp_path: Any) -> None:
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    from lethe.ablation.chart import BETTER, WORSE

    table = AblationTable.of(records(THREE), "accuracy", direction)
    figure = table.chart()
    [axes] = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [one.name for one in table.components[:3]]
    colours = dict(zip(names, (bar.get_facecolor()[:3] for bar in axes.patches), strict=True))
    from matplotlib.colors import to_rgb

    worse, better = (WORSE, BETTER) if direction == "max" else (BETTER, WORSE)
    assert colours["age"] == to_rgb(worse)
    assert colours["noise"] == to_rgb(better)
    assert "base 0.92" in figure.get_suptitle()
    assert "without a value: broken" in figure.get_supxlabel()
    figure.savefig(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_a_chart_of_many_components_draws_those_that_matter() -> None:
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    many: dict[str | None, list[float | None]] = {
        None: [0.0],
        **{f"c{n}": [float(n - 50)] for n in range(100)},
    }
    figure = AblationTable.of(records(many), "loss", "min").chart()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 40
    assert (labels[0], labels[-1]) == ("c99", "c0")
    assert "60 components with smaller differences are not drawn" in figure.get_supxlabel()
    AblationTable.of([Record(None, 0, None, "failed")], "loss", "min").chart()


def test_a_saved_table_says_the_same(tmp_path: Path) -> None:
    table = AblationTable.of(records(THREE), "accuracy", "max")
    save(table, tmp_path / ABLATION)
    again = load(tmp_path / ABLATION)
    assert repr(again) == repr(table)
    assert again.to_pandas().equals(table.to_pandas()), "what is not known is NaN again"
    for text in ("{", '{"format": 2}', "[]"):
        (tmp_path / ABLATION).write_text(text)
        with pytest.raises(LetheError, match=r"ablation\.json is no saved table of an ablation study"):
            load(tmp_path / ABLATION)
