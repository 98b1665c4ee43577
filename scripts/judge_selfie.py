"""Judge what the embedded model says about features of its own SAE, through each kind of adapter and each control.

    python -m scripts.judge_selfie                                  # all of it: hours of one core
    python -m scripts.judge_selfie --only identity scalar_affine    # some of it; what has a row is not done again
    python -m scripts.judge_selfie --table                          # only the table of what there is

Adapters are trained by configs/scalar_affine_smollm2_135m.yaml but for their kind, and kept in outputs/selfie; a killed
training goes on. Rows, each with intervals over held-out features, go to outputs/selfie/judged.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT, outputs_folder

CONFIG = ROOT / "configs" / "scalar_affine_smollm2_135m.yaml"
N_LABELS, RANK = 100, 16  # labels among which a vector's own has to come first; rank of low-rank adapters


class Condition(NamedTuple):
    """What stands between a vector and the model, and what is done to one of them as a control."""

    kind: str
    is_trained: bool = True
    control: str = ""  # "shuffled labels" in training; in judging "bias alone" or "random vectors"


CONDITIONS = {
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
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.judge_selfie", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), help="some of the conditions"
    )
    parser.add_argument("--table", action="store_true", help="print the rows that there are, and judge nothing")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)
    results = outputs_folder("selfie") / "judged.json"
    rows = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else []
    try:
        if not options.table:
            judge_all(options, rows, results)
    except (ModelUnavailable, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(text_of(rows))
    return 0


def judge_all(options: argparse.Namespace, rows: list[dict[str, Any]], results: Path) -> None:
    """Add the rows that are missing, one after another."""
    import torch

    from scripts.interp.models.plain import load_plain_model
    from scripts.interp.selfie.examples import examples_of, feature_data
    from scripts.interp.selfie.judge import new_words
    from scripts.interp.selfie.losses import new_reading
    from scripts.interp.selfie.prompt import read_prompt
    from scripts.interp.selfie.settings import read_settings

    torch.set_num_threads(options.threads)
    settings = read_settings(CONFIG)
    plain = load_plain_model(settings["model"]["name"])
    template = settings["soft_prompt"]["template"]
    reading = new_reading(plain, read_prompt(plain.tokenizer, template, settings["soft_prompt"]["reserved_token"]))
    examples = examples_of(feature_data(), plain.tokenizer)
    contexts, text = contexts_of([item.vector for item in examples.val], plain.tokenizer.bos_token_id)
    words = new_words(reading, template, text)
    for name in options.only:
        if name not in {row["condition"] for row in rows}:
            print(f"{name} …", flush=True)
            rows.append({"condition": name} | judged(name, reading, examples, settings, words, contexts))
            write_atomically(results, json.dumps(rows, indent=1) + "\n")


def judged(name: str, reading, examples, settings: dict[str, Any], words, contexts) -> dict[str, Any]:
    """One row: means and intervals over held-out features, and what was written about each."""
    import torch

    from scripts.interp.base.statistics import bootstrap_interval
    from scripts.interp.selfie.describe import describe
    from scripts.interp.selfie.judge import description_auroc, different_labels, label_log_likelihood, own_label_first

    condition = CONDITIONS[name]
    vectors = examples.vectors[[item.vector for item in examples.val]]
    if condition.control == "random vectors":
        vectors = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    adapter = adapter_of(condition, reading, examples, settings)
    with torch.no_grad():
        soft = adapter(vectors)
        if condition.control == "bias alone":
            soft = adapter.bias.expand(len(vectors), -1)
    labels = [item.labels for item in examples.val]
    one_each = different_labels(labels, N_LABELS)
    said = describe(reading, soft)
    found = {
        "log_likelihood": label_log_likelihood(reading, soft, labels),
        "recall_at_1": own_label_first(reading, soft[list(one_each)], list(one_each.values())).float(),
        "auroc": description_auroc(words, said, contexts),
    }
    numbers = {
        measure: [round(each, 4) for each in (values.mean().item(), *bootstrap_interval(values))]
        for measure, values in found.items()
    }
    return {"kind": condition.kind, "n_parameters": adapter.n_parameters(), **numbers, "n": len(soft), "said": said}


def adapter_of(condition: Condition, reading, examples, settings: dict[str, Any]):
    """The adapter of a condition, trained if it has to be."""
    import random

    from scripts.interp.selfie.adapters import new_adapter
    from scripts.interp.selfie.training import train

    projection = settings["projection"] | {"type": condition.kind, "low_rank_rank": RANK}
    settings = settings | {"projection": projection}
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
    return train(reading, adapter, examples, settings, outputs_folder("selfie") / "judged" / name).best


def contexts_of(latents: list[int], bos_token_id: int):
    """Contexts of the test split for each of these latents, and the rows they are from."""
    from scripts.interp.selfie.feature_labels import activations_on
    from scripts.interp.selfie.judge import some_contexts

    rows, _, activations = activations_on("test", latents)
    return [some_contexts(rows, activations[..., i].float(), bos_token_id) for i in range(len(latents))], rows


def text_of(rows: list[dict[str, Any]]) -> str:
    """The table to read."""
    from scripts.interp.base.tables import table

    def interval(values: list[float]) -> str:
        return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"

    measures = ("log_likelihood", "recall_at_1", "auroc")
    return table([
        {"condition": row["condition"], "parameters": row["n_parameters"]}
        | {measure: interval(row[measure]) for measure in measures}
        for row in rows
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
