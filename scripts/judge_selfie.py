"""Judge what the embedded model says about features of its own SAE, through each kind of adapter and each control.

    .venv/bin/python -m scripts.judge_selfie                                  # all of it: hours of one core
    .venv/bin/python -m scripts.judge_selfie --only identity scalar_affine    # some; what has a row is not done again
    .venv/bin/python -m scripts.judge_selfie --table                          # only the table of what there is

Adapters are trained by configs/scalar_affine_smollm2_135m.yaml but for their kind and the rate of matrices, and kept in
outputs/selfie; a killed training goes on. Rows, each with intervals over what is held out, go to a file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder

N_LABELS = 100  # among which a feature's own has to come first
N_WORDS = 50  # the same for words
RANK, MATRIX_RATE = 16, 0.1  # of low-rank adapters; learning rate of what is neither scale nor bias
LOOKED_UP = 5  # tokens that make a description without the model


class Condition(NamedTuple):
    """What stands between a vector and the model, and what is done to one of them as a control."""

    kind: str  # of adapter; "" where the model is not asked
    is_trained: bool = True
    control: str = ""  # "shuffled labels" in training; in judging "bias alone" or "random vectors"


CONDITIONS = {
    "labels of the data": Condition("", False),
    "logit lens": Condition("", False),
    "nearest embeddings": Condition("", False),
    "identity": Condition("identity", False),
    "scale of the configuration": Condition("scale_only", False),
    "scale_only": Condition("scale_only"),
    "scalar_affine": Condition("scalar_affine"),
    "low_rank_only": Condition("low_rank_only"),
    "scalar_affine_plus_low_rank": Condition("scalar_affine_plus_low_rank"),
    "full_rank": Condition("full_rank"),
    "bias alone": Condition("scalar_affine", control="bias alone"),
    "random vectors": Condition("scalar_affine", control="random vectors"),
    "shuffled labels": Condition("scalar_affine", control="shuffled labels"),
    "scalar_affine, with words": Condition("scalar_affine", control="with words"),
}


class Case(NamedTuple):
    """All that judging needs, the same for every condition."""

    reading: Any
    settings: dict[str, Any]
    examples: Any  # features, and what is trained on
    labels: list[tuple[str, ...]]  # of the held-out features, as text
    known: dict[str, tuple[Any, list]]  # vectors whose meaning is known without an SAE, and their labels' token ids
    with_words: Any  # examples with words among those that are trained on
    words: Any
    contexts: list


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.judge_selfie", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--only", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), help="some of the conditions"
    )
    parser.add_argument("--table", action="store_true", help="print the rows that there are, and judge nothing")
    parser.add_argument("--output", type=Path, help="the file of rows (default: outputs/selfie/judged.json)")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)
    path = options.output or outputs_folder("selfie") / "judged.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
        if not options.table:
            judge_all(options, found, path)
    except (ModelUnavailable, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(text_of(found["rows"]))
    return 0


def judge_all(options: argparse.Namespace, found: dict[str, Any], path: Path) -> None:
    """Add the rows that are missing, one after another."""
    import torch

    torch.set_num_threads(options.threads)
    done = {row["condition"] for row in found["rows"]}
    missing = [name for name in options.only if name not in done]
    if not missing:
        return
    case = read_case()
    if found.setdefault("settings", case.settings) != case.settings:
        raise ValueError(f"The rows in {path} were judged with other settings: give another --output, or delete it.")
    found["known"] = {name: len(labels) for name, (_, labels) in case.known.items()}
    found["features"] = [item.vector for item in case.examples.val]
    for name in missing:
        print(f"{name} …", flush=True)
        found["rows"].append({"condition": name} | judged(name, case))
        found["rows"].sort(key=lambda row: list(CONDITIONS).index(row["condition"]))
        write_atomically(path, json.dumps(found, indent=1) + "\n")


def read_case() -> Case:
    """The model, the features and their contexts, and vectors that are known without an SAE."""
    from scripts.interp.models.load import load_model
    from scripts.interp.models.plain import load_plain_model
    from scripts.interp.selfie.examples import examples_of, feature_data
    from scripts.interp.selfie.judge import different_labels, new_words
    from scripts.interp.selfie.known_vectors import genre_data, genre_directions, token_data
    from scripts.interp.selfie.losses import new_reading
    from scripts.interp.selfie.prompt import read_prompt
    from scripts.interp.selfie.settings import EXAMPLE, read_settings
    from scripts.interp.selfie.training_data import join
    from scripts.interp.text.corpus import load_corpus

    settings = read_settings(EXAMPLE)
    plain = load_plain_model(settings["model"]["name"])
    template = settings["soft_prompt"]["template"]
    reading = new_reading(plain, read_prompt(plain.tokenizer, template, settings["soft_prompt"]["reserved_token"]))
    features, embeddings = feature_data(), plain.model.get_input_embeddings().weight
    examples = examples_of(features, plain.tokenizer)
    contexts, text = contexts_of([item.vector for item in examples.val], plain.tokenizer.bos_token_id)
    documents = load_corpus("train")
    taken = [label for item in features.items for label in item.labels]
    words = token_data(plain.tokenizer, embeddings, documents, taken=taken)
    genres = genre_data(genre_directions(load_model(settings["model"]["name"]), documents))
    known = {}
    for name, data in (("words", words), ("genres", genres)):
        each = examples_of(data, plain.tokenizer)
        one_each = different_labels([item.labels for item in each.val], N_WORDS)
        known[name] = each.vectors[[each.val[i].vector for i in one_each]], list(one_each.values())
    with_words = examples_of(join(features, words), plain.tokenizer)
    labels = [item.labels for item in features.items if item.split == "val"]
    return Case(reading, settings, examples, labels, known, with_words, new_words(reading, template, text), contexts)


def judged(name: str, case: Case) -> dict[str, Any]:
    """One row: means and intervals over what is held out, and what was written about each feature."""
    from scripts.interp.base.statistics import bootstrap_interval
    from scripts.interp.selfie.describe import describe
    from scripts.interp.selfie.judge import description_auroc, different_labels, label_log_likelihood, own_label_first

    condition = CONDITIONS[name]
    n_parameters, found = None, {}
    if condition.kind:
        adapter = adapter_of(condition, case)
        n_parameters = adapter.bias.numel() if condition.control == "bias alone" else adapter.n_parameters()
        soft = soft_tokens(condition, adapter, case.examples.vectors[[item.vector for item in case.examples.val]])
        labels = [item.labels for item in case.examples.val]
        one_each = different_labels(labels, N_LABELS)
        said = describe(case.reading, soft)
        found["log_likelihood"] = label_log_likelihood(case.reading, soft, labels)
        found["recall_at_1"] = own_label_first(case.reading, soft[list(one_each)], list(one_each.values()))
        for kind, (vectors, their_labels) in case.known.items():
            soft = soft_tokens(condition, adapter, vectors)
            found[f"{kind}_recall_at_1"] = own_label_first(case.reading, soft, their_labels)
    elif name == "labels of the data":
        said = [mine[0] for mine in case.labels]
    else:
        said = looked_up(case, name)
    scores = description_auroc(case.words, said, case.contexts)
    found |= {"auroc": scores.own, "auroc_of_others": scores.others, "above_others": scores.own - scores.others}
    numbers = {
        measure: [round(each, 4) for each in (values.mean().item(), *bootstrap_interval(values))]
        for measure, values in ((measure, values.float()) for measure, values in found.items())
    }
    return {"kind": condition.kind, "n_parameters": n_parameters, **numbers, "said": said}


def soft_tokens(condition: Condition, adapter, vectors):
    """What goes into the prompt in place of these vectors."""
    import torch

    if condition.control == "random vectors":
        vectors = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if condition.control == "bias alone":
            return adapter.bias.expand(len(vectors), -1)
        return adapter(vectors)


def looked_up(case: Case, how: str) -> list[str]:
    """For each feature some tokens, without a run of the model: those that its direction is most like, or that the last
    norm and the unembedding make likeliest of it (the logit lens).
    """
    from torch.nn.functional import normalize

    model, tokenizer = case.reading.plain
    vectors = case.examples.vectors[[item.vector for item in case.examples.val]]
    if how == "logit lens":
        scores = vectors * model.base_model.norm.weight.float() @ model.get_output_embeddings().weight.float().T
    else:
        scores = vectors @ normalize(model.get_input_embeddings().weight.float(), dim=1).T
    best = scores.topk(LOOKED_UP, dim=1).indices.tolist()
    return [" ".join(tokenizer.decode([token]).strip() for token in mine) for mine in best]


def adapter_of(condition: Condition, case: Case):
    """The adapter of a condition, trained if it has to be."""
    import random

    from scripts.interp.selfie.adapters import new_adapter
    from scripts.interp.selfie.training import train

    projection = case.settings["projection"] | {"type": condition.kind, "low_rank_rank": RANK}
    settings, examples = case.settings | {"projection": projection}, case.examples
    if condition.kind not in ("scale_only", "scalar_affine"):  # whose parameters have rates of their own
        settings["training"] = settings["training"] | {"learning_rate": MATRIX_RATE}
    adapter = new_adapter(projection, examples.vectors.shape[1], settings["seed"])
    if not condition.is_trained:
        return adapter
    name = condition.kind
    if condition.control == "shuffled labels":
        name = "shuffled labels"
        labels = [item.labels for item in examples.train]
        random.Random(0).shuffle(labels)
        shuffled = [item._replace(labels=mine) for item, mine in zip(examples.train, labels)]
        examples = examples._replace(train=shuffled)
    elif condition.control == "with words":
        name = "with words"
        examples = examples._replace(vectors=case.with_words.vectors, train=case.with_words.train)
    # the last adapter, not the one with the lowest loss on what it is judged on
    return train(case.reading, adapter, examples, settings, outputs_folder("selfie") / "judged" / name).adapter


def contexts_of(latents: list[int], bos_token_id: int):
    """Contexts of the test split for each of these latents, and the rows they are from."""
    from scripts.interp.selfie.feature_labels import activations_on
    from scripts.interp.selfie.judge import some_contexts

    rows, _, activations = activations_on("test", latents)
    return [some_contexts(rows, activations[..., i].float(), bos_token_id) for i in range(len(latents))], rows


def text_of(rows: list[dict[str, Any]]) -> str:
    """The table to read."""
    from scripts.interp.base.tables import table, with_interval

    measures = {
        "log-likelihood": "log_likelihood", "first of 100": "recall_at_1", "AUROC": "auroc",
        "above others": "above_others", "words": "words_recall_at_1", "genres": "genres_recall_at_1",
    }  # fmt: skip
    return table([
        {"condition": row["condition"], "parameters": row["n_parameters"]}
        | {name: with_interval(*row[measure], ".2f") if measure in row else None for name, measure in measures.items()}
        for row in rows
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
