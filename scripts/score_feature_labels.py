"""Test the labels of the embedded model's SAE on text that they were not written from, and store the scores.

    .venv/bin/python -m scripts.score_feature_labels            # ten minutes of one core: data/feature_labels.json
    .venv/bin/python -m scripts.score_feature_labels --check    # writes nothing, and fails where a score is another

The labels were written after reading contexts of the validation split. Scores of predicates are of the test split;
those of blind sortings, done once by a reader who saw the label and shuffled contexts, stay as they are.
"""

import argparse
import json
import sys

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.score_feature_labels", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="compare with the stored scores, and write nothing")
    options = parser.parse_args(arguments)

    from scripts.interp.selfie.feature_labels import FILE, SPLITS_USED, activations_on, scores

    sections = json.loads(FILE.read_text(encoding="utf-8"))
    vectors = [each for each in sections[0]["vectors"] if "predicate" in each]
    try:
        seen = [activations_on(split, [each["index"] for each in vectors])[1:] for split in SPLITS_USED]
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    different = 0
    for number, vector in enumerate(vectors):
        found = scores(vector["predicate"], *((text, values[..., number].float()) for text, values in seen))
        if any(vector.get(name) != value for name, value in found.items()):
            different += 1
            print(f"latent {vector['index']}: {found}")
        vector.update(found)
    if options.check:
        print(f"{different} of {len(vectors)} scores are other than the stored ones.")
        return int(different > 0)
    write_atomically(FILE, text_of(sections))
    print(f"{different} of {len(vectors)} scores are new.")
    return 0


def text_of(sections: list[dict]) -> str:
    """The file, a vector a line."""
    lines = [json.dumps(each, ensure_ascii=False) for each in sections[0]["vectors"]]
    about = json.dumps(sections[0]["metadata"], indent=1, ensure_ascii=False)
    return f'[{{"metadata": {about},\n"vectors": [\n' + ",\n".join(lines) + "\n]}]\n"


if __name__ == "__main__":
    sys.exit(main())
