"""Train a sparse autoencoder on one hook point of a model; a killed run goes on where it was.

    python -m scripts.train_sae --sweep 9 12 15 18 21 --tokens 200000 --width 4 --k 32 --passes 6    # to choose a layer
    python -m scripts.train_sae blocks.12.hook_resid_post    # hours; the one that Lab 4 loads
    python -m scripts.train_sae --recipe checkpoints/saes/toy-mlp-1l-8x    # one that ships, again

The corpus's training split goes through the model once, and its activations stay on disk; the SAE takes several passes
over them, each in another order. sae-lens trains and saves, so `SAE.load_from_disk` opens the result; the architecture
"monosemanticity" is trained by the project's own recipe in scripts/interp/saes/monosemanticity.py. It is judged on the
test split and on documentation of the Python library, never on the training split; the strongest contexts of every
feature come from the validation split.
"""

import sys

from scripts.interp.base.command_line import command_parser
from scripts.interp.saes.recipes import Options, Settings


def main(arguments: list[str] | None = None) -> int:
    groups = {"settings": Settings, "options": Options}
    parser = command_parser("scripts.train_sae", __doc__.splitlines()[0], groups, arguments)
    given = parser.parse_args(arguments)
    settings, options = given.settings, given.options
    if bool(settings.hook_name) == bool(options.sweep):
        parser.error("give a hook point, or layers to --sweep")

    import torch  # a wrong argument is answered at once; this takes seconds

    from scripts.interp.saes import make

    torch.set_num_threads(options.threads)
    progress = sys.stdout.isatty()
    try:
        settings, model = make.prepare(settings)
        if options.sweep:
            make.sweep(settings, options, model, progress)
        else:
            make.make_sae(settings, options, model, progress)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
