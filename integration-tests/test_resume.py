"""A search whose process was killed goes on from its journal; a finished one is extended."""

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from conftest import lethe_processes, wait_for
from journals import count, events
from programs import Program, held_after
from searches import mlp, search, training
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

LOCAL = """
    dataset = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2, seed=7)
"""
#: What the process that is killed runs, and the one that goes on.
TRIALS, EPOCHS, BATCH = 20, 27, 8
SEARCH = f"""
    lethe.lagom(training(epochs={EPOCHS}, batch_size={BATCH}), dataset,
                search({TRIALS}, stopping=lethe.ASHA(reduction=3)),
                spark=False, slots=1, name="killed", quiet=True)
"""
DECISIONS = "('suggested', 'pause', 'promoted', 'trial_ended')"


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def run(dataset: lethe.Dataset, what: lethe.Search, **options: Any) -> lethe.Result:
    changes = {name: options.pop(name) for name in ("model", "epochs", "batch_size") if name in options}
    return lethe.lagom(
        training(**changes), dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options}
    )


def kill(program: Program, before: set[int]) -> None:
    """The user's process; all of its processes follow it."""
    os.kill(program.process.pid, signal.SIGKILL)
    assert wait_for(lambda: lethe_processes() <= before, 10)


def decisions(result: lethe.Result) -> list[dict[str, Any]]:
    found = result.sql(
        f"select kind, trial, epoch, text from events where kind in {DECISIONS} order by sequence"
    )
    return [
        {name: value for name, value in row.items() if not pd.isna(value)} for row in found.to_dict("records")
    ]


