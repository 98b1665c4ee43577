"""The sources of the site, laid out for Sphinx: the repository's pages, the labs with their outputs, what they link to.

Everything keeps its path, so that relative links mean the same as on GitHub. Only README.md becomes index.md, the name
that a web server looks for, and a link to a solved lab leads to the lab's page, which stands under notebooks/.
"""

import os
import re
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode

from scripts.course.cells import is_answer, is_test
from scripts.course.student_half import LINK, for_students, read, student_half, tracked

NOT_RUN = "*The figures are missing: this lab was not run before the site was built.*"
PLOTLY = "plotly.min.js"  # in the site's folder _static, once for all labs
_SCRIPT = re.compile(r"<script\b[^>]*>.*?</script\s*>", re.S | re.I)
_REMOTE_SCRIPT = re.compile(r"""<script[^>]+src\s*=\s*["']?(?:https?:)?//""", re.I)
_MARK = re.compile(r"^(?:###|===) BEGIN (.+?)(?: ===)?$|^(?:###|===) END .*$", re.M)  # in a solved written answer
_FIGURE = "Plotly.newPlot("


def sources(root: Path, results: Path, students: bool) -> dict[str, bytes]:
    """The files that the site is built from, by path.

    results: the folder with the executed solved labs; a lab that is not in it is shown as solutions/ holds it
    students: only the pages of the students' half, and labs as they are handed out
    Raises `NoStudentHalf` where git tracks nothing, and `UnreadableNotebook` or ValueError for a broken notebook.
    """
    known = student_half(root) if students else {name: b"" for name in tracked(root) if not name.startswith("tests/")}
    pages = {name: for_students(name, read(root, name)) if students else read(root, name)
             for name in known if name.endswith(".md")}  # fmt: skip
    labs = {name: lab_page(root, results, PurePosixPath(name).name, students)
            for name in known if name.startswith("notebooks/") and name.endswith(".ipynb")}  # fmt: skip
    files = {name: relinked(name, content.decode("utf-8"), known) for name, content in pages.items()}
    for name, lab in labs.items():
        for cell in lab.cells:
            if cell.cell_type == "markdown":
                cell.source = relinked(name, cell.source, known)
        files[name] = nbformat.writes(lab)
    linked = {path for name, text in files.items() for path in targets(name, text)} & known.keys() - files.keys()
    files["index.md"] = files.pop("README.md") + contents(files, pages["README.md"].decode("utf-8"))
    return {name: text.encode("utf-8") for name, text in files.items()} | {name: read(root, name) for name in linked}


def lab_page(root: Path, results: Path, name: str, students: bool) -> NotebookNode:
    """A lab with its outputs. For students: what they get, and the outputs of cells that hold no answer and no test."""
    ran = (results / name).exists()
    run = nbformat.read(results / name if ran else root / "solutions" / name, as_version=4)
    lab = nbformat.read(root / ("notebooks" if students else "solutions") / name, as_version=4)
    outputs = {cell.id: (cell.source, cell.outputs) for cell in run.cells if cell.cell_type == "code"}
    for cell in lab.cells:
        if cell.cell_type != "code":
            continue
        source, shown = outputs.get(cell.id, ("", []))
        # a cell that was run with another text is an answer or a test, or was edited since: what it printed stays out
        cell.outputs = shown if source == cell.source and not (students and is_test(cell)) else []
        cell.metadata["tags"] = ["hide-input"] if is_test(cell) else []  # folded away, as in JupyterLab
    for cell in lab.cells:
        if is_answer(cell) and cell.cell_type == "markdown":
            cell.source = _MARK.sub(lambda found: f"**{found[1].capitalize()}**\n" if found[1] else "", cell.source)
    slim(lab)
    if not ran:
        lab.cells[0].source += f"\n\n{NOT_RUN}"
    return lab


def slim(lab: NotebookNode) -> None:
    """Take Plotly's 5 MB and scripts from elsewhere out of a lab; its first figure loads the site's copy of Plotly."""
    load = f'<script src="../_static/{PLOTLY}"></script>\n'
    for cell in lab.cells:
        kept = []
        for output in cell.get("outputs", []):
            if "text/html" not in output.get("data", {}):
                kept.append(output)
                continue
            page = _SCRIPT.sub(lambda found: "" if unwanted(found[0]) else found[0], output.data["text/html"])
            if _FIGURE in page:
                page, load = load + page, ""
            if page.strip():
                output.data = {"text/html": page}
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept


def unwanted(script: str) -> bool:
    """Whether a script is Plotly itself, its search for MathJax, or comes from elsewhere."""
    is_plotly = len(script) > 1_000_000 and "Plotly = Plotly" in script[-2000:]
    return is_plotly or "MathJax" in script and _FIGURE not in script or bool(_REMOTE_SCRIPT.match(script))


def relinked(name: str, text: str, known) -> str:
    """The text of the page `name`, with links to where things are in the site."""
    folder = PurePosixPath(name).parent

    def place(found: re.Match) -> str:
        path = os.path.normpath(folder / found[1])
        to = re.sub(r"^solutions/(.+\.ipynb)$", r"notebooks/\1", path)
        to = f"{path}/README.md" if f"{path}/README.md" in known else to
        to = "index.md" if path in ("README.md", ".") else to
        return found[0] if to == path else "](" + os.path.relpath(to, folder)

    return LINK.sub(place, text)


def targets(name: str, text: str) -> set[str]:
    """The paths that a page links to or shows, seen from the root."""
    return {os.path.normpath(PurePosixPath(name).parent / link) for link in LINK.findall(text)}


def contents(files, readme: str) -> str:
    """The site's table of contents for Sphinx: labs first, then pages in the order in which the README names them."""
    order = {os.path.normpath(link): number for number, link in enumerate(LINK.findall(readme))}
    pages = sorted((name for name in files if name.endswith(".md")), key=lambda name: (order.get(name, 10**6), name))
    groups = {
        "Labs": sorted(name for name in files if name.endswith(".ipynb")),
        "Pages": [name for name in pages if name.count("/") < 2 and not name.startswith("checkpoints")],
        "Models and SAEs": [name for name in pages if name.startswith("checkpoints")],
    }
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(names) + "\n```\n"
        for title, names in groups.items() if names
    )  # fmt: skip
