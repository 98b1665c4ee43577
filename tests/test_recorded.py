"""Recorded checks: what is written down of a solved lab, and what a student's functions meet."""

import json
from typing import NamedTuple

import pytest
import torch

from scripts.course import recorded, recording
from scripts.course.cells import Exercise, recorded_part, visible_part
from scripts.course.checks import CheckFailed
from scripts.course.recording import check_line
from scripts.interp.base.paths import ROOT
from tests.test_answers import EXERCISES, LABS, fresh_namespace, source_of


class Pair(NamedTuple):
    """Something that is no plain data."""

    left: torch.Tensor
    right: list[int]


SOLUTION = """\
def both(pair, scale, table):
    \"\"\"Two numbers and a function.\"\"\"
    ### BEGIN SOLUTION
    if scale == 0:
        raise ValueError("nothing to scale by")
    return {"sum": pair.left.sum() * scale, "names": [*table], "add": lambda x: x + pair.left}
    ### END SOLUTION
"""
TEST = """\
check("00/ex1-both", both, pair=made())
### BEGIN HIDDEN TESTS
### BEGIN RECORDED TESTS
pair = made()
got = answer(both, pair, 2.0, {"a": (1, None), "b": torch.bfloat16})
expect_keys(got, ["sum", "names", "add"], "Return a dictionary.")
expect_kind(got["sum"], "number", "Return one number, not a {type}.")
expect_close(got["sum"], 12.0, "The sum", {"Not scaled.": pair.left.sum()})
expect_equal(got["names"], ["a", "b"], "The names", {"Backwards.": ["b", "a"]})
expect_length(got["names"], 2, "Two names.")
added = answer(got["add"], torch.ones(3))
answer(got["add"], torch.ones(1, 5)[:, 0])  # one number, with a stride of five
expect_close(added, pair.left + 1, "What the function gives", {"Nothing added.": torch.ones(3)})
several = [answer(both, pair, scale, {}) for scale in (1.0, 3.0)]
expect_close([each["sum"] for each in several], [6.0, 18.0], "The sums", {"One too large.": [7.0, 19.0]})
expect_no_nan([each["sum"] for each in several], "No NaN.")
expect_error(ValueError, "Raise ValueError, not {got}.", both, pair, 0, {})
expect_no_error(IndexError, "No IndexError.", both, pair, 1, {3: [4]})
### END RECORDED TESTS
secret = 1
### END HIDDEN TESTS
"""


