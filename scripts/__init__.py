"""The labs' package. Importing it turns telemetry and model-hub look-ups off, unless the user has set them.

Hub look-ups come back on only inside `load_model`, when a model is asked for that only a hub has: an unreachable
hub otherwise costs every import and every tokenizer half a minute of retries.
"""

import os
import sys
import warnings

for _name, _value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_name, _value)

# nbformat loads jsonschema, which loads this grammar of international addresses if it can. It takes a second or two to
# compile, and no notebook's schema has such a format. None makes its import fail, as where it is not installed.
sys.modules.setdefault("rfc3987_syntax", None)

# NVIDIA's GB10 (DGX Spark) is an sm_121. PyTorch releases that know no sm_121 warn about it, although what was compiled
# for sm_120 runs there (PyTorch issue 164596, by NVIDIA). `make doctor` says so; a torch without sm_120 still warns.
for _message in (
    r"\s*Found GPU\d+ .* cuda capability 12\.1\.(?s:.*)- \(12\.0\)",
    r"(?s:.*) with CUDA capability sm_121 is not compatible (?s:.*)\bsm_120\b",
):
    warnings.filterwarnings("ignore", message=_message, category=UserWarning)
