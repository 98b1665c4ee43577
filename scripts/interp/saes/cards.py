"""The model card of an SAE."""

from dataclasses import asdict
from typing import Any

from scripts.interp.models.embedded import NAME as EMBEDDED
from scripts.interp.saes.recipes import Settings, usual_name

ROWS = {  # of its table: what stands there, and its key in the metrics
    "cross-entropy recovered, against mean ablation": "recovered_mean",
    "cross-entropy recovered, against zero ablation": "recovered_zero",
    "fraction of variance unexplained": "fvu",
    "L0": "l0",
    "share of latents that are above zero on no token": "dead_fraction",
    "cross-entropy, model untouched (nats)": "ce_clean",
    "cross-entropy, SAE spliced in": "ce_spliced",
    "cross-entropy, mean ablation": "ce_mean",
    "cross-entropy, zero ablation": "ce_zero",
    "tokens for FVU, L0 and dead latents": "n_tokens",
    "tokens left out: special": "n_special",
    "tokens left out: norm": "n_massive",
    "tokens whose cross-entropy was measured": "n_predicted",
}


def cell(value: float | int | list[float] | tuple[float, ...]) -> str:
    """A number, a count, or an estimate with its interval, as the card shows them."""
    if isinstance(value, (list, tuple)):
        return "{:.3f} [{:.3f}, {:.3f}]".format(*value)
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def command_of(settings: Settings, name: str) -> str:
    """The arguments of `.venv/bin/python -m scripts.train_sae` that make the SAE in a folder of this name again."""
    usual = Settings(hook_name=settings.hook_name)
    options = [
        f"--{field.replace('_', '-')}" + ("" if value is True else f" {value}")
        for field, value in asdict(settings).items()
        if value != getattr(usual, field) and field != "context"
    ]
    options += [f"--folder {name}"] * (name != usual_name(settings))
    return " ".join([settings.hook_name, *options])


def model_card(name: str, result: dict[str, Any]) -> str:
    """What the SAE is, how it was made, how good it is; every number from the result, which metrics.json holds."""
    settings = Settings(**result["settings"])
    table = "".join(
        f"| {what} | {' | '.join(cell(metrics[key]) for metrics in result['held_out'].values())} |\n"
        for what, key in ROWS.items()
    )
    seen = result["steps"] * settings.batch
    sparsity = (
        f"k {settings.k}" if "topk" in settings.architecture else f"weight of the sparsity loss {settings.sparsity:g}"
    )
    if "l0_saved" in result:  # what was saved need not be as sparse as what was trained, BatchTopK least of all
        sparsity += f" (L0 of what was saved, on these activations: {result['l0_saved']:.1f})"
    lost = {
        key: abs(result["precision"]["half"][key][0] - result["precision"]["single"][key][0])
        for key in ("fvu", "recovered_mean")
    }
    text = f"`{settings.corpus}`" if settings.corpus else f"`data/corpus.jsonl.xz`, which {EMBEDDED} wrote"
    versions, norm_limit, minutes = result["versions"], result["norm_limit"], result["seconds"] / 60
    return f"""# {name}

A sparse autoencoder ({settings.architecture}) for `{settings.hook_name}` of {settings.model}, trained by this \
project for its lab on
features. `SAE.load_from_disk` of sae-lens {versions["sae_lens"]} opens this folder.

- **Data**: {result["tokens"]:,} activations of the training split of {text}, \
in rows of {settings.context}
  tokens that start with BOS; {settings.passes:g} passes, each in another order. Left out: \
{result["tokens_special"]:,} special tokens and
  {result["tokens_massive"]:,} tokens with a norm above {norm_limit:.0f}, ten times the median.
- **Training**: {result["steps"]:,} steps of {settings.batch:,} tokens ({seen:,} in all), width {settings.width}×, \
{sparsity}, learning rate
  {settings.learning_rate:g} with warm-up and decay, seed {settings.seed}; {minutes:.0f} minutes with \
{result["threads"]} thread(s) on
  {result["machine"]}, torch {versions["torch"]}. \
`.venv/bin/python -m scripts.train_sae {command_of(settings, name)}` does it again.
- **Stored** in half precision, computed with in single: that changes the fraction of variance unexplained by \
{lost["fvu"]:.1e} and
  the share of cross-entropy recovered by {lost["recovered_mean"]:.1e}. `metrics.json` has the training curve and what \
follows.

Judged on text that it was not trained on, with 95 % intervals over rows of text: the corpus's test split, and \
documentation of
the Python library, which was written by people. Positions that were left out keep their activations.

| | test split | library documentation |
|---|---|---|
{table}
Licence: as the project's.
"""
