#!/usr/bin/env bash
# `import nbformat` compiles a grammar of international addresses that no notebook uses.
#
# nbformat 5.11.1 imports jsonschema, and jsonschema 4.26.0 registers a check for the format "iri" if it can import
# rfc3987_syntax 1.1.0, which parses a Lark grammar while it is imported. The package comes with jsonschema's extra
# "format-nongpl", which jupyter_events (so every Jupyter server) asks for. A good guess is that reading a notebook costs
# little more than reading JSON; in an environment with JupyterLab most of the import's processor time goes to the grammar.
# Validation of notebooks is the same without it: their schemas have no such format.
#
# Seen: 0.73 s with the grammar, 0.09 s without (processor time, one core). Fails if the grammar is no longer loaded, or
# no longer takes at least half of the import.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    nbformat==5.11.1 "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0
cat >"$folder/seconds.py" <<'PYTHON'
import sys, time

if sys.argv[1] == "without":
    sys.modules["rfc3987_syntax"] = None  # its import fails, as where it is not installed
began = time.process_time()
import nbformat
seconds = time.process_time() - began
loaded = sys.modules.get("rfc3987_syntax") is not None
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
nbformat.validate(notebook)
print(f"{seconds:.2f} {loaded}")
PYTHON
run() { "$folder/venv/bin/python" "$folder/seconds.py" "$1"; }
run with >/dev/null  # byte code is written
read -r with loaded < <(run with)
read -r without _ < <(run without)
echo "import nbformat: $with s of processor time, $without s without the grammar; grammar loaded: $loaded"
python3 - "$with" "$without" "$loaded" <<'PYTHON'
import sys

with_grammar, without, loaded = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "True"
sys.exit(0 if loaded and without < with_grammar / 2 else "nbformat, jsonschema or the grammar behaves differently now")
PYTHON
