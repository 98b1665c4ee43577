#!/usr/bin/env bash
# Points that were given by hand for one text count for the next text too.
#
# When a student hands in again, `nbgrader autograde --force` of nbgrader 0.9.6 keeps manual_score of a written answer
# whatever its text is now. It asks for the answer to be looked at again, but until then the old points stand and are
# part of the score. A good guess is that an answer that nobody has read has no points.
#
# Seen: (None, True) after the first text, (5.0, True) after 5 points by hand and another text (points, still to be
# graded). Fails if the points are gone after the second text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nbgrader==0.9.6
cat >"$folder/try.py" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

Path("nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'course'\n")
meta = {"nbgrader": {"schema_version": 3, "grade": True, "solution": True, "locked": False, "task": False,
                     "grade_id": "essay", "points": 5, "cell_type": "markdown"}}
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Your essay here.", metadata=meta)])
notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook.cells[0].source = text
    nbformat.write(notebook, path)


def nbgrader(*arguments):
    subprocess.run([sys.executable, "-m", "nbgrader", *arguments], check=True, capture_output=True)


def state():
    with Gradebook("sqlite:///gradebook.db") as book:
        grade = book.find_grade("essay", "lab", "lab", "student")
        return grade.manual_score, grade.needs_manual_grade


write(Path("source/lab/lab.ipynb"), "Your essay here.")
nbgrader("generate_assignment", "lab")
write(Path("submitted/student/lab/lab.ipynb"), "A careful essay about induction heads.")
nbgrader("autograde", "lab")
before = state()
with Gradebook("sqlite:///gradebook.db") as book:
    grade = book.find_grade("essay", "lab", "lab", "student")
    grade.manual_score, grade.needs_manual_grade = 5, False
    book.db.commit()
write(Path("submitted/student/lab/lab.ipynb"), "Another text about something else.")
nbgrader("autograde", "lab", "--force")
after = state()
print(f"points by hand, and whether one is still asked for: {before} before, {after} after another text")
assert before == (None, True) and after[0] == 5, "nbgrader behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
