"""Build the documentation and the executed labs as one static site that needs no network.

    .venv/bin/python -m scripts.build_site [--students] [--no-run]        (or `make site`)

It goes to outputs/site/; open index.html there, or copy the folder to any web server. A lab whose results in outputs/
are missing, or older than its text, is run first. `--students` builds what a class may read, into
outputs/site-students/: the pages of the students' half, and labs without answers and hidden tests, with the outputs of
the solved run. `--no-run` runs nothing: labs without results are shown with the text that solutions/ holds. A dead link
or a part that only the network has ends it, and an earlier site stays.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

SETTINGS = ROOT / "docs" / "site"


class NoSite(ValueError):
    """The site can't be built as it should be; the message says why, in a line for each reason."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the documentation and the executed labs as a static site.")
    parser.add_argument("--students", action="store_true", help="without answers, hidden tests and instructors' pages")
    parser.add_argument("--no-run", action="store_true", help="show labs without results as solutions/ holds them")
    given = parser.parse_args(arguments)
    if sys.version_info < (3, 11):
        print("The site needs Python 3.11 or newer: make site PYTHON3=/path/to/python3.11", file=sys.stderr)
        return 2
    results = ROOT / "outputs"
    if not given.no_run and (labs := labs_to_run(ROOT / "solutions", results)):
        print(f"Labs that have not been run as they are now: {', '.join(labs)}. They are run first.", flush=True)
        if code := subprocess.run([sys.executable, "-m", "scripts.run_labs", *labs], cwd=ROOT).returncode:
            print("No site was built: a lab failed.", file=sys.stderr)
            return code
    site = results / ("site-students" if given.students else "site")
    try:
        pages = build(ROOT, results, site, given.students)
    except ValueError as error:  # ours, or that a source is malformed
        print(f"No site was built.\n{error}", file=sys.stderr)
        return 1
    print(f"{pages} pages, {megabytes(site):.0f} MB: open {site / 'index.html'}")
    return 0


def labs_to_run(solutions: Path, results: Path) -> list[str]:
    """The names of the labs whose results are missing, show an error, or came from another text."""
    from scripts.course.cells import UnreadableNotebook, read_notebook  # takes seconds

    def code(notebook) -> list:
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    names = []
    for path in sorted(solutions.glob("*.ipynb")):
        try:
            ran = code(read_notebook(results / path.name))
        except (FileNotFoundError, UnreadableNotebook):
            names.append(path.stem)
            continue
        same = [cell.source for cell in ran] == [cell.source for cell in code(read_notebook(path))]
        if not same or any(output.output_type == "error" for cell in ran for output in cell.outputs):
            names.append(path.stem)
    return names


def build(root: Path, results: Path, site: Path, students: bool) -> int:
    """Build the site of the repository in `root` in the folder `site`, whole or not at all; returns its pages.

    Raises `NoSite` for a dead link and for anything that Sphinx warns of.
    """
    from plotly.offline import get_plotlyjs
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    from scripts.course.site_links import what_is_wrong
    from scripts.course.site_sources import PLOTLY, sources

    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=f".{site.name}.") as scratch:
        laid_out, static, built = (Path(scratch) / name for name in ("sources", "static", "site"))
        for name, content in sources(root, results, students).items():
            write_atomically(laid_out / name, content)
        write_atomically(static / PLOTLY, get_plotlyjs())
        write_atomically(static / "site.css", (SETTINGS / "site.css").read_bytes())
        warnings = io.StringIO()
        own = {"html_static_path": [str(static)]}
        with patch_docutils(), docutils_namespace():  # what one build registers is no other build's
            Sphinx(laid_out, SETTINGS, built, Path(scratch) / "doctrees", "html", own, None, warnings).build()
        said = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).replace(f"{laid_out}/", "")
        problems = [line for line in said.splitlines() if line.strip()]
        if problems := problems + what_is_wrong(built):
            raise NoSite("\n".join(problems))
        shutil.rmtree(site, ignore_errors=True)
        built.rename(site)
    return len(list(site.rglob("*.html")))


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
