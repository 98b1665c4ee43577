"""Which of a student's files is a lab, and which one counts where there are several.

What was worked on counts before what was left as handed out, then the newest attempt ("attempt 2", "v2", "-2", "(2)",
the platform's date), then the one with more answers. JupyterLab's checkpoints count where nothing else was worked on.
What was not graded is named.
"""

import re
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode

from scripts.course.cells import UnreadableNotebook, grade_id, is_answer, read_notebook
from scripts.course.handed_in import CHECKPOINTS, Found
from scripts.course.reading import MAX_NOTEBOOK_BYTES

MAX_NAMED = 5  # files named in one sentence
_VERSION = re.compile(
    r"(?<![a-z])(?:attempt|version|submission|try|v)[\s._-]*(\d{4}(?:-\d\d){5}|\d{1,3}(?!\d))"
    r"|(?:-|\()(\d{1,3})\)?(?=\.ipynb)",
    re.I,
)


class NotFound(ValueError):
    """There is no notebook to grade; the message says why."""


class NothingHandedIn(NotFound):
    """No file is, or could be, this lab."""


class HandedIn(NamedTuple):
    """A student's files, read once for all labs."""

    notebooks: list[tuple[str, NotebookNode]]  # with their names
    unreadable: dict[str, str]  # notebooks that can't be read: why, by name
    others: list[str]  # whatever else was handed in, with a reason where there is one


class Candidate(NamedTuple):
    """A notebook that is this lab."""

    name: str
    notebook: NotebookNode
    answers: int  # how many were written
    own_cells: frozenset[str]  # the texts that differ from what was handed out


def read_all(files: list[Found]) -> HandedIn:
    notebooks, unreadable, others = [], {}, []
    for file in files:
        certain = ".ipynb" in file.name.lower()
        if not file.path:
            others.append(f"{file.name} ({file.why})" if file.why else file.name)
            continue
        try:
            if certain or _is_marked(Path(file.path)):
                notebooks.append((file.name, read_notebook(Path(file.path))))
            else:
                others.append(file.name)
        except (UnreadableNotebook, OSError) as error:
            unreadable[file.name] = str(error)
    return HandedIn(notebooks, unreadable, others)


def _is_marked(path: Path) -> bool:
    """Whether a file of any name mentions nbgrader, as every lab does."""
    if path.stat().st_size > MAX_NOTEBOOK_BYTES:
        return False
    return b"nbgrader" in path.read_bytes().replace(b"\0", b"")  # in UTF-16 every other byte is 0


def choose(handed_in: HandedIn, lab: str, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """As `choose_file`, for who wants the notebook alone."""
    best, notes = choose_file(handed_in, lab, released)
    return best.notebook, notes


def choose_file(handed_in: HandedIn, lab: str, released: NotebookNode) -> tuple[Candidate, list[str]]:
    """The file of one lab that counts, and notes about what else there is.

    A renamed notebook is recognised by its cells' grade_ids. Raises `NotFound` or `UnreadableNotebook`.
    """
    own = {grade_id(cell) for cell in released.cells} - {"", "setup"}
    candidates, strangers, not_this = [], [], []
    for name, notebook in handed_in.notebooks:
        marks = {grade_id(cell) for cell in notebook.cells} - {"", "setup"}
        if len(marks & own) > len(own) / 2 or (marks & own and is_named(name, lab)):
            candidates.append(_candidate(name, notebook, released))
        elif is_named(name, lab):
            strangers.append((name, marks))
        elif not marks:
            not_this.append(f"{name} (without the marks of graded cells)")
    damaged = {name: why for name, why in handed_in.unreadable.items() if is_named(name, lab)}
    if not candidates:
        raise _nothing(strangers, damaged, [*handed_in.unreadable, *not_this, *handed_in.others])

    candidates.sort(key=lambda candidate: (candidate.name.count("/"), candidate.name))
    best = max(candidates, key=lambda candidate: _rank(candidate, lab))
    left = [
        f"{other.name}{'' if other.own_cells else ' (as it was handed out)'}"
        for other in candidates
        if other.own_cells != best.own_cells
        and (other.own_cells or best.name != f"{lab}.ipynb")
        and not (best.answers and CHECKPOINTS in other.name)
    ]
    left += [f"{name} ({_why_not(marks)})" for name, marks in strangers]
    left += [f"{name} (can't be read)" for name in damaged]
    if not best.own_cells:  # perhaps the answers are in what nobody could read
        left += [name for name in handed_in.unreadable if name not in damaged] + not_this + handed_in.others
    if left:
        return best, [f"{best.name} was graded; not graded: {_listed(left)}"]
    renamed = not is_named(best.name, lab) or not best.name.lower().endswith(".ipynb")
    return best, [f"the notebook was renamed to {best.name}"] if renamed else []


def is_named(name: str, lab: str) -> bool:
    """Whether a file bears a lab's name, as in "anna_1_2_01-lab-1.ipynb" or "01-lab-Copy1.ipynb"."""
    return lab.casefold() in name.rpartition("/")[2].casefold()


def version_of(name: str) -> tuple[tuple[int, ...], ...]:
    """The numbers of attempts and versions in a file's name and its folders', outermost first."""
    found = (match[1] or match[2] for match in _VERSION.finditer(name))
    return tuple(tuple(map(int, number.split("-"))) for number in found)


def _candidate(name: str, notebook: NotebookNode, released: NotebookNode) -> Candidate:
    handed_out = {cell.source.strip() for cell in released.cells} | {""}
    stubs = {grade_id(cell): cell.source.strip() for cell in released.cells if is_answer(cell)}
    written = {
        grade_id(cell) for cell in notebook.cells if cell.source.strip() not in ("", stubs.get(grade_id(cell), ""))
    }
    own_cells = frozenset(cell.source.strip() for cell in notebook.cells) - handed_out
    return Candidate(name, notebook, len(written & set(stubs)), own_cells)


def _rank(candidate: Candidate, lab: str) -> tuple:
    return (
        candidate.answers > 0,
        bool(candidate.own_cells),
        CHECKPOINTS not in candidate.name,
        version_of(candidate.name.replace(lab, "")),
        candidate.answers,
        candidate.name.rpartition("/")[2] == f"{lab}.ipynb",
    )


def _nothing(strangers: list, damaged: dict[str, str], others: list[str]) -> Exception:
    """Why there is no notebook to grade."""
    if strangers:
        name, marks = strangers[0]
        advice = "hand in the notebook of this lab" if marks else "copy the answers into a fresh copy of the lab"
        return NotFound(f"{name}: {_why_not(marks)}: {advice}")
    if damaged:
        return UnreadableNotebook("; ".join(damaged.values()))
    extra = f" (but {_listed(others)})" if others else ""
    return NothingHandedIn(f"no notebook of this lab was handed in{extra}")


def _why_not(marks: set[str]) -> str:
    if marks:
        return f"these are the cells of another notebook ({_listed(sorted(marks))})"
    return "the notebook has lost its nbgrader metadata (a tool that saved it dropped the marks of the graded cells)"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
