import logging
from collections import Counter
from typing import Any

import pytest

from cxr_edge.results.index import State
from cxr_edge.scan import progress
from cxr_edge.scan.progress import Expected, ProgressDisplay, Tally, time_left
from cxr_edge.text import choose_level

NORMAL, PNEUMONIA = (State("ab" * 32, "ok", label) for label in ("NORMAL", "PNEUMONIA"))
REFUSED, CUT, EMPTY = State("ab" * 32, "refused"), *(State(None, "error", kind=kind) for kind in ("truncated", "empty"))


def tally_of(*states: State, known: bool = False) -> Tally:
    tally = Tally()
    for state in states:
        tally.count(state, before=None, known=known)
    return tally


def test_counts_by_outcome() -> None:
    tally = tally_of(NORMAL, NORMAL, PNEUMONIA, REFUSED, CUT, EMPTY, EMPTY)
    assert (tally.labels, tally.errors, tally.refused) == (
        {"NORMAL": 2, "PNEUMONIA": 1},
        {"truncated": 1, "empty": 2},
        1,
    )
    assert str(tally) == (
        "7 inputs: 2 NORMAL, 1 PNEUMONIA, 1 refused, 3 errors (empty 2, truncated 1); 0 were answered before"
    )


def test_what_was_left_out_is_said() -> None:
    tally = tally_of(NORMAL)
    tally.skipped = Counter({"hidden": 2, "other files": 10, "own output": 0})
    assert str(tally).endswith("; 12 files and folders were left out (other files 10, hidden 2)")


@pytest.mark.parametrize("before", [CUT, REFUSED, NORMAL])
def test_what_is_answered_later_counts_as_answered(before: State) -> None:
    tally = tally_of(before)
    tally.count(PNEUMONIA, before=before, known=False)
    assert (tally.total, tally.labels, tally.errors, tally.refused) == (1, {"PNEUMONIA": 1}, {}, 0)
    assert tally.recorded == 2


def test_what_is_given_twice_counts_once() -> None:
    tally = tally_of(NORMAL)
    tally.count(NORMAL, before=NORMAL, known=True)
    assert (tally.total, tally.known, tally.recorded) == (1, 0, 1)


def test_a_known_input_that_changes_stays_one() -> None:
    tally = tally_of(CUT, known=True)
    tally.count(NORMAL, before=CUT, known=False)
    assert (tally.total, tally.known, tally.recorded, tally.errors) == (1, 1, 1, {})


def test_the_time_left_does_not_count_what_was_answered_before() -> None:
    tally = tally_of(*[NORMAL] * 900, known=True)
    assert time_left(tally, 1000, 2.0) == ""
    for _ in range(10):
        tally.count(NORMAL, before=None, known=False)
    assert time_left(tally, 1000, 20.0) == "0:03:00"  # 90 more at half a file a second
    assert time_left(tally, None, 20.0) == ""
    assert time_left(tally, 900, 20.0) == "0:00:00"


def test_a_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, now = logging.getLogger("cxr_edge"), [100.0]
    for name in ("handlers", "propagate", "level"):  # as they were, for the tests after this one
        monkeypatch.setattr(logger, name, getattr(logger, name))
    choose_level("info")
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tally: Any = tally_of(NORMAL, PNEUMONIA, CUT, REFUSED)
    with ProgressDisplay("PNEUMONIA", Expected(40)) as display:
        display.show(tally)
        now[0] += 40
        display.show(tally)
        display.show(tally)
    assert capsys.readouterr().err == "4 of 40, 0:06:00 left, 0.1/s, 1 PNEUMONIA, 1 refused, 1 errors\n"
