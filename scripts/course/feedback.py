"""The page that a student gets back: points, what to look at, and their own answers.

It is built from the graded parts alone, with everything that a student wrote shown as text, so it runs no
script, loads nothing from elsewhere, and holds no test cell.
"""

from html import escape

import nbformat.v4
from nbformat import NotebookNode

from scripts.course.cells import Exercise, Written, grade_id, hidden_lines
from scripts.course.pages import html_page


def feedback_page(
    row, exercises: list[Exercise], written: list[Written], answers: NotebookNode | None
) -> str:
    """One page for one student and lab.

    row: the `scripts.course.report.Row`; answers: the graded notebook, or None if there was nothing to grade.
    """
    texts = {grade_id(cell): cell.source for cell in answers.cells} if answers else {}
    cells = [
        f"# {escape(row.lab)}: feedback for {escape(row.student)}\n\n"
        f"**{row.automatic:g} of {row.of:g} points** in the exercises. " + _about_written(row, written)
    ]
    if row.status != "ok":
        cells.append(f"**Note:** {_plain(row.status)}")
    for exercise in exercises if answers else []:
        score = row.scores[exercise.id]
        cells.append(f"## {escape(exercise.title)}\n\n**{score:g} of {exercise.points:g} points**")
        cells.append(f"<pre><code>{escape(texts[exercise.id])}</code></pre>")
        hint = _without_hidden_tests(row.hints.get(exercise.id, ""), exercise)
        cells.append(f"**Look at this:** {_plain(hint)}" if hint else "Passed.")
    for answer in written if answers else []:
        given = row.manual[answer.id]
        points = "not graded yet" if given is None else f"{given:g} of {answer.points:g} points"
        cells.append(f"## {escape(answer.title)}\n\n**{points}**")
        cells.append(f"<pre>{escape(texts[answer.id])}</pre>")
        if answer.id in row.comments:
            cells.append(f"**Comment:** {_plain(row.comments[answer.id])}")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in cells])
    return html_page(notebook, f"{row.lab} {row.student}")


def _about_written(row, written: list[Written]) -> str:
    if row.awaiting:
        return f"Written answers worth {row.awaiting:g} points wait for a person."
    return (
        f"Written answers: {sum(row.manual.values()):g} of {sum(a.points for a in written):g} points."
        if written
        else ""
    )


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    return f"<span style='white-space: pre-wrap'>{escape(text)}</span>".replace("\n", "<br>")


def _without_hidden_tests(hint: str, exercise: Exercise) -> str:
    """The hint, unless an error's text repeats a hidden test."""
    squeezed = "".join(hint.split())
    if any(len(line) > 15 and "".join(line.split()) in squeezed for line in hidden_lines(exercise.test)):
        return "The answer stopped with an error whose text is left out here."
    return hint
