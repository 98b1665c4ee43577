#!/usr/bin/env bash
# torch.manual_seed is another function after torch._dynamo was imported.
#
# torch 2.13.0 leaves torch._dynamo out of `import torch`; libraries import it when they are first used. It then puts a
# wrapper in the place of torch.manual_seed. Code that took `from torch import manual_seed` before holds the old one, and
# whatever compares torch's functions by identity, to see whether a program has patched them, reports a change that
# nobody made. A good guess is that importing a part of a library leaves its public functions what they were.
#
# Seen on torch 2.13.0 (CPU): of the public names of torch, manual_seed alone changes. Both seed the same numbers. Fails
# if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/try.py" <<'PYTHON'
import inspect
import sys

import torch

assert "torch._dynamo" not in sys.modules, "import torch brings torch._dynamo now"
before = {name: value for name, value in vars(torch).items() if inspect.isroutine(value) and name[0] != "_"}
import torch._dynamo

changed = [name for name, value in before.items() if getattr(torch, name) is not value]
before["manual_seed"](3)
first = torch.rand(4)
torch.manual_seed(3)
print("functions of torch that are others after import torch._dynamo:", changed)
print("same numbers from both:", torch.equal(first, torch.rand(4)))
assert changed == ["manual_seed"] and torch.manual_seed.__wrapped__ is before["manual_seed"], "it behaves differently now"
PYTHON
cd "$folder"
PATH="$folder/venv/bin:$PATH" python -W ignore try.py
