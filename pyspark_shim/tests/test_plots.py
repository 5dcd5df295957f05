"""What the figures show, of recorded experiments that the real driver's program reads."""

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded import START, Ran, Recording

import lethe
from lethe import process
from lethe.plot import figure as common

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.skipif(
    not (Path(process.__file__).parent / "bin" / "lethe-driver").exists(),
    reason="the wheel brings the driver",
)

SPACE: dict[str, dict[str, Any]] = {
    "lr": {"type": "log_uniform", "low": 1e-4, "high": 0.1},
    "optimizer": {"type": "choice", "values": ["adam", "sgd"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.9},
    "layers": {"type": "integer", "low": 1, "high": 4},
}
FAILED = {"type": "failed", "error": "ValueError: too large\n  File …"}


def hparams(number: int) -> dict[str, Any]:
    found = {"lr": 10 ** -(1 + number % 4), "optimizer": "adam", "layers": 1 + number % 4}
    return {**found, "optimizer": "sgd", "momentum": 0.1 * (number % 9)} if number % 2 else found


def ran(number: int, *losses: float | None, **changes: Any) -> Ran:
    return Ran(hparams(number), [{"loss": loss, "accuracy": 0.5} for loss in losses], **changes)


MIXED = [
    ran(0, 0.9, 0.8, 0.7),
    ran(1, 0.8, outcome={"type": "stopped"}),
    ran(2, None, 0.9, outcome=FAILED),
    ran(3, 0.6, None, 0.5),
    ran(4, 0.7, 0.65, 0.6),
]


def record(
    trials: list[Ran], objectives: dict[str, str] | None = None, space: Any = SPACE, slots: int = 1
) -> Any:
    """Of an experiment in the test's folder: what `lethe.open` gives."""
    recording = Recording(Path("runs/mixed").absolute(), space, objectives or {"loss": "min"}, slots)
    recording.run(trials)
    return lethe.open("runs/mixed").plot


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def labelled(axes: Any) -> dict[str, Any]:
    return {artist.get_label(): artist for artist in axes.get_children()}


def points(collection: Any) -> list[list[float]]:
    return [[round(float(x), 6) for x in point] for point in collection.get_offsets()]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def drawn(figure: Any) -> None:
    """Nothing that drawing alone would find."""
    figure.savefig("figure.png")


def test_a_figure_shows_itself_and_can_be_pickled() -> None:
    figure = common.make("a test", 1.0)
    for one in (figure, pickle.loads(pickle.dumps(figure))):
        assert one._repr_png_().startswith(b"\x89PNG")


def test_history_has_a_point_a_trial_and_the_best_so_far() -> None:
    figure = record(MIXED).history()
    (axes,) = figure.axes
    artists = labelled(axes)
    assert points(artists["trial"]) == [[0, 0.7], [3, 0.5], [4, 0.6]]
    assert points(artists["stopped early"]) == [[1, 0.8]]
    assert points(artists["failed (1)"]) == [[2, 0]], "at the bottom, whatever it reported"
    best = artists["best so far"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([0, 3, 4], [0.7, 0.5, 0.5])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "loss (lower is better)")
    assert figure.get_suptitle() == "mixed: best loss 0.5 (trial 3)"
    drawn(figure)


def test_the_best_is_the_largest_where_that_is_wanted() -> None:
    figure = record([ran(0, 0.2), ran(1, 0.9), ran(2, 0.4)], {"loss": "max"}).history()
    best = labelled(figure.axes[0])["best so far"]
    assert list(best.get_ydata()) == [0.2, 0.9, 0.9]
    assert figure.axes[0].get_ylabel() == "loss (higher is better)"


def test_several_metrics_have_a_panel_each() -> None:
    plot = record(MIXED, {"loss": "min", "accuracy": "max"})
    figure = plot.history()
    assert [axes.get_ylabel().split()[0] for axes in figure.axes] == ["loss", "accuracy"]
    assert len(plot.history("accuracy").axes) == 1
    drawn(figure)


def test_values_that_are_far_off_do_not_press_the_others_together() -> None:
    trials = [ran(number, 1.0 + number / 20) for number in range(20)]
    figure = record([*trials, ran(20, 1e9)]).history()
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 4
    assert [x for x, _ in points(labelled(axes)["beyond the axis (1)"])] == [20]
    drawn(figure)


def test_a_loss_over_orders_of_magnitude_has_a_logarithmic_axis() -> None:
    plot = record([ran(number, 10.0 ** (number % 5 - 3)) for number in range(20)])
    assert plot.history().axes[0].get_yscale() == "log"
    assert plot.curves().axes[0].get_yscale() == "log"


@pytest.mark.parametrize("direction", ["max", "min", None])
def test_the_good_end_is_always_on_the_axis(direction: str | None) -> None:
    values = [-1e9, *(number / 10 for number in range(40)), 1e9, math.nan, math.inf]
    low, high = common.limits(values, direction)
    assert (low == -1e9) == (direction == "min")
    assert (high == 1e9) == (direction == "max")
    assert common.limits([0.3], direction) == (0.3, 0.3)
    assert common.limits([0.1, 0.9, 0.91, 0.92], direction) == (0.1, 0.92)


def test_curves_are_told_apart_by_how_they_ended() -> None:
    figure = record(MIXED).curves()
    (axes,) = figure.axes
    artists = labelled(axes)
    curve = [[[float(x) for x in point] for point in line] for line in artists["finished"].get_segments()]
    assert curve[0] == [[1, 0.9], [2, 0.8], [3, 0.7]]
    assert len(curve) == 3
    assert legend(axes) == ["stopped early (1)", "finished (3)", "failed (1)", "best (trial 3)"]
    best = artists["best (trial 3)"]
    assert list(best.get_xdata()) == [1, 2, 3]
    assert math.isnan(best.get_ydata()[1])
    assert axes.get_xlabel() == "epoch"
    drawn(figure)


def test_curves_of_another_metric_than_the_search_s() -> None:
    plot = record(MIXED)
    assert plot.curves("accuracy").axes[0].get_ylabel() == "accuracy"
    with pytest.raises(lethe.ConfigError, match="no trial reported 'auc'; mixed has accuracy, loss"):
        plot.curves("auc")
    with pytest.raises(lethe.ConfigError, match="there is no metric 'auc'; mixed has loss, accuracy"):
        plot.history("auc")


def test_parallel_coordinates_have_each_hyperparameter_s_own_scale() -> None:
    figure = record(MIXED).parallel()
    host, *others = figure.axes
    named = {axes.get_label(): axes for axes in others}
    assert list(named) == ["lr", "optimizer", "momentum", "layers", "loss"]
    assert [label.get_text() for label in host.get_xticklabels()] == list(named)
    assert {name for name, axes in named.items() if axes.get_yscale() == "log"} == {"lr"}
    assert [label.get_text() for label in named["optimizer"].get_yticklabels()] == ["adam", "sgd"]
    assert [label.get_text() for label in named["layers"].get_yticklabels()] == ["1", "2", "3", "4"]
    best = labelled(host)["best (trial 3: 0.5)"].get_ydata()
    # Where its lr, 1e-4, its momentum and its loss stand on their axes.
    assert best[0] == pytest.approx(0)
    assert best[2] == pytest.approx(0.3 / 0.9)
    assert best[4] == pytest.approx(0)
    drawn(figure)


def test_what_a_trial_does_not_have_is_below_the_axes() -> None:
    figure = record(MIXED).parallel()
    host = figure.axes[0]
    adam = [line for line in labelled(host)["trials"].get_segments() if line[2][1] < -0.05]
    assert len(adam) == 2, "trials 0 and 4 have no momentum"
    (failed,) = labelled(host)["failed"].get_segments()
    assert failed[-1][1] < -0.05
    assert [label.get_text() for label in host.get_yticklabels()] == ["none"]


def test_one_trial_is_plotted() -> None:
    plot = record([ran(0, 0.7)])
    for figure in (plot.history(), plot.curves(), plot.parallel(), plot.slots()):
        drawn(figure)
    with pytest.raises(
        lethe.LetheError, match="importance needs 10 trials with a value of loss; mixed has 1"
    ):
        plot.importance()


@pytest.mark.parametrize("which", ["history", "curves", "parallel", "importance", "slots"])
def test_without_a_trial_the_error_says_so(which: str) -> None:
    recording = Recording(Path("runs/mixed").absolute(), SPACE, {"loss": "min"})
    recording.write()
    with pytest.raises(lethe.LetheError, match=r"^(no trial of )?mixed has .*so there is nothing to plot$"):
        getattr(lethe.open("runs/mixed").plot, which)()


def test_where_all_failed_the_first_error_is_shown() -> None:
    plot = record([ran(0, outcome=FAILED), ran(1, outcome=FAILED)])
    with pytest.raises(lethe.LetheError, match=r"the first failed with: ValueError: too large$"):
        plot.history()
    drawn(plot.slots())


def test_an_experiment_without_a_journal_is_named() -> None:
    Path("runs/empty").mkdir(parents=True)
    with pytest.raises(lethe.LetheError, match=r"the journal of empty cannot be read: .*journal\.log"):
        lethe.open("runs/empty").plot.slots()


def test_a_search_is_no_ablation_study() -> None:
    with pytest.raises(lethe.LetheError, match="mixed is no ablation study"):
        record(MIXED).ablation()


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plot = record(MIXED)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for which in ("history", "curves", "parallel", "importance", "slots"):
        with pytest.raises(
            lethe.InstallError, match=r"plot\.\w+ needs Matplotlib; run: pip install 'lethe\[charts\]'"
        ):
            getattr(plot, which)()


def test_figures_leave_pyplot_alone() -> None:
    record(MIXED)
    code = (
        "import lethe, sys; plot = lethe.open('runs/mixed').plot; assert 'matplotlib' not in sys.modules; "
        "plot.history(); plot.slots(); print('matplotlib.pyplot' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_importance_finds_what_matters_and_says_how_well_it_is_known() -> None:
    pytest.importorskip("sklearn")
    trials = [ran(number, 0.1 * (number % 4) + 0.001 * (number % 7)) for number in range(80)]
    for number, trial in enumerate(trials):
        trial.hparams["layers"] = 1 + (number // 4) % 4
        trial.hparams["optimizer"] = "adam"
    figure = record(trials).importance()
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    widths = [bar.get_width() for bar in axes.patches]
    assert names[0] == "lr"
    assert "optimizer" not in names, "it was always the same"
    assert widths[0] > 0.5
    assert widths[1] < 0.2
    assert "80 trials, a random forest explains R² = 0.9" in axes.get_title(loc="left")
    assert axes.get_xlabel().startswith("importance: growth of the error")
    drawn(figure)


def test_importance_without_scikit_learn_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(lethe.InstallError, match=r"needs scikit-learn; run: pip install 'lethe\[charts\]'"):
        record(MIXED).importance()


def test_slots_show_what_each_did_when() -> None:
    figure = record(MIXED, slots=2).slots()
    (axes,) = figure.axes

    def spans(label: str) -> list[list[float]]:
        boxes = [path.get_extents() for path in labelled(axes)[label].get_paths()]
        return [[round(float(x), 3) for x in (box.x0, box.x1)] for box in boxes]

    # Ready after 0.1 s; each attempt loads 0.2 s, trains 0.7 s and saves 0.1 s.
    assert spans("slot 0 starting") == [[0, 0.1]]
    assert spans("slot 0 loading") == [[0.1, 0.3], [1.1, 1.3], [2.1, 2.3]]
    assert spans("slot 0 training") == [[0.3, 1.0], [1.3, 2.0], [2.3, 3.0]]
    assert spans("slot 1 saving") == [[1.0, 1.1], [2.0, 2.1]]
    assert spans("slot 1 idle") == [[2.1, 3.1]], "five trials on two slots"
    assert legend(axes) == [
        *("starting", "loading 16.7%", "training 58.3%"),
        *("saving 8.3%", "idle 16.7%"),
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slot 0", "slot 1"]
    assert axes.get_xlabel() == "time, seconds"
    assert figure.get_suptitle() == "mixed: 5 attempts on 2 slots"
    assert {"70%", "47%"} <= {text.get_text() for text in axes.texts}
    drawn(figure)


def test_a_lost_slot_and_a_resume_are_seen() -> None:
    recording = Recording(Path("runs/mixed").absolute(), SPACE, {"loss": "min"})
    recording.suggest(0, hparams(0), START)
    recording.join(0, 0)
    recording.event(START + 2_100, {"type": "slot_left", "slot": 0, "reason": "its task ended"})
    recording.write()
    recording.resume(START + 3_600_000)
    recording.join(1, 0)
    recording.write()
    figure = lethe.open("runs/mixed").plot.slots()
    (axes,) = figure.axes
    assert axes.get_xlim()[1] == pytest.approx(2.2), "the hour between them is left out"
    assert "lost or running 100.0%" in legend(axes)
    lost = labelled(axes)["slot 0 lost"].get_paths()
    assert [round(float(path.get_extents().x1), 3) for path in lost] == [2.1]
    assert any(list(line.get_xdata()) == [pytest.approx(2.1)] * 2 for line in axes.lines)
    drawn(figure)


def test_a_thousand_trials_on_many_slots_are_drawn() -> None:
    trials = [ran(number, 1 / (1 + number % 90), times=(0.1, 1.0)) for number in range(1000)]
    plot = record(trials, slots=150)
    history, slots = plot.history(), plot.slots()
    assert len(points(labelled(history.axes[0])["trial"])) == 1000
    assert slots.get_size_inches()[1] < 12
    assert len(slots.axes[0].get_yticklabels()) <= 40
    assert "100 of 150 slots are drawn" in slots.get_supxlabel()
    for figure in (history, plot.curves(), plot.parallel(), slots):
        drawn(figure)
