"""Train a sparse autoencoder on one hook point of a model; a killed run goes on where it was.

    .venv/bin/python -m scripts.train_sae --sweep 9 12 15 18 21 --tokens 200000 --width 4 --k 32 --passes 6    # a layer
    .venv/bin/python -m scripts.train_sae blocks.12.hook_resid_post    # hours; the one that Lab 4 loads
    .venv/bin/python -m scripts.train_sae --recipe checkpoints/saes/toy-mlp-1l-8x    # one that ships, again
    .venv/bin/python -m torch.distributed.run --nproc-per-node=2 -m scripts.train_sae …    # two processes

The corpus's training split (or another's, `--corpus mine.jsonl`) goes through the model once, and its activations stay
on disk; the SAE takes several passes over them, each in another order. sae-lens trains and saves, so
`SAE.load_from_disk` opens the result; the architecture "monosemanticity" is trained by the project's own recipe in
scripts/interp/saes/monosemanticity.py. It is judged on the test split and on documentation of the Python library, never
on the training split; the strongest contexts of every feature come from the validation split.

`--live` writes a page that shows the training while it goes on. With `--accumulate 4` a batch is taken in four parts;
several processes, on one machine or on several, take a part each (docs/experiments_guide.md). Neither changes the SAE
but for rounding.
"""

import sys

from scripts.interp.base.command_line import command_parser
from scripts.interp.saes.recipes import Means, Options, Settings

LIVE_DOCUMENTS, LIVE_ROWS = 40, 8  # of held-out text, on which a live page shows latents


def main(arguments: list[str] | None = None) -> int:
    groups = {"settings": Settings, "options": Options, "means": Means}
    parser = command_parser("scripts.train_sae", __doc__.splitlines()[0], groups, arguments)
    given = parser.parse_args(arguments)
    settings, options, means = given.settings, given.options, given.means
    if bool(settings.hook_name) == bool(options.sweep):
        parser.error("give a hook point, or layers to --sweep")
    if options.sweep and (means.live or means.tensorboard):
        parser.error("--live and --tensorboard show one training: leave them out, or give a hook point, not --sweep")

    import torch  # a wrong argument is answered at once; this takes seconds

    from scripts.interp.saes import make
    from scripts.interp.training.processes import together

    torch.set_num_threads(options.threads)
    try:
        with together(means.device) as processes:
            if processes.rank > 0:
                make.take_part(processes, means.device)
            else:
                lead(settings, options, means, processes)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def lead(settings: Settings, options: Options, means: Means, processes) -> None:
    """What the first process does, or the only one."""
    from scripts.interp.base.paths import outputs_folder
    from scripts.interp.figures import live
    from scripts.interp.saes import make
    from scripts.interp.saes.judge import rows_of
    from scripts.interp.saes.split import How
    from scripts.interp.text.corpus import load_corpus
    from scripts.interp.training.tensorboard import event_writer

    progress = sys.stdout.isatty()
    name, folder, watching = make.name_of(settings, options), outputs_folder("saes"), []
    page = folder / f"{name}.html"
    how = How(processes, means.accumulate, means.device, watch=lambda *seen: [watch(*seen) for watch in watching])
    if options.sweep and processes.count > 1:
        raise ValueError("A sweep is made by one process: start it without torchrun.")
    if means.tensorboard:
        write = event_writer(folder / "tensorboard" / name)
        watching.append(lambda rows, steps, encode: write(rows))
    settings, model = make.prepare(settings, how)
    if options.sweep:
        make.sweep(settings, options, model, progress, how)
        return
    if means.live:
        rows, _ = rows_of(load_corpus("validation", settings.corpus)[:LIVE_DOCUMENTS], model.tokenizer, settings)
        sample = live.sample_of(model, settings.hook_name, rows[:LIVE_ROWS])
        watching.append(lambda rows, steps, encode: live.write_live_page(page, name, rows, steps, encode, sample))
    try:
        make.make_sae(settings, options, model, progress, how)
    except BaseException as error:
        live.stop_live_page(page, str(error) or type(error).__name__)
        raise


if __name__ == "__main__":
    sys.exit(main())