def test_a_killed_search_ends_as_if_nothing_had_been(dataset: lethe.Dataset) -> None:
    folder, before = Path("lethe-runs/killed"), lethe_processes()
    with Program(LOCAL, SEARCH) as program:
        assert wait_for(lambda: held_after(lambda: events(folder), 9, before), 60)
        kill(program, before)
    at_death = events(folder)
    hit = next(event["trial"] for event in reversed(at_death) if event["type"] == "report")
    there = lethe.open("killed").trials
    done = there[there["state"] == "finished"]["trial"].tolist()

    what = search(TRIALS, stopping=lethe.ASHA(reduction=3))
    how = {"epochs": EPOCHS, "batch_size": BATCH, "slots": 1}
    result = run(dataset, what, name="killed", resume=True, **how)
    assert events(folder)[: len(at_death)] == at_death, "what was decided stays"
    again = result.sql("select trial, epoch, text from events where kind = 'assigned' order by sequence")
    resumed = int(
        result.sql("select count(*) as n from events where kind = 'assigned' and sequence < "
                   "(select max(sequence) from events where kind = 'resumed')")["n"].iloc[0]
    )  # fmt: skip
    assert again["trial"].iloc[resumed] == hit, "what was broken off goes on first"
    assert again["epoch"].iloc[resumed] == 9, "from its checkpoint"
    columns = ["trial", "state", "value", "epochs", "attempts", "train_s"]
    kept = result.trials[result.trials["trial"].isin(done)][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept,
        there[there["trial"].isin(done)][columns].reset_index(drop=True),
        check_dtype=False,
        check_exact=True,
    )

    whole = run(dataset, what, **how)
    pd.testing.assert_frame_equal(result.history, whole.history, check_exact=True)
    assert decisions(result) == decisions(whole)
    assert result.trials["value"].equals(whole.trials["value"])
    assert result.trials["state"].equals(whole.trials["state"])
    extra = result.trials["attempts"] - whole.trials["attempts"]
    assert extra[extra != 0].to_dict() == {hit: 1}
    assert result.best is not None
    assert whole.best is not None
    assert result.best.hparams == whole.best.hparams
    for one, other in zip(result.best_model().parameters(), whole.best_model().parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_journal_says_what_the_result_says(dataset: lethe.Dataset) -> None:
    result = run(dataset, search(9, stopping=lethe.ASHA(reduction=3)), epochs=9, name="said")
    reports = [event for event in events(Path("lethe-runs/said")) if event["type"] == "report"]
    rows = [{"trial": e["trial"], "epoch": e["epoch"], **e["metrics"]} for e in reports]
    said = pd.DataFrame(rows).sort_values(["trial", "epoch"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(said[result.history.columns], result.history, check_exact=True)
    last = said.groupby("trial")["accuracy"].last()
    assert result.trials.set_index("trial")["value"].to_dict() == last.to_dict()


def test_a_finished_search_is_extended_by_trials_and_paused_ones_go_on(dataset: lethe.Dataset) -> None:
    def asked(trials: int) -> lethe.Search:
        return search(trials, stopping=lethe.ASHA(reduction=3))

    first = run(dataset, asked(6), epochs=9, name="more", slots=1)
    more = run(dataset, asked(18), epochs=9, name="more", slots=1, resume=True)
    assert len(more.trials) == 18
    old, new = first.trials, more.trials[:6]
    assert old["lr"].equals(new["lr"])
    finished = old["state"] == "finished"
    assert old[finished]["attempts"].equals(new[finished]["attempts"]), "not run again"
    assert (new["epochs"] >= old["epochs"]).all()
    # Of 18 trials more are among the best third than of 6; what those had paused is gone on with.
    assert (more.trials["epochs"] > 1).sum() > (old["epochs"] > 1).sum()
    merged = first.history.merge(more.history, how="left")
    assert len(merged) == len(first.history), "their epochs stay as they were"
    whole = run(dataset, search(18), epochs=9, slots=1).history.set_index(["trial", "epoch"])
    parts = more.history.set_index(["trial", "epoch"])
    pd.testing.assert_frame_equal(parts, whole.loc[parts.index], check_exact=True)


def test_a_finished_search_is_extended_by_time(dataset: lethe.Dataset) -> None:
    first = run(dataset, search(None, seconds=4.0), epochs=1, name="longer")  # type: ignore[arg-type]
    assert not first.interrupted
    more = run(dataset, search(None, seconds=10.0), epochs=1, name="longer", resume=True)  # type: ignore[arg-type]
    done = first.trials[first.trials["state"] == "finished"]
    assert len(done) > 0
    assert (more.trials["state"] == "finished").sum() > len(done)
    kept = more.trials.loc[done.index]
    assert kept["value"].equals(done["value"])
    assert kept["attempts"].equals(done["attempts"])
    nothing = run(dataset, search(None, seconds=9.0), epochs=1, name="longer", resume=True)  # type: ignore[arg-type]
    assert len(nothing.trials) <= len(more.trials) + 2, "its time was over"


def narrow(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return mlp({**hparams, "width": 8}, inputs)


def test_a_changed_generator_is_refused_line_by_line(dataset: lethe.Dataset) -> None:
    run(dataset, search(2), epochs=1, name="changed")
    at_first = events(Path("lethe-runs/changed"))
    with pytest.raises(lethe.ExperimentError, match="accept_changes=True") as caught:
        run(dataset, search(4), epochs=1, name="changed", resume=True, model=narrow)
    lines = str(caught.value).splitlines()
    assert '+ model:     return mlp({**hparams, "width": 8}, inputs)' in lines
    assert "- model:     return nn.Sequential(" in lines
    assert events(Path("lethe-runs/changed")) == at_first, "nothing was begun"
    result = run(dataset, search(4), epochs=1, name="changed", resume=True, accept_changes=True, model=narrow)
    assert result.trials["state"].tolist() == ["finished"] * 4


def test_a_changed_space_is_refused_by_its_parameter(dataset: lethe.Dataset) -> None:
    wide = lethe.SearchSpace(lr=lethe.loguniform(1e-3, 1e-1), width=lethe.integer(16, 64))
    run(dataset, search(2), epochs=1, name="space")
    with pytest.raises(lethe.ExperimentError) as caught:
        run(dataset, search(4, space=wide), epochs=1, name="space", resume=True)
    text = str(caught.value)
    assert "~ space.lr.domain.high: 0.01 → 0.1" in text
    assert "- space.dropout" in text
    assert "space.width" not in text
    with pytest.raises(lethe.ExperimentError, match=r"~ function\.epochs: 1 → 2"):
        run(dataset, search(4), epochs=2, name="space", resume=True)
    result = run(dataset, search(4, space=wide), epochs=1, name="space", resume=True, accept_changes=True)
    assert result.trials["dropout"].notna().tolist() == [True, True, False, False]


def test_two_processes_on_one_experiment_are_refused(dataset: lethe.Dataset) -> None:
    endless = """
        lethe.lagom(training(epochs=100000), dataset, search(4), spark=False, slots=2, name="mine")
    """
    folder, before = Path("lethe-runs/mine"), lethe_processes()
    with Program(LOCAL, endless) as program:
        assert wait_for(lambda: count(folder, "report") > 0, 60)
        inside = {path for path in folder.rglob("*") if path.is_dir()}
        with pytest.raises(lethe.ExperimentError) as caught:
            run(dataset, search(4), epochs=100000, name="mine", resume=True)
        first = str(caught.value).splitlines()[0]
        assert "is in use by process" in first
        assert str(folder.absolute()) in first
        assert {path for path in folder.rglob("*") if path.is_dir()} == inside, "not ours to tidy"
        reports = count(folder, "report")
        assert wait_for(lambda: count(folder, "report") > reports, 10), "the other one goes on"
        program.process.kill()
    assert wait_for(lambda: len(lethe_processes() - before) <= 4, 10)


def test_a_torn_end_is_dropped_and_damage_before_it_is_not(dataset: lethe.Dataset) -> None:
    first = run(dataset, search(3), epochs=1, name="torn")
    journal = Path("lethe-runs/torn/journal.log")
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-7])
    result = run(dataset, search(5), epochs=1, name="torn", resume=True)
    assert len(result.trials) == 5
    assert result.trials["value"][:3].equals(first.trials["value"])
    after = journal.read_bytes()
    assert after.startswith(whole), "cut off, nothing before it"
    events(journal.parent)

    lines = after.splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"', b"'", 1)
    damaged = b"".join(lines)
    journal.write_bytes(damaged)
    with pytest.raises(lethe.ExperimentError, match=r"journal\.log.* line 5"):
        run(dataset, search(6), epochs=1, name="torn", resume=True)
    assert journal.read_bytes() == damaged
