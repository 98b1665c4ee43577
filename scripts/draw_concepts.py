"""Draw the pictures of docs/concepts.md anew: of the embedded model, of toys, and of the SAE that ships.

.venv/bin/python -m scripts.draw_concepts                 # all of them, about half a minute
.venv/bin/python -m scripts.draw_concepts superposition   # one
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT
from scripts.interp.models.embedded import NAME as EMBEDDED

# torch, and what needs it, is imported where it is used: a wrong argument is answered at once.

FOLDER = ROOT / "docs" / "concepts"
TOY = "toy-attn-2l"
SENTENCE = "The keeper of the old lighthouse climbed the stairs every evening."
FACT, FACT_ANSWER = "The Eiffel Tower is in the city of", " Paris"
CAPITALS = {  # no IOI: how its map looks is for students to predict
    "clean": "The capital of France is the city of",
    "corrupted": "The capital of Italy is the city of",
    "answer": " Paris",
    "wrong_answer": " Rome",
}
PERIOD = 8  # random tokens that come twice
N_FEATURES, ABSENT = 5, 0.97  # of the toy of superposition: in two dimensions; how often a feature is absent
N_LATENTS = 10  # rows of the picture of an SAE


def attention(model) -> str:
    """Where one head looks: the one that looks at the token before most, chosen because it is easy to read."""
    import torch

    from scripts.interp.figures.concepts import attention_picture
    from scripts.interp.runs.caches import cache_filter
    from scripts.interp.runs.heads import head_name, strongest

    _, cache = model.run_with_cache(SENTENCE, names_filter=cache_filter(model, "pattern"))
    patterns = torch.stack([cache[f"blocks.{i}.attn.hook_pattern"][0] for i in range(model.cfg.n_layers)])
    head = strongest(patterns.diagonal(-1, -2, -1)[..., 1:].mean(dim=-1), 1)[0]
    name = f"{head_name(head)} of {model.cfg.model_name}"
    return attention_picture(patterns[head].cpu(), model.to_str_tokens(SENTENCE), name, SENTENCE)


def residual_stream(model) -> str:
    """What the stream at the last position says after each layer, if it is read as the output (logit lens)."""
    from scripts.interp.figures.concepts import lens_picture
    from scripts.interp.runs.logits import logit_lens

    lens = logit_lens(model, FACT)[:, -1].cpu()
    places = 1 + (lens > lens[:, [model.to_single_token(FACT_ANSWER)]]).sum(dim=1)
    said = [model.to_string(token) for token in lens.argmax(dim=1).tolist()]
    return lens_picture(places.tolist(), said, FACT_ANSWER, FACT, model.cfg.d_vocab, model.cfg.model_name)


def patching(model) -> str:
    """Denoising and noising of the residual stream, one layer and position at a time, for one pair of prompts."""
    from scripts.interp.circuits.patching import patch_stream
    from scripts.interp.circuits.prompt_pairs import prompt_pairs
    from scripts.interp.figures.concepts import patching_picture

    pairs = prompt_pairs(model, [CAPITALS])
    denoised = patch_stream(model, pairs, progress=False)
    noised = patch_stream(model, pairs, direction="noising", progress=False)
    clean, corrupted = (model.to_str_tokens(CAPITALS[kind]) for kind in ("clean", "corrupted"))
    changed = next(i for i, (a, b) in enumerate(zip(clean, corrupted)) if a != b)
    labels = [*clean[:changed], f"{clean[changed]}|{corrupted[changed].strip()}", *clean[changed + 1 :]]
    right, wrong = CAPITALS["answer"].strip(), CAPITALS["wrong_answer"].strip()
    return patching_picture(
        {
            "denoising: how much of the answer comes back": denoised.effect.cpu(),
            "noising: how much of the answer is lost": 1 - noised.effect.cpu(),
        },
        labels,
        changed,
        [
            f"clean: “{CAPITALS['clean']} …”   {right} is ahead of {wrong} by {denoised.clean.mean():.1f} logits",
            f"corrupted: “{CAPITALS['corrupted']} …”   {wrong} is ahead of {right} by {-denoised.corrupted.mean():.1f}",
        ],
    )


def induction(toy) -> str:
    """The attention pattern of the toy's strongest induction head on random tokens that come twice."""
    import torch

    from scripts.interp.circuits.head_scores import repeat_scores
    from scripts.interp.figures.concepts import induction_picture
    from scripts.interp.runs.caches import cache_filter
    from scripts.interp.runs.heads import head_name, strongest
    from scripts.interp.text.repeats import create_induction_dataset

    bos, d_vocab = toy.tokenizer.bos_token_id, toy.cfg.d_vocab
    rows = torch.cat(create_induction_dataset(8, PERIOD, d_vocab=d_vocab, bos_token_id=bos))
    layer, head = strongest(repeat_scores(toy, rows, PERIOD).induction, 1)[0]
    _, cache = toy.run_with_cache(rows[:1], names_filter=cache_filter(toy, "pattern"))
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0, head].cpu()
    name = f"{head_name((layer, head))} of {toy.cfg.model_name}"
    return induction_picture(pattern, toy.to_str_tokens(rows[0]), PERIOD, name)


