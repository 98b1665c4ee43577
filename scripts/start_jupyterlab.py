"""Open JupyterLab on the student notebooks; without a display it only prints the address to open.

Arguments are passed on to JupyterLab; `--notebook-dir=folder` opens another folder than notebooks/.
"""

import json
import os
import sys
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT


# What nbgrader adds to JupyterLab for instructors. Its Validate button stays.
NOT_FOR_STUDENTS = ("menu", "assignment-list", "course-list", "create-assignment", "formgrader")


def main() -> None:
    command = [sys.executable, "-m", "jupyter", "lab"]
    if not any(argument.startswith("--notebook-dir") for argument in sys.argv):
        command.append(f"--notebook-dir={ROOT / 'notebooks'}")
    # JupyterLab otherwise asks to be allowed to fetch news, and looks for newer versions of itself
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    share = Path(sys.prefix) / "share/jupyter"
    write_atomically(share / "lab/settings/overrides.json", json.dumps(quiet))
    # in a folder that only this JupyterLab reads: an instructor who starts `jupyter lab` finds the Formgrader there
    hidden = {"disabledExtensions": {f"@jupyter/nbgrader:{name}": True for name in NOT_FOR_STUDENTS}}
    write_atomically(share / "students/labconfig/page_config.json", json.dumps(hidden))
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = str(share / "students") + (os.pathsep + others if others else "")
    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display:
        print("No display here: open the address printed below in a browser (Ctrl-C stops JupyterLab).", flush=True)
        command.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command + sys.argv[1:])


if __name__ == "__main__":
    main()