def made() -> Pair:
    return Pair(torch.tensor([1.0, 2.0, 3.0]), [4])


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A folder with the record of the exercise above."""
    monkeypatch.setattr(recorded, "RECORDS", tmp_path)
    monkeypatch.setattr(recorded, "read_record", lambda lab: recorded.Record(*record_of(TEST)))
    (tmp_path / "00.json").touch()
    return tmp_path


def record_of(test: str) -> recorded.Record:
    tensors = {}
    exercise = Exercise("ex1-both", "", 1.0, SOLUTION, test)
    calls = recording.record_exercise(exercise, {"made": made, "torch": torch}, tensors, "00")
    return recorded.Record({"ex1-both": json.loads(json.dumps(calls))}, tensors)


RIGHT = {"torch": torch}
exec(SOLUTION, RIGHT)
ANSWERS = {  # an answer, and the hint that it gets
    "as it is": (RIGHT["both"], ""),
    "not scaled": (lambda p, s, t: RIGHT["both"](p, s and 1.0, t), "Not scaled."),
    "one too large": (
        lambda p, s, t: {**(r := RIGHT["both"](p, s, t)), "sum": r["sum"] + (s not in (0, 2))},
        "One too large.",
    ),
    "backwards": (lambda p, s, t: {**(r := RIGHT["both"](p, s, t)), "names": r["names"][::-1]}, "Backwards."),
    "a list": (lambda p, s, t: [1, 2, 3], "Return a dictionary."),
    "a text": (lambda p, s, t: {**RIGHT["both"](p, s, t), "sum": "six"}, "Return one number, not a str."),
    "nothing added": (lambda p, s, t: {**RIGHT["both"](p, s, t), "add": lambda x: x * 1}, "Nothing added."),
    "no error": (lambda p, s, t: RIGHT["both"](p, s or 1e-9, t), "Raise ValueError, not {'sum'"),
    "an index": (lambda p, s, t: RIGHT["both"](p, s, t) if 3 not in t else [][1], "No IndexError."),
}


@pytest.mark.parametrize("function, hint", ANSWERS.values(), ids=ANSWERS)
def test_a_record_checks_what_was_recorded(records, capsys, function, hint):
    function.__name__ = "both"
    if not hint:
        recorded.check("00/ex1-both", function, pair=made())
        assert capsys.readouterr().out == "passed: both\n"
        return
    with pytest.raises(CheckFailed) as failed:
        recorded.check("00/ex1-both", function, pair=made())
    assert hint in str(failed.value)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('expect_close(got["sum"]', 'expect_close(got["sum"] + 1', "unsupported operand"),
        ("several = [", "if got: pass\nseveral = [", "can't decide by what `answer` gives"),
        (", pair=made())", ")", "a Pair can't be recorded: give it to `check`"),
        ("00/ex1-both", "00/ex2-other", "must be '00/ex1-both'"),
        ('check("00', 'checked("00', "calls `check` 0 times"),
        ("[6.0, 18.0]", "[6.0, 17.0]", "The sums differs from the expected values by up to 1"),
    ],
)
def test_what_would_make_a_wrong_record_stops_the_release(old, new, message):
    with pytest.raises((ValueError, TypeError, CheckFailed)) as error:
        record_of(TEST.replace(old, new, 1))
    assert message in str(error.value)


def test_a_record_that_is_not_there_is_a_failed_check(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "RECORDS", tmp_path)
    with pytest.raises(CheckFailed, match="no record of '00/ex1-both'.*fresh copy"):
        recorded.check("00/ex1-both", len)
    with pytest.raises(CheckFailed, match="no record of '01/ex9-none'"):
        monkeypatch.undo()
        recorded.check("01/ex9-none", len)


def test_a_record_is_the_same_bytes_twice_and_other_rounding_does_not_renew_it(tmp_path):
    first, second = record_of(TEST), record_of(TEST)
    assert recording.written(first) == recording.written(second)
    recording.write_record(first, tmp_path, "00")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    rounded = {
        name: value * (1 + 1e-7) if value.is_floating_point() else value for name, value in first.tensors.items()
    }
    recording.write_record(first._replace(tensors=rounded), tmp_path, "00")
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    other = record_of(TEST.replace("Not scaled.", "Scale it."))
    assert not recording.agrees(other, tmp_path, "00")
    recording.write_record(other, tmp_path, "00")
    assert recording.agrees(other, tmp_path, "00") and not recording.agrees(first, tmp_path, "00")


def test_students_see_one_line_of_it():
    assert visible_part(TEST).strip() == 'check("00/ex1-both", both, pair=made())'
    assert recorded_part(TEST).startswith("pair = made()") and "secret" not in recorded_part(TEST)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.NOTEBOOK)
def test_records_are_small(lab):
    files = recorded.RECORDS.glob(f"{recording.lab_of(ROOT / lab.NOTEBOOK)}.*")
    assert 0 < sum(path.stat().st_size for path in files) <= recording.MAX_BYTES


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.NOTEBOOK)
def test_a_record_says_what_its_source_says(lab):
    """An answer gets the same hint from the record as from the tests that were recorded: some of each exercise."""
    differing = []
    for exercise in EXERCISES[lab].values():
        wrong = {name: change for name, (change, _) in lab.WRONG[exercise.id].items()}
        some = list(wrong.items())[:: max(1, len(wrong) // 4)] + list(lab.RIGHT[exercise.id].items())[:1]
        for name, change in some:
            namespace = fresh_namespace(lab)
            exec(source_of(exercise, change), namespace)
            hints = [hint_of(part, namespace) for part in (check_line(exercise), recorded_part(exercise.test))]
            if hints[0] != hints[1]:
                differing.append((exercise.id, name, *hints))
    assert differing == []


def hint_of(source: str, namespace: dict) -> str:
    try:
        exec(source, dict(namespace))
    except CheckFailed as failed:
        return str(failed)
    return ""
