"""Open JupyterLab on the student notebooks; without a display it only prints the address to open."""

import os
import sys

from scripts.interp.paths import ROOT


def main() -> None:
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={ROOT / 'notebooks'}"]
    # JupyterLab otherwise asks the network for news and for newer versions of itself
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display:
        print("No display here: open the address printed below in a browser (Ctrl-C stops JupyterLab).", flush=True)
        command.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command + sys.argv[1:])


if __name__ == "__main__":
    main()
