"""Train a HybridSAE: `.venv/bin/python -m scripts.train_sae --architecture hybrid`, with all of its options.

    .venv/bin/python -m scripts.train_hybrid_sae blocks.12.hook_resid_post --k 40 --folder mine

A killed run goes on where it was.
"""

import sys

from scripts import train_sae


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    named = [each.split("=")[0] for each in given]
    if any(len(name) > 3 and "--architecture".startswith(name) for name in named):  # a parser takes beginnings too
        print(
            "This trains a HybridSAE: leave --architecture out, or use `.venv/bin/python -m scripts.train_sae`.",
            file=sys.stderr,
        )
        return 2
    return train_sae.main(["--architecture", "hybrid", *given])


if __name__ == "__main__":
    sys.exit(main())
