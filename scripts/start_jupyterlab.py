"""Open JupyterLab on the student notebooks; without a display it only prints the address to open.

Arguments are passed on to JupyterLab; `--notebook-dir=folder` opens another folder than notebooks/.
"""

import json
import os
import sys
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

# What nbgrader adds for instructors: parts of the page, and of the server. Its Validate button stays.
PANELS = ("menu", "assignment-list", "course-list", "create-assignment", "formgrader")
SERVER_PARTS = ("assignment_list", "course_list", "formgrader")


def main() -> None:
    # `-m jupyter lab` would start another environment's JupyterLab where one is on the PATH
    command = [sys.executable, "-m", "jupyterlab"]
    if not any(argument.startswith("--notebook-dir") for argument in sys.argv):
        command.append(f"--notebook-dir={ROOT / 'notebooks'}")
    share = Path(sys.prefix) / "share/jupyter"
    settings = {
        # JupyterLab otherwise asks to be allowed to fetch news, and looks for newer versions of itself
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        # no setting makes the left bar wider, and dates leave no room for the labs' names in it
        "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
    }
    settle(share / "lab/settings/overrides.json", settings)
    hide_from_students(share / "labs_for_students")
    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display:
        print("No display here: open the address printed below in a browser (Ctrl-C stops JupyterLab).", flush=True)
        command.append("--no-browser")
    if not os.access(ROOT / "notebooks", os.W_OK):
        print(
            f"{ROOT / 'notebooks'} can't be written to by this user, so nothing that you do there can be saved. In a "
            "container: `make container` builds it for your user.",
            flush=True,
        )
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command + sys.argv[1:])


def hide_from_students(folder: Path) -> None:
    """Let the JupyterLab that this process becomes leave out PANELS and SERVER_PARTS.

    Other JupyterLabs of this environment don't read the folder: `.venv/bin/jupyter lab` has the Formgrader.
    """
    page = {"disabledExtensions": {f"@jupyter/nbgrader:{name}": True for name in PANELS}}
    settle(folder / "labconfig/page_config.json", page)
    parts = {f"nbgrader.server_extensions.{name}": False for name in SERVER_PARTS}
    server = {"ServerApp": {"jpserver_extensions": parts}}
    settle(folder / "jupyter_server_config.d/labs_for_students.json", server)
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = str(folder) + (os.pathsep + others if others else "")


def settle(path: Path, settings: dict) -> None:
    """Write settings where they are not there yet: in a container the environment may be another user's."""
    text = json.dumps(settings)
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        write_atomically(path, text)


if __name__ == "__main__":
    main()
