"""The page that a student gets back: points, what to look at, comments, and their own answers and figures.

It is built from the graded parts and the figures alone, with everything that a student wrote shown as text, so it runs
no script, loads nothing from elsewhere, and holds no test cell.
"""

import re
from html import escape

import nbformat.v4
from nbformat import NotebookNode

from scripts.course.cells import Exercise, Written, grade_id, hidden_lines
from scripts.course.grading.shown import figures
from scripts.course.pages import html_page

_TAMPERING = re.compile(r"TAMPERING: (.*?); all automatic points are 0")


def feedback_page(row, exercises: list[Exercise], written: list[Written], answers: NotebookNode | None) -> str:
    """One page for one student and lab.

    row: the `scripts.course.report.Row`; answers: the graded notebook, or None if there was nothing to grade.
    """
    texts = {grade_id(cell): cell.source for cell in answers.cells} if answers else {}
    tampering = "TAMPERING" in row.status
    blocks = [f"<h1>{escape(row.lab)}: feedback for {escape(row.student)}</h1>", *_points(row)]
    blocks += _notes(row, exercises)
    for exercise in exercises if answers else []:
        blocks += [
            f"<h2>{escape(exercise.title)}</h2>",
            _line(f"{row.scores[exercise.id]:g} of {exercise.points:g} points"),
        ]
        if exercise.id not in texts:
            blocks.append(_line("Not graded:", "this exercise was not part of the lab when you handed it in."))
            continue
        hint = _without_hidden_tests(row.hints[exercise.id], exercises)
        blocks.append(f"<pre>{escape(texts[exercise.id])}</pre>")
        if not tampering:
            blocks.append(_line("Look at this:", hint) if hint else _line("Passed."))
        blocks += _comment(row, exercise.id)
    for answer in written if answers else []:
        given = row.manual[answer.id]
        before = f"(an earlier text got {row.earlier[answer.id]:g} points)" if answer.id in row.earlier else ""
        blocks += [
            f"<h2>{escape(answer.title)}</h2>",
            _line("not graded yet" if given is None else f"{given:g} of {answer.points:g} points", before),
            f"<pre>{escape(texts.get(answer.id, ''))}</pre>",
            *_comment(row, answer.id),
        ]
    shown = list(figures(answers)) if answers else []
    blocks += ["<h2>Your figures</h2>"] * bool(shown)
    for number, (title, html) in enumerate(shown):
        same_heading = number > 0 and title == shown[number - 1][0]
        blocks += [_line(title)] * (not same_heading)
        blocks += [re.sub(r"\n\s*\n", "\n", html)]  # a blank line would end the HTML for Markdown
    cells = [nbformat.v4.new_markdown_cell(block, id=f"part-{n}") for n, block in enumerate(blocks)]  # else random ids
    notebook = nbformat.v4.new_notebook(cells=cells)
    return html_page(notebook, f"{row.lab} {row.student}")


def _points(row) -> list[str]:
    by_hand = sum(given or 0 for given in row.manual.values())
    lines = [
        _line(f"{row.automatic + by_hand:g} of {row.max:g} points", "in this lab" + ", so far" * bool(row.awaiting))
    ]
    if row.manual:
        lines.append(_line(f"{row.automatic:g} of {row.of:g} points", "in the exercises"))
    if any(given is not None for given in row.manual.values()):
        lines.append(_line(f"{by_hand:g} of {row.max - row.of - row.awaiting:g} points", "for written answers"))
    if row.awaiting:
        lines.append(_line(f"{row.awaiting:g} points", "for written answers wait for a person"))
    return lines


def _notes(row, exercises: list[Exercise]) -> list[str]:
    """What is said of the whole notebook; that it was tampered with, in one sentence of its own."""
    status, lines = row.status, []
    if found := _TAMPERING.search(status):
        status = (status[: found.start()].removesuffix("; ") + status[found.end() :]).removeprefix("; ") or "ok"
        how = _without_hidden_tests(found[1], exercises)
        lines = [_line("No points:", f"this notebook changed how its cells are run or checked ({how}).")]
    return lines + ([_line("Note:", _without_hidden_tests(status, exercises))] if status != "ok" else [])


def _comment(row, name: str) -> list[str]:
    return [_line("Comment:", row.comments[name])] if name in row.comments else []


def _line(bold: str, text: str = "") -> str:
    """A block of HTML, which Markdown leaves alone: a picture or a link in a student's text stays text."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)).replace("\n", "<br>")
    return f"<p><strong>{escape(bold)}</strong> {text}</p>"


def _without_hidden_tests(text: str, exercises: list[Exercise]) -> str:
    """The text, unless it repeats a hidden test: an error's text may be the student's own."""
    squeezed = "".join(text.split())
    hidden = [line for exercise in exercises for line in hidden_lines(exercise.test) if len(line) > 15]
    if any("".join(line.split()) in squeezed for line in hidden):
        return "The answer stopped with an error whose text is left out here."
    return text
