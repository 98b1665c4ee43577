"""`make student`: what students get works by itself, and nothing of the other half is in it."""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile

import pytest

from scripts.course import release, student_half
from scripts.course.cells import exercises_of, grade_id, hidden_lines, read_notebook, visible_part, written_of
from scripts.course.student_half import NoStudentHalf, main
from scripts.interp.base.paths import ROOT
from tests.test_documentation import files_not_there, targets_not_there

DATE = 1_700_000_000  # seconds since 1970
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
# what only those who teach run, whatever the rule of the command says
TEACHING = {f"scripts/course/{name}.py" for name in """api_page assignments bundle exports grade handed_in lab_run late
    mistakes pages pseudonyms recording release report roster site_links site_sources student_half students
    wheels""".split()}  # fmt: skip


@pytest.fixture(scope="module")
def files():
    return student_half.student_half()


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """The students' half, in a place that knows nothing of the repository."""
    folder = tmp_path_factory.mktemp("anywhere") / "labs"
    student_half.write(files, folder, DATE)
    return folder


def run(folder, *command, cwd=None):
    """Run this Python as on a student's machine: our modules come from the folder only."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # several processes import the same modules
    return subprocess.run(
        [sys.executable, *command], cwd=cwd or folder, env=environment, text=True, capture_output=True
    )


def lines_in(name: str, content: bytes) -> set[str]:
    """The lines of a text file, stripped; those of a notebook's or a JSON file's texts."""
    if name.endswith((".safetensors", ".xz", ".png")):
        return set()
    texts = [content.decode("utf-8")]
    if name.endswith((".ipynb", ".json")):
        waiting, texts = [json.loads(texts[0])], []
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += [*value, *value.values()]
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, str):
                texts.append(value)
    return {line.strip() for text in texts for line in text.splitlines()}


def test_no_file_of_the_other_half_is_there(files):
    assert {"notebooks/" + path.name for path in SOLUTIONS} <= files.keys()
    assert {"scripts/course/checks.py", "scripts/doctor.py", "docs/quick-start.md", "LICENSE"} <= files.keys()
    assert {"docs/selfie.md", "scripts/train_selfie.py", "configs/identity_baseline.yaml"} <= files.keys()
    assert not [
        name for name in files if name.startswith(("solutions", "tests", "findings", "conftest", ".ci", ".git/"))
    ]
    pages = {
        "CONTRIBUTING.md",
        "docs/instructor-guide.md",
        "docs/grading-written-answers.md",
        "docs/common-mistakes.md",
    }
    assert all((ROOT / name).exists() for name in pages) and not pages & files.keys()
    assert all((ROOT / name).exists() for name in TEACHING) and not TEACHING & files.keys()
    assert not [name for name in files if name.startswith("scripts/course/grading/")]


def test_no_file_holds_a_solution_a_hidden_test_or_a_rubric(files):
    for word in (b"BEGIN SOLUTION", b"END SOLUTION", b"MARK SCHEME", b"BEGIN HIDDEN TESTS", b"instructors only"):
        holders = [name for name, content in files.items() if word in content]
        assert holders == (["scripts/course/cells.py"] if word == b"BEGIN HIDDEN TESTS" else []), word
    hidden, seen, written = set(), set(), set()
    for notebook in map(read_notebook, SOLUTIONS):
        for exercise in exercises_of(notebook):
            hidden |= {line for line in hidden_lines(exercise.test) if len(line) > 15}
            seen |= {line.strip() for line in visible_part(exercise.test).splitlines()}
        seen |= {line.strip() for cell in notebook.cells if not grade_id(cell) for line in cell.source.splitlines()}
        for answer in written_of(notebook):
            written |= {line.strip() for line in answer.text.splitlines() if len(line) > 15}  # with its rubric
    secret = hidden - seen | written
    assert len(secret) > 300 and any("3 points" in line for line in written)
    assert {name: found for name, content in files.items() if (found := secret & lines_in(name, content))} == {}


def test_every_module_can_be_imported_where_nothing_else_of_ours_is(files, folder, tmp_path):
    modules = [name.removesuffix(".py").replace("/", ".") for name in files if name.endswith(".py")]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*{m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'scripts'}, sep='\\n')"
    )
    found = run(folder, "-c", code, *(name.removesuffix(".__init__") for name in modules), cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert len(modules) > 80 and set(found.stdout.splitlines()) == {
        str(folder / name) for name in files if name.endswith(".py")
    }


def test_the_check_of_a_shipped_notebook_says_that_the_exercises_are_not_written(folder, tmp_path):
    """Of its marked cells: what stands between them takes the embedded model, and long."""
    (path,) = (folder / "notebooks").glob("01-*.ipynb")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if "nbgrader" in cell["metadata"]]
    (tmp_path / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    found = run(folder, "-m", "scripts.course.check", "01", "--notebooks", str(tmp_path))
    assert found.returncode == 1 and found.stdout.count("  not written yet") == 7, found.stdout + found.stderr
    assert "0 of 7 exercises pass the tests you can see" in found.stdout


def test_doctor_looks_at_the_folder_and_says_what_to_do(folder):
    found = run(folder, "-m", "scripts.doctor")
    assert found.returncode == 1 and f"{folder} can be written to" in found.stdout
    assert re.search(r"!! +set-up +not done yet: run `make lab`", found.stdout)


def test_make_has_the_targets_that_work_there(folder):
    listed = subprocess.run(["make", "-C", str(folder)], text=True, capture_output=True).stdout
    assert re.findall(r"^  make (\S+)", listed, re.M) == [
        *("help", "model", "lab", "check", "container", "doctor", "clean")
    ]
    assert subprocess.run(["make", "-n", "-C", str(folder), "grade"], capture_output=True).returncode == 2
    planned = subprocess.run(
        ["make", "-n", "-C", str(folder), "lab", "check", "doctor"], text=True, capture_output=True
    )
    commands = re.findall(r"scripts[./][\w./]+", planned.stdout)
    assert len(commands) == 5 and all(
        (folder / (c.replace(".", "/").removesuffix("/py") + ".py")).exists() for c in commands
    )


def test_pages_and_notebooks_name_only_what_is_there(files, folder):
    pages = [folder / name for name in files if name.endswith(".md")]
    assert len(pages) > 10
    for page in pages:
        assert files_not_there(page, folder) == [] and targets_not_there(page, folder) == set(), page
    for name in files:
        if name.endswith((".md", ".ipynb")):
            text = files[name].decode("utf-8")
            for link in re.findall(r"\]\((?!https?:|#|attachment:)([^)#\s]+)", text):
                assert (folder / name).parent.joinpath(link).exists(), (name, link)
            for module in re.findall(r"-m (scripts\.[\w.]*\w)", text):
                assert (folder / (module.replace(".", "/") + ".py")).exists(), (name, module)


def test_the_same_files_give_the_same_bytes_and_the_archive_holds_the_folder(files, folder, tmp_path):
    archive = student_half.write(files, tmp_path / "labs", DATE)
    assert archive.read_bytes() == folder.with_name("labs.zip").read_bytes()
    for place in (folder, tmp_path / "labs"):
        written = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
        written = {name for name in written if "__pycache__" not in name}
        assert written == files.keys() and all((place / name).read_bytes() == files[name] for name in files)
    with zipfile.ZipFile(archive) as zipped:
        assert zipped.namelist() == [f"labs/{name}" for name in sorted(files)]
        assert {entry.date_time for entry in zipped.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert all(zipped.read(f"labs/{name}") == content for name, content in files.items())


def test_the_command_says_what_it_wrote(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(student_half, "student_half", lambda: {"README.md": b"# Labs\n", "data/a.json": b"{}"})
    monkeypatch.setattr(release, "drifted", lambda: [])
    (tmp_path / "new" / "labs").mkdir(parents=True)  # an empty folder may be there
    assert main([str(tmp_path / "new" / "labs")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/new/labs: 2 files" in said and f"{tmp_path}/new/labs.zip: " in said and "data/ " in said
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["labs", "labs.zip"]


@pytest.mark.parametrize(
    "make, dest, message",
    [
        (None, "", "Say where to write it, for instance: make student DEST=../students"),
        (None, str(ROOT), "inside the repository: name a folder outside"),
        (None, str(ROOT / "outputs" / "students"), "inside the repository: name a folder outside"),
        ("labs/mine.txt", "labs", "labs is not empty: name another folder"),
        ("labs", "labs", "labs is a file: name a folder"),
        ("labs.zip", "labs", "labs.zip is there already: name another folder"),
        ("file", "file/labs", "file is no folder: make it first, or name another DEST"),
        (None, "nowhere/labs", "nowhere is no folder: make it first, or name another DEST"),
    ],
)
def test_a_place_where_it_cannot_go_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, make, dest, message):
    monkeypatch.setattr(student_half, "student_half", dict)
    monkeypatch.setattr(release, "drifted", lambda: [])
    if make:
        (tmp_path / make).parent.mkdir(exist_ok=True)
        (tmp_path / make).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main([str(tmp_path / dest) if dest else ""]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and sorted(tmp_path.rglob("*")) == before


def test_a_parent_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    def refused(**_):
        raise PermissionError(errno.EACCES, "Permission denied")  # which a superuser never sees

    monkeypatch.setattr(student_half, "student_half", dict)
    monkeypatch.setattr(release, "drifted", lambda: [])
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    assert main([str(tmp_path / "labs")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/labs can't be written (Permission denied): name another DEST.\n"


def test_notebooks_that_somebody_wrote_into_are_not_handed_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(student_half, "student_half", dict)
    monkeypatch.setattr(release, "drifted", lambda: ["01-a.ipynb"])
    assert main([str(tmp_path / "labs")]) == 2 and not list(tmp_path.iterdir())
    assert "is not what `make release` makes of solutions/ (01-a.ipynb)" in capsys.readouterr().err


def test_a_malformed_source_is_named(tmp_path, monkeypatch, capsys):
    def malformed():
        raise ValueError("01-a.ipynb: the notebook has 2 cells with the grade_id 'setup'.")

    monkeypatch.setattr(student_half, "student_half", dict)
    monkeypatch.setattr(release, "drifted", malformed)
    assert main([str(tmp_path / "labs")]) == 2 and not list(tmp_path.iterdir())
    assert capsys.readouterr().err.startswith("01-a.ipynb: ")


def test_what_is_interrupted_leaves_nothing_half_made(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        student_half.write({"README.md": b"# Labs\n"}, tmp_path / "labs", DATE)
    assert list(tmp_path.iterdir()) == []


REPOSITORY = {
    "Makefile": "lab:\n\tpython -m scripts.start\n# instructors only\ngrade:\n\tpython -m scripts.grade\n"
    "# end of instructors only\n",
    "README.md": "[start](docs/start.md)\n<!-- instructors only -->\n[guide](docs/guide.md)\n"
    "<!-- end of instructors only -->\nend\n",
    "docs/start.md": "[more](more.md), `python -m scripts.train`",
    "docs/more.md": "[back](start.md), [away](https://example.org/docs/guide.md)",
    "docs/guide.md": "`python -m scripts.grade`",
    "scripts/__init__.py": "",
    "scripts/start.py": "def later():\n    from scripts.room import helper",
    "scripts/train.py": "import subprocess\nsubprocess.run(['python', '-m', 'scripts.process'])",
    "scripts/process.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from scripts.grade import Grade",
    "scripts/grade.py": "class Grade: ...",
    "scripts/room/__init__.py": "",
    "scripts/room/helper.py": "import json, scripts.room.other",
    "scripts/room/other.py": "from scripts.room import helper",
    "scripts/room/unused.py": "",
    "notebooks/01.ipynb": "{}",
    "tests/test_a.py": "",
}
LEFT_OUT = {"docs/guide.md", "scripts/grade.py", "scripts/room/unused.py", "tests/test_a.py"}


@pytest.fixture
def repository(tmp_path):
    for name, text in REPOSITORY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_what_is_taken_follows_from_what_is_named(repository):
    (repository / "notebooks" / "draft.ipynb").write_text("{}")  # not tracked
    files = student_half.student_half(repository)
    assert files.keys() == REPOSITORY.keys() - LEFT_OUT
    assert files["README.md"] == b"[start](docs/start.md)\nend\n"
    assert files["Makefile"] == b"lab:\n\tpython -m scripts.start\n"


def test_a_repository_that_cannot_be_handed_out_is_named(repository, monkeypatch):
    (repository / "README.md").write_text("<!-- instructors only -->\n")
    with pytest.raises(NoStudentHalf, match="README.md: each line `instructors only` needs one `end of"):
        student_half.student_half(repository)
    (repository / "README.md").unlink()
    with pytest.raises(NoStudentHalf, match="README.md can't be read .* git checkout README.md brings it back"):
        student_half.student_half(repository)
    (repository / ".git").rename(repository / "git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parent))
    with pytest.raises(NoStudentHalf, match="Only files that git tracks .*: run this in a clone of the repository"):
        student_half.student_half(repository)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoStudentHalf, match="git can't be run: No such file or directory"):
        student_half.student_half(repository)
