"""Late days are counted from nbgrader's times and due dates with a zone, and propose a penalty."""

from datetime import datetime, timedelta, timezone

import pytest

from scripts.course.handed_in import Found
from scripts.course.late import (
    BadPolicy,
    HandIn,
    Late,
    check_labs,
    columns,
    keep_policy,
    keep_time,
    kept_policy,
    kept_time,
    lateness,
    parse_policy,
    parse_time,
    read_policy,
    set_due_dates,
    time_of,
)
from scripts.interp.base.paths import ROOT
from tests.code_blocks import blocks_of

POLICY = """
time_zone = "Europe/Berlin"
free_days = 3
penalty_per_day = 10
cap = 25
[due]
01 = "2026-10-24 23:59"         # the night in which clocks go back by an hour
02-second = 2026-11-04T23:59:00
03-third = 2026-11-20T12:00:00-05:00
"""
UTC = timezone.utc
GUIDE = ROOT / "docs" / "instructor-guide.md"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_due_dates_have_a_zone():
    policy = parse_policy(POLICY)
    assert policy.due_of("01-first") == utc(2026, 10, 24, 21, 59)  # summer time
    assert policy.due_of("02-second") == utc(2026, 11, 4, 22, 59)  # winter time
    assert policy.due_of("03-third") == utc(2026, 11, 20, 17, 0)
    assert policy.due_of("04-fourth") is None


def test_the_guides_policy_is_one():
    (text,) = [block.code for block in blocks_of(GUIDE.read_text(encoding="utf-8")) if block.language == "toml"]
    policy = parse_policy(text)
    assert (policy.free_days, policy.penalty_per_day, policy.cap, set(policy.due)) == (3, 10, 50, {"01", "02"})


