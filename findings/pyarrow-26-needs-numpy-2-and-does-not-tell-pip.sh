#!/usr/bin/env bash
# pip installs pyarrow 26 beside numpy 1.26 and finds nothing wrong; `import pyarrow` then stops.
#
# pyarrow 26.0.0 names no requirement in its metadata, so a resolver takes it with any numpy, and `pip check` is content.
# A good guess is that a set that resolves can be imported. It hurts where numpy is given and has to stay, as in
# containers with numpy 1.26; pyarrow comes in there with Hugging Face's datasets. pyarrow 25.0.0 is imported as usual.
#
# Seen with CPython 3.11 on x86-64 Linux: "pyarrow requires NumPy 2.0 or newer, found 1.26.4". Fails if pyarrow 26 is
# imported, if pip complains, or if 25 stops too. CPython 3.12 or older is needed: numpy 1.26 has no wheels for others.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
can_be_imported() { "$folder/venv/bin/python" -c "import pyarrow" 2>"$folder/said"; }

pip install numpy==1.26.4 pyarrow==25.0.0
can_be_imported
echo "pyarrow 25.0.0: imported"

pip install numpy==1.26.4 pyarrow==26.0.0
pip check
if can_be_imported; then
    echo "pyarrow 26.0.0 is imported now"
    exit 1
fi
echo "pyarrow 26.0.0: $(tail -1 "$folder/said")"
grep -q "NumPy 2" "$folder/said"
