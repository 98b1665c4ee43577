"""For the instructor: how a class did in each exercise, as a page and as a table.

The page needs no network and no script, and follows the reader's light or dark colours.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from scripts.course.cells import Exercise, Written
from scripts.course.look import needs_a_look, waiting
from scripts.course.report import Row, safe
from scripts.course.similarity import Similar

BINS = 10  # of the histogram: tenths of a lab's points
TAMPERED = "no points: "  # how a hint begins that says nothing about the answer

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #ffffff; --line: #cbd2d9; --bar: #1f6fb2; --soft: #52606d }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #15191e; --line: #3e4c59; --bar: #6cb2eb; --soft: #a3b1bf }
}
body { font: 16px/1.45 Helvetica, Arial, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 0 auto; padding: 1rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line) }
th.n, td.n { text-align: right; white-space: nowrap }
td.hint { min-width: 18rem; color: var(--soft) }
td.hint, li { overflow-wrap: anywhere }
caption { text-align: left; font-weight: bold; padding: .5rem 0 }
@media (max-width: 40rem) {
  .wide tr { display: grid; grid-template-columns: 1fr auto auto; border-bottom: 1px solid var(--line) }
  .wide th, .wide td { border: 0 }
  .wide td.hint, .wide th:nth-child(4) { grid-column: 1 / -1; min-width: 0 }
}
.histogram { width: 100%; max-width: 40rem }
.histogram td.bar { width: 100% }
.bar div { background: var(--bar); height: 1.1rem }
"""


class Result(NamedTuple):
    """How a class did in one exercise."""

    lab: str
    exercise: str
    title: str
    points: float
    graded: int  # how many were graded
    passed: int  # of them, with all points
    mean: float  # points
    hint: str  # the one that most got, "" if nobody got one
    hinted: int  # how many got it

    @property
    def share(self) -> float:
        return self.passed / self.graded if self.graded else 1.0


Labs = dict[str, tuple[list[Exercise], list[Written]]]


def results(rows: list[Row], labs: Labs) -> list[Result]:
    """How the class did in each exercise of each lab, in order. What was not graded, or before there was the exercise,
    counts for nothing."""
    found = []
    for lab, (exercises, _) in labs.items():
        graded = [row for row in rows if row.lab == lab and row.graded]
        for exercise in exercises:
            have = [row for row in graded if exercise.id not in row.outdated]
            scores = [row.scores[exercise.id] for row in have]
            hint, hinted = commonest(row.hints.get(exercise.id, "") for row in have)
            passed = sum(score >= exercise.points for score in scores)
            mean = sum(scores) / len(scores) if scores else 0.0
            found.append(
                Result(lab, exercise.id, exercise.title, exercise.points, len(have), passed, mean, hint, hinted)
            )
    return found


def commonest(hints: Iterable[str]) -> tuple[str, int]:
    """The hint that occurs most often, and how often. Hints that differ in numbers only are one."""
    kinds: dict[str, list[str]] = {}
    for hint in hints:
        if hint and not hint.startswith(TAMPERED):
            kinds.setdefault(re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", hint), []).append(hint)
    several = max(kinds.values(), key=len, default=[""])
    return Counter(several).most_common(1)[0][0], len(several) if kinds else 0


def hardest(found: list[Result]) -> Result | None:
    """The exercise that the smallest share passed; None if nobody was graded or everybody passed everything."""
    return min((each for each in found if each.graded and each.passed < each.graded), key=_share, default=None)


def histogram(rows: list[Row]) -> list[int]:
    """How many of the graded have how many tenths of a lab's points, those by hand and extra credit included."""
    counts = [0] * BINS
    for row in rows:
        if row.graded and row.max:
            share = (row.automatic + sum(given or 0 for given in row.manual.values())) / row.max
            counts[max(0, min(BINS - 1, int(share * BINS)))] += 1
    return counts


def overview_csv(found: list[Result]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = "lab exercise title points graded passed mean_points commonest_hint got_that_hint"
    writer.writerow(columns.split())
    for each in found:
        numbers = [f"{each.points:g}", each.graded, each.passed, f"{each.mean:.2f}"]
        writer.writerow([each.lab, each.exercise, safe(each.title), *numbers, safe(each.hint), each.hinted])
    return file.getvalue()


def overview_page(rows: list[Row], labs: Labs, similar: Sequence[Similar] = ()) -> str:
    """The page. similar: functions that students have in common, of which it names how many there are"""
    found = results(rows, labs)
    blocks = [_list("Needs a look", needs_a_look(rows), "Nothing: everything that was handed in could be graded.")]
    for lab in labs:
        mine = [row for row in rows if row.lab == lab]
        blocks += _lab(lab, mine, [each for each in found if each.lab == lab])
    blocks.append(_list("Written answers that wait for a person", waiting(rows), "None."))
    if similar:
        some = f"{len(similar)} function{'s' * (len(similar) > 1)}"
        blocks.append(
            f"<h2>Similar answers</h2><p>{some} of several students are the same but for names and comments: "
            "<code>similar.csv</code> says whose. That is no proof of anything, and no points depend on it.</p>"
        )
    body = "\n".join(blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>How the class did</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>How the class did</h1>\n{body}\n</body></html>\n"
    )


def _lab(lab: str, rows: list[Row], found: list[Result]) -> list[str]:
    handed_in, graded = sum(row.handed_in for row in rows), sum(row.graded for row in rows)
    blocks = [f"<h2>{escape(lab)}</h2>", f"<p>{handed_in} of {len(rows)} handed in, {graded} could be graded.</p>"]
    if not graded:
        return blocks
    if worst := hardest(found):
        blocks.append(
            f"<p>The hardest exercise: <strong>{escape(worst.title)}</strong>, "
            f"passed by {worst.passed} of {worst.graded}.</p>"
        )
    return [*blocks, _exercises(found), _bars(histogram(rows))]


def _exercises(found: list[Result]) -> str:
    lines = [
        f'<tr><th scope="row">{escape(each.title)}</th>'
        f'<td class="n">{each.passed} of {each.graded}</td>'
        f'<td class="n">{each.mean:.1f} of {each.points:g}</td>'
        f'<td class="hint">{escape(each.hint)}{f" ({each.hinted})" if each.hinted else ""}</td></tr>'
        for each in found
    ]
    head = (
        '<tr><th scope="col">exercise</th><th scope="col" class="n">passed</th>'
        '<th scope="col" class="n">points on average</th><th scope="col">commonest hint (how many got it)</th></tr>'
    )
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _bars(counts: list[int]) -> str:
    step = 100 // BINS
    lines = [
        f'<tr><th scope="row" class="n">{i * step}–{(i + 1) * step - (i < BINS - 1)} %</th><td class="n">{n}</td>'
        f'<td class="bar"><div style="width: {100 * n / max(counts):.0f}%"></div></td></tr>'
        for i, n in reversed(list(enumerate(counts)))
    ]
    caption = "How many have how much of the lab's points, those for written answers included"
    head = '<tr><th scope="col" class="n">points</th><th scope="col" class="n">students</th><th></th></tr>'
    return (
        f'<table class="histogram"><caption>{caption}</caption><thead>{head}</thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _list(title: str, lines: list[str], otherwise: str) -> str:
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2>" + (f"<ul>{listed}</ul>" if lines else f"<p>{otherwise}</p>")


def _share(each: Result) -> float:
    return each.share
