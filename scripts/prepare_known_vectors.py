"""Prepare vectors whose meaning is known without an SAE: directions of the corpus' genres, embeddings of words.

    .venv/bin/python -m scripts.prepare_known_vectors --output-dir outputs/selfie --output-name known
    .venv/bin/python -m scripts.prepare_known_vectors --kinds tokens --join outputs/selfie/smollm2_135m_labels.json \\
        --output-dir outputs/selfie --output-name features_and_words    # other training data come first

writes NAME.pt and NAME_labels.json, in the format that scripts/interp/selfie/training_data.py explains. Words are split
by label, and none has a label of what is joined; genres are for validation only. Genres take half a minute of one core.
"""

import argparse
import sys
from pathlib import Path

from scripts.interp.base.command_line import at_least_one, file_name
from scripts.interp.base.errors import ModelUnavailable

KINDS = ("tokens", "genres")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.prepare_known_vectors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="the folder to write into")
    parser.add_argument(
        "--output-name", type=file_name, required=True, help="writes OUTPUT_NAME.pt and OUTPUT_NAME_labels.json"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="which vectors (all)")
    parser.add_argument("--tokens", type=at_least_one, default=400, help="how many words (%(default)s)")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="of words for validation (%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="draws words and texts, and splits words (%(default)s)")
    parser.add_argument("--join", type=Path, nargs="+", default=[], help="labels of training data that come first")
    parser.add_argument("--model", help="a model as labs take it (the embedded one)")
    parser.add_argument("--hook-name", help="where genres are read (where the shipped SAE reads)")
    options = parser.parse_args(arguments)
    if not 0 < options.val_fraction < 1:
        parser.error(f"--val-fraction {options.val_fraction:g} is not between 0 and 1")
    if "tokens" in options.kinds and options.tokens < 2:
        parser.error(f"--tokens {options.tokens} can't be split into training and validation: give 2 or more")
    return options


def prepare(options: argparse.Namespace) -> None:
    """Write both files and say what is in them. Raises ValueError, ModelUnavailable or OSError in a sentence."""
    from scripts.interp.models.embedded import NAME as EMBEDDED
    from scripts.interp.models.load import load_model
    from scripts.interp.models.plain import load_plain_model
    from scripts.interp.selfie.known_vectors import HOOK_NAME, SPLIT, genre_data, genre_directions, token_data
    from scripts.interp.selfie.training_data import TrainingData, join, load_training_data, write_joined
    from scripts.interp.text.corpus import load_corpus

    name, hook_name = options.model or EMBEDDED, options.hook_name or HOOK_NAME

    def words(taken: list[str]) -> TrainingData:
        plain = load_plain_model(name)  # with the embeddings that labels are read with: none is folded
        embeddings = plain.model.get_input_embeddings().weight
        return token_data(
            plain.tokenizer, embeddings, documents, options.tokens, options.seed, options.val_fraction, taken, name
        )

    parts = [load_training_data(path) for path in options.join]
    documents = load_corpus(SPLIT)
    if "tokens" in options.kinds:
        parts.append(words([label for part in parts for item in part.items for label in item.labels]))
    if "genres" in options.kinds:
        directions = genre_directions(load_model(name), documents, hook_name, seed=options.seed)
        parts.append(genre_data(directions, hook_name, name))
    data = write_joined(options.output_dir, options.output_name, join(*parts))

    n_val = sum(item.split == "val" for item in data.items)
    print(f"{len(data.vectors):,} vectors of {data.vectors.shape[1]:,} numbers; {len(data.items):,} have labels")
    print(f"{len(data.items) - n_val:,} are for training, {n_val:,} for validation; leaks: {data.leaks()}")
    print(f"written: {options.output_name}.pt and {options.output_name}_labels.json in {options.output_dir}")


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
