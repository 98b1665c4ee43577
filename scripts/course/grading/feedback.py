"""The page that a student gets back: points, what to look at, and their own answers.

It is built from the graded parts alone, with everything that a student wrote shown as text, so it runs no
script, loads nothing from elsewhere, and holds no test cell.
"""

import re
from html import escape

import nbformat.v4
from nbformat import NotebookNode

from scripts.course.cells import Exercise, Written, grade_id, hidden_lines
from scripts.course.pages import html_page


def feedback_page(row, exercises: list[Exercise], written: list[Written], answers: NotebookNode | None) -> str:
    """One page for one student and lab.

    row: the `scripts.course.report.Row`; answers: the graded notebook, or None if there was nothing to grade.
    """
    texts = {grade_id(cell): cell.source for cell in answers.cells} if answers else {}
    blocks = [
        f"<h1>{escape(row.lab)}: feedback for {escape(row.student)}</h1>",
        _line(f"{row.automatic:g} of {row.of:g} points", "in the exercises"),
    ]
    if written and row.awaiting:
        blocks.append(_line(f"{row.awaiting:g} points", "for written answers wait for a person"))
    if row.status != "ok":
        blocks.append(_line("Note:", _without_hidden_tests(row.status, exercises)))
    for exercise in exercises if answers else []:
        hint = _without_hidden_tests(row.hints[exercise.id], exercises)
        blocks += [
            f"<h2>{escape(exercise.title)}</h2>",
            _line(f"{row.scores[exercise.id]:g} of {exercise.points:g} points"),
            f"<pre>{escape(texts[exercise.id])}</pre>",
            _line("Look at this:", hint) if hint else _line("Passed."),
        ]
    for answer in written if answers else []:
        given = row.manual[answer.id]
        blocks += [
            f"<h2>{escape(answer.title)}</h2>",
            _line("not graded yet" if given is None else f"{given:g} of {answer.points:g} points"),
            f"<pre>{escape(texts[answer.id])}</pre>",
        ]
        if answer.id in row.comments:
            blocks.append(_line("Comment:", row.comments[answer.id]))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(block) for block in blocks])
    return html_page(notebook, f"{row.lab} {row.student}")


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
