"""What a notebook shows of an error; in real kernels: integration-tests."""

import re

import pyarrow as pa

import lethe


def rendered(error: lethe.LetheError) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error._render_traceback_())).split("\n")


def caught() -> lethe.LetheError:
    try:
        lethe.lagom(print, pa.table({"a": [1]}), lethe.Single())  # type: ignore[arg-type]
    except lethe.LetheError as error:
        return error
    raise AssertionError("a table is no dataset")


def test_the_message_comes_first_and_then_the_users_lines_alone() -> None:
    lines = rendered(caught())
    assert lines[0].startswith("ConfigError: dataset must be a lethe.Dataset, not Table")
    assert lines[1] == ""
    assert re.fullmatch(rf'  File "{re.escape(__file__)}", line \d+, in caught', lines[2])
    assert lines[3].strip().startswith("lethe.lagom(print")
    assert len(lines) == 4, "none of Lethe's own"


def test_what_it_came_from_follows_where_the_message_does_not_tell() -> None:
    error = lethe.ExperimentError("the search ended")
    error.__cause__ = KeyError("no more luck")
    assert [line for line in rendered(error) if line] == [
        "ExperimentError: the search ended",
        "because of",
        "KeyError: 'no more luck'",
    ]
    told = lethe.ExperimentError("ask raised KeyError: 'no more luck'")
    told.__cause__ = error.__cause__
    assert "because of" not in rendered(told)
