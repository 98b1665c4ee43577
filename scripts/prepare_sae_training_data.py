"""Prepare what an adapter is trained on: the decoder rows of an SAE, and labels of its features.

    .venv/bin/python -m scripts.prepare_sae_training_data --release llama_scope_lxr_8x --sae-id l19r_8x \\
        --output-dir outputs/selfie --output-name llama_scope_l19r        # labels from Neuronpedia
    .venv/bin/python -m scripts.prepare_sae_training_data --release goodfire-llama-3.1-8b-instruct --sae-id layer_19 \\
        --labels-json goodfire_8b_sae_labels.json.gz --output-dir outputs/selfie --output-name goodfire_8b_l19
    .venv/bin/python -m scripts.prepare_sae_training_data \\
        --sae-folder checkpoints/saes/smollm2-135m-blocks.12.hook_resid_post \\
        --labels-json mine.json --output-dir outputs/selfie --output-name smollm2_l12

writes a tensor NAME.pt and NAME_labels.json, in the format that scripts/interp/selfie/training_data.py explains. No
label stands both in training and in validation, unless a file of labels comes with such a split. SAEs go to the Hugging
Face cache, labels to --downloads; a run that was killed goes on where it was.
"""

import argparse
import sys
from pathlib import Path

from scripts.interp.base.command_line import file_name
from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.paths import outputs_folder
from scripts.interp.selfie.neuronpedia import BUCKET, fetch_labels


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.prepare_sae_training_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--release", help="an SAE of this release of sae-lens, or of this repository (owner/name)")
    source.add_argument("--sae-folder", type=Path, help="the SAE in this folder, in sae-lens' format")
    source.add_argument(
        "--vectors", type=Path, help="any vectors: a tensor [num_vectors, model_dim] that torch.save wrote"
    )
    parser.add_argument("--sae-id", help="which SAE of the release")
    parser.add_argument("--output-dir", type=Path, required=True, help="the folder to write into")
    parser.add_argument(
        "--output-name", type=file_name, required=True, help="writes OUTPUT_NAME.pt and OUTPUT_NAME_labels.json"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labels-json", type=Path, help='labels by feature, {"12": "a label"}, or training data')
    labels.add_argument("--labels-jsonl", type=Path, help="lines with index and description, as Neuronpedia's")
    parser.add_argument("--val-fraction", type=float, default=0.1, help="of features for validation (%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="decides which features these are (%(default)s)")
    parser.add_argument("--force-new-split", action="store_true", help="split anew what comes with a split")
    parser.add_argument("--layer", type=int, help="the model's layer, where the SAE does not say it")
    parser.add_argument("--device", default="cpu", help="where the SAE is loaded (%(default)s)")
    parser.add_argument("--bucket", default=BUCKET, help="the address of Neuronpedia's exports (%(default)s)")
    parser.add_argument("--downloads", type=Path, help="the folder that keeps labels (outputs/neuronpedia)")
    options = parser.parse_args(arguments)
    if (options.release is None) != (options.sae_id is None):
        parser.error("--release and --sae-id go together")
    if not 0 < options.val_fraction < 1:
        parser.error(f"--val-fraction {options.val_fraction:g} is not between 0 and 1")
    if options.layer is not None and options.layer < 0:
        parser.error(f"--layer {options.layer} is less than 0")
    return options


def prepare(options: argparse.Namespace) -> None:
    """Write both files and say what is in them. Raises ValueError or ModelUnavailable in a sentence."""
    from scripts.interp.selfie.label_files import Labels, read_labels_json, read_labels_jsonl
    from scripts.interp.selfie.releases import check_labels_can_be_fetched, check_release
    from scripts.interp.selfie.splits import split_by_label
    from scripts.interp.selfie.training_data import write_training_data
    from scripts.interp.selfie.vectors import vectors_of_folder, vectors_of_release, vectors_of_tensor

    def fetched(neuronpedia_id: str | None, which: str) -> tuple[Labels, str]:
        if neuronpedia_id is None:
            raise ValueError(
                f"{which} has no name on Neuronpedia, as far as it says: give labels with --labels-json or "
                "--labels-jsonl."
            )
        folder = options.downloads or outputs_folder("neuronpedia")
        return fetch_labels(neuronpedia_id, folder, options.bucket), f"Neuronpedia {neuronpedia_id}"

    # labels come first: an SAE takes gigabytes
    labels = source = None
    if options.labels_json:
        labels, source = read_labels_json(options.labels_json), options.labels_json.name
    elif options.labels_jsonl:
        labels, source = read_labels_jsonl(options.labels_jsonl), options.labels_jsonl.name
    if options.release:
        known = check_release(options.release, options.sae_id)
        if labels is None and known is not None:
            check_labels_can_be_fetched(options.release)
            labels, source = fetched(known, options.release)
        elif labels is None and "/" not in options.release:
            fetched(None, f"{options.release}/{options.sae_id}")
        found = vectors_of_release(options.release, options.sae_id, options.device)
    elif options.sae_folder:
        found = vectors_of_folder(options.sae_folder, options.device)
    else:
        found = vectors_of_tensor(options.vectors)
    if labels is None:
        labels, source = fetched(found.neuronpedia_id, found.metadata["dataset_name"])

    n_vectors, last = len(found.vectors), max(labels.labels)
    if last >= n_vectors:
        raise ValueError(
            f"{source} has a label for feature {last}, and there are {n_vectors} vectors, from 0: are the labels for "
            "another SAE?"
        )
    kept = labels.splits is not None and not options.force_new_split
    splits = labels.splits if kept else split_by_label(labels.labels, options.val_fraction, options.seed)
    metadata = found.metadata | {
        "layer": found.layer if options.layer is None else options.layer,
        "source": source,
        "num_vectors": n_vectors,
        "model_dim": found.vectors.shape[1],
        "split": "as given" if kept else f"by label, fraction {options.val_fraction:g}, seed {options.seed}",
    }
    name = options.output_name
    data = write_training_data(options.output_dir, name, found.vectors, labels.labels, splits, metadata)

    n_labels, leaks = sum(len(item.labels) for item in data.items), data.leaks()
    print(
        f"{n_vectors:,} vectors of {found.vectors.shape[1]:,} numbers; mean norm {found.vectors.norm(dim=1).mean():.3f}"
    )
    print(f"{len(data.items):,} have labels, {n_labels:,} in all; {labels.n_blank:,} blank ones were left out")
    n_train = len(data.items) - leaks.val_vectors
    print(f"{n_train:,} are for training, {leaks.val_vectors:,} for validation; split {metadata['split']}")
    print(f"leaks: {leaks}" + ("; --force-new-split mends it" if leaks.leaking else ""))
    print(f"written: {name}.pt and {name}_labels.json in {options.output_dir}")


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        prepare(options)
    except (ModelUnavailable, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