def superposition(_=None) -> str:
    """Five features in two numbers: their directions, and what is read back of feature 1, alone and with another."""
    import torch

    from scripts.interp.figures.concepts import superposition_picture
    from scripts.interp.planted.superposition import reconstruct, train_superposition

    toy = train_superposition(N_FEATURES, 2, torch.tensor([ABSENT]), steps=1500)
    one = torch.eye(N_FEATURES)
    put_in = torch.cat([one[:1], one[0] + one[1:]])  # feature 1 alone, then together with each other one
    read = reconstruct(toy.W, toy.b, put_in[None])[0].detach()
    worst = 1 + int((read - put_in)[1:].square().sum(dim=1).argmax())
    return superposition_picture(toy.W[0].detach(), put_in[[0, worst]], read[[0, worst]], ABSENT)


def features(model) -> str:
    """The latents of the shipped SAE that are strongest in a sentence, and how many are above zero at each token."""
    from scripts.interp.features.contexts import sae_latents
    from scripts.interp.figures.concepts import latents_picture
    from scripts.interp.saes.load import load_sae

    latents = sae_latents(model, load_sae(model), model.to_tokens(SENTENCE))[0, 1:].cpu()  # it never saw BOS
    strongest = latents.max(dim=0).values.topk(N_LATENTS).indices
    n_active = (latents > 0).sum(dim=1).tolist()
    tokens = model.to_str_tokens(SENTENCE)[1:]
    return latents_picture(strongest, latents[:, strongest].T, n_active, tokens, latents.shape[1])


class Picture(NamedTuple):
    draw: Callable[..., str]  # of a model, or of nothing
    model: str | None = None


PICTURES = {
    "attention": Picture(attention, EMBEDDED),
    "residual-stream": Picture(residual_stream, EMBEDDED),
    "patching": Picture(patching, EMBEDDED),
    "induction": Picture(induction, TOY),
    "superposition": Picture(superposition),
    "features": Picture(features, EMBEDDED),
}


def picture_file(name: str) -> Path:
    return FOLDER / f"{name}.svg"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.draw_concepts", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(PICTURES)}")
    names = parser.parse_args(arguments).names
    if unknown := sorted(set(names) - PICTURES.keys()):
        parser.error(f"there is no picture {', '.join(unknown)}: choose from {', '.join(PICTURES)}")

    import torch

    from scripts.interp.models.load import load_model

    models: dict[str | None, object] = {None: None}
    with torch.no_grad():
        for name in names or PICTURES:
            draw, of = PICTURES[name]
            if of not in models:
                models[of] = load_model(of, device="cpu")
            drawn = draw(models[of])
            write_atomically(picture_file(name), drawn)
            print(f"{picture_file(name).relative_to(ROOT)}: {len(drawn.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