@pytest.mark.parametrize(
    "text, said",
    [
        ("free_days = ", "is no TOML"),
        (POLICY + "[penalty]\n", "has penalty; it may have cap, due"),
        (POLICY.replace("Europe/Berlin", "Berlin"), 'needs one like time_zone = "Europe/Berlin"'),
        (POLICY.replace("Europe/Berlin", "../../etc/passwd"), "needs one like"),
        (POLICY.replace('time_zone = "Europe/Berlin"', ""), "has 'no time_zone'"),
        (POLICY.replace("= 3", "= 1.5"), "free_days = 1.5"),
        (POLICY.replace("= 3", "= -1"), "free_days = -1"),
        (POLICY.replace("= 10", "= true"), "penalty_per_day = True"),
        (POLICY.replace("= 25", "= 101"), "cap = 101; give a number from 0 to 100"),
        (POLICY.partition("[due]")[0], "names no due dates"),
        (POLICY.replace("2026-10-24 23:59", "24.10.2026"), "due of 01: '24.10.2026' is no date with a time"),
        (POLICY.replace("2026-10-24 23:59", "2026-10-24"), "is no date with a time"),
        (POLICY.replace("T23:59:00\n", "\n"), "2026-11-04 is no date with a time"),
    ],
)
def test_a_bad_policy_gets_one_sentence(text, said):
    with pytest.raises(BadPolicy) as error:
        parse_policy(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_policy_of_other_labs_is_refused_and_a_good_one_is_kept(tmp_path):
    with pytest.raises(BadPolicy, match="due date of 02-second, 03-third; the labs are 01-first, 02-other"):
        check_labs(parse_policy(POLICY), ["01-first", "02-other"])
    with pytest.raises(BadPolicy, match="can't be read"):
        read_policy(tmp_path / "nothing.toml")
    (tmp_path / "mine.toml").write_text(POLICY)
    assert kept_policy(tmp_path) is None
    policy = keep_policy(tmp_path, tmp_path / "mine.toml", ["01-first", "02-second", "03-third"])
    assert kept_policy(tmp_path) == policy


def test_a_day_begun_is_a_day_and_free_days_go_by_due_date():
    policy = parse_policy(POLICY)
    first, second, third = (policy.due_of(lab) for lab in ("01-first", "02-second", "03-third"))
    minute, day = timedelta(minutes=1), timedelta(days=1)

    def found(*hand_ins: HandIn) -> list[Late]:
        return list(lateness(list(hand_ins), policy).values())

    assert [late.days for late in found(HandIn("a", "01-first", "a", first, 90, 100))] == [0]
    assert [late.days for late in found(HandIn("a", "01-first", "a", first + minute, 90, 100))] == [1]
    assert [late.days for late in found(HandIn("a", "01-first", "a", first + day, 90, 100))] == [1]
    assert [late.days for late in found(HandIn("a", "01-first", "a", first - 9 * day, 90, 100))] == [0]

    late = lateness(
        [
            HandIn("a", "03-third", "a", third + 4 * day, 20, 100),
            HandIn("a", "02-second", "a", second + 2 * day, 90, 100),
            HandIn("a", "01-first", "a", first + 2 * day, 90, 100),
            HandIn("b", "01-first", "b", first + 5 * day, 90, 100),
            HandIn("b", "02-second", "b", None, 90, 100),
            HandIn("b", "03-third", "b", third + 9 * day, 90, 100),
            HandIn("b", "04-fourth", "b", first, 90, 100),
        ],
        policy,
    )
    assert late["a", "01-first"][1:] == (2, 2, 0)
    assert late["a", "02-second"][1:] == (2, 1, 10)
    assert late["a", "03-third"][1:] == (4, 0, 20)  # no more than the points
    assert late["b", "03-third"][1:] == (9, 0, 25)  # nor than the cap
    assert late["b", "01-first"][1:] == (5, 3, 20)
    assert late["b", "02-second"] == Late(None, None, 0, 0) and late["b", "04-fourth"].days is None
    assert columns(late["a", "02-second"], policy.zone) == {
        "handed_in_at": "2026-11-06 23:59 CET",
        "days_late": "2",
        "free_days_used": "1",
        "proposed_penalty": "10",
    }
    assert set(columns(None, UTC).values()) == {""} == set(columns(late["b", "02-second"], UTC).values())


@pytest.mark.parametrize(
    "text, at",
    [
        ("2026-10-14 21:59:03.123456 UTC", utc(2026, 10, 14, 21, 59, 3, 123456)),
        ("2026-10-14 23:59:03 Europe/Berlin\n", utc(2026, 10, 14, 21, 59, 3)),
        ("2026-10-14 23:59:03 +0200", utc(2026, 10, 14, 21, 59, 3)),
        ("2026-10-14T23:59:03+02:00", utc(2026, 10, 14, 21, 59, 3)),
    ],
)
def test_nbgraders_times_are_read(text, at):
    assert parse_time(text) == at


def test_where_the_time_comes_from(tmp_path):
    (tmp_path / "good").write_text("2026-10-14 10:00:00 UTC")
    (tmp_path / "bad").write_text("2026-10-14 10:00:00 Nowhere")
    good, bad, zone = str(tmp_path / "good"), str(tmp_path / "bad"), parse_policy(POLICY).zone
    ten = utc(2026, 10, 14, 10)

    def of(name: str, **files: str):
        return time_of([Found(at.replace("__", "/").replace("_txt", ".txt"), p) for at, p in files.items()], name, zone)

    assert of("a.ipynb", timestamp_txt=good) == (ten, [])
    assert of("x/a.ipynb", x__timestamp_txt=good, timestamp_txt=bad) == (ten, [])
    assert of("x/y/a.ipynb", timestamp_txt=good) == (ten, [])
    assert of("x/a.ipynb", z__timestamp_txt=good) == (None, [])
    assert time_of([Found("x.zip/timestamp.txt", good)], "x.zip/a.ipynb", zone) == (None, [])
    at, notes = of("a.ipynb", timestamp_txt=bad)
    assert at is None and "holds no time" in notes[0]
    blackboard = "Lab 1_jroe_attempt_2026-01-31-17-05-33_a.ipynb"
    assert of(blackboard, timestamp_txt=good) == (utc(2026, 1, 31, 16, 5, 33), [])
    assert of(blackboard.replace("-31-", "-32-"))[1] == [
        f"{blackboard.replace('-31-', '-32-')} names no date that there is"
    ]
    for name in ("roe_LATE_7_8_a.ipynb", "LATE_anon_aB3x_8_a.ipynb"):
        at, notes = of(name)
        assert at is None and notes == ["handed in late, says Canvas, which doesn't say when"]
    assert of("roe_7_8_a_LATE.ipynb") == of("x/roe_LATE_7_8_a.ipynb") == (None, [])


def test_the_time_is_kept_where_nbgrader_looks(tmp_path):
    at = utc(2026, 10, 14, 21, 59, 3, 123456)
    keep_time(tmp_path, at)
    assert (tmp_path / "timestamp.txt").read_text() == "2026-10-14 21:59:03.123456 UTC"
    assert kept_time(tmp_path) == at
    keep_time(tmp_path, None)
    assert kept_time(tmp_path) is None


def test_the_grade_book_knows_the_due_date(tmp_path):
    from nbgrader.api import Assignment, Base, SubmittedAssignment

    class Book:
        """As much of nbgrader's as is asked of it: a real one takes seconds to make."""

        def update_or_create_assignment(self, name, duedate):
            self.made = {**getattr(self, "made", {}), name: Assignment(name=name, duedate=duedate)}

    book = Book()
    set_due_dates(book, parse_policy(POLICY), ["01-first", "04-fourth"])
    assert Base and book.made["04-fourth"].duedate is None
    submitted = SubmittedAssignment(assignment=book.made["01-first"])
    submitted.timestamp = datetime(2026, 10, 24, 22, 0)  # UTC, as nbgrader keeps times
    assert submitted.total_seconds_late == 60
