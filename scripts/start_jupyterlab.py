"""Open JupyterLab on the student notebooks; without a display it only prints the address to open."""

import json
import os
import sys
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT


def main() -> None:
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={ROOT / 'notebooks'}"]
    # JupyterLab otherwise asks to be allowed to fetch news, and looks for newer versions of itself
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    write_atomically(Path(sys.prefix) / "share/jupyter/lab/settings/overrides.json", json.dumps(quiet))
    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display:
        print("No display here: open the address printed below in a browser (Ctrl-C stops JupyterLab).", flush=True)
        command.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command + sys.argv[1:])


if __name__ == "__main__":
    main()
