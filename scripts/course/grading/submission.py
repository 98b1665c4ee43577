"""Rebuild a student's notebook from the lab's own cells and the student's answers.

What reaches nbgrader is always well formed: marked cells come from the release (type, points, locks, tests),
only the text of answers and of ordinary cells comes from the student. Every repair is named.
"""

import nbformat.v4
from nbformat import NotebookNode

from scripts.course.cells import grade_id, is_answer


def rebuild(submitted: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The student's cells in their order with marked cells restored, and notes about what was repaired."""
    notes = []
    wanted = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
    chosen = {}  # grade_id -> index of the copy that counts
    for name, original in wanted.items():
        copies = [index for index, cell in enumerate(submitted.cells) if grade_id(cell) == name]
        written = [index for index in copies if submitted.cells[index].source.strip() != original.source.strip()]
        if len(copies) > 1:
            notes.append(f"{name} occurs {len(copies)} times (the last one that was worked on counts)")
        if copies:
            chosen[name] = written[-1] if written and is_answer(original) else copies[-1]

    cells, place = [], {}  # place: grade_id -> position in `cells`
    for index, cell in enumerate(submitted.cells):
        name = grade_id(cell)
        original = wanted.get(name)
        if original is None:
            cells.append(_ordinary(cell))
        elif chosen[name] == index:
            place[name] = len(cells)
            cells.append(_restored(cell, original, notes))
        elif is_answer(original) and index < chosen[name]:
            cells.append(_ordinary(cell))  # an older copy still runs, as it did for the student

    after = -1
    for name, original in wanted.items():
        if name not in place:
            notes.append(f"{name} was deleted (put back)")
            lost = nbformat.from_dict(original)
            if is_answer(original) and original.cell_type == "code":
                lost.source = "# the answer cell of this exercise was missing"  # the answer may stand in another cell
            cells.insert(after + 1, lost)
            place = {other: at + (at > after) for other, at in place.items()}
            place[name] = after + 1
        after = place[name]

    notebook = nbformat.v4.new_notebook(metadata=nbformat.from_dict(released.metadata), cells=cells)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook, notes


def _ordinary(cell: NotebookNode) -> NotebookNode:
    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }
    return _with_pictures(make[cell.cell_type](cell.source), cell)


def _restored(cell: NotebookNode, original: NotebookNode, notes: list[str]) -> NotebookNode:
    name = grade_id(cell)
    fresh = nbformat.from_dict(original)
    if cell.cell_type != original.cell_type:
        notes.append(f"{name} was turned into a {cell.cell_type} cell (turned back)")
    if is_answer(original):
        # blank space around an untouched answer must not make it look like one that waits for a person
        if cell.source.strip() not in ("", original.source.strip()) or original.cell_type == "code":
            fresh.source = cell.source
    elif cell.source.strip() != original.source.strip():
        notes.append(f"{name} was edited (the original was used)")
    return _with_pictures(fresh, cell)


def _with_pictures(fresh: NotebookNode, cell: NotebookNode) -> NotebookNode:
    pictures = cell.get("attachments")
    if fresh.cell_type == "markdown" and isinstance(pictures, dict):
        fresh.attachments = {name: bundle for name, bundle in pictures.items() if isinstance(bundle, dict)}
    return fresh
