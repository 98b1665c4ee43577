"""Answers to Lab 4's exercises: wrong ones, each with the hint it must be given, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "04-feature-extraction-saes.ipynb"

LATENTS = "latents = ((x - b_dec) @ W_enc + b_enc).relu()"
BOTH = "return latents, latents @ W_dec + b_dec"
ERROR = "error = (x - reconstruction).square().sum(dim=-1)"
L1 = "l1 = (latents * W_dec.norm(dim=-1)).sum(dim=-1)"
LOSS = "return (error + l1_coefficient * l1).mean()"
KEPT = "x, latents, reconstruction = (each[kept] for each in (x, latents, reconstruction))"
FVU = "fvu = (x - reconstruction).square().sum() / (x - x.mean(dim=0)).square().sum()"
QUALITY = "return fvu.item(), active.sum(dim=-1).float().mean().item(), (~active.any(dim=0)).float().mean().item()"
PUT = "return torch.where(kept[..., None], replacement.to(activation.dtype), activation)"
CROSS = "return -logits[:, :-1].log_softmax(dim=-1).gather(-1, tokens[:, 1:, None]).mean()"
THREE = """clean, spliced = loss_with(None), loss_with(reconstruction)
    mean = loss_with(activations[kept].mean(dim=0))"""
RECOVERED = "return ((mean - spliced) / (mean - clean)).item()"
TOGETHER = "both = (active & named[:, None]).sum(dim=0)"
F1 = "return 2 * both / (active.sum(dim=0) + named.sum()).clamp(min=1)"
CHOSEN = "feature = f1(active, named).argmax().item()"
REPORTED = "return feature, f1(new_active, new_named)[feature].item()"
PRECISION, RECALL = "both / active.sum(dim=0).clamp(min=1)", "both / named.sum().clamp(min=1)"
LATENT = "latent = sae.encode(activation)[..., feature, None]"
CHANGED = "changed = activation + (value - latent) * sae.W_dec[feature]"
NORM = "kept = activation.norm(dim=-1) <= limit"
CLAMPED = "return torch.where(kept[..., None], changed, activation).to(activation.dtype)"
SHIFTS = """generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(1, len(active), (n_moves,), generator=generator).tolist()"""
REACHED = "reached = sum(overlap(active.roll(shift)) >= overlap(active) for shift in shifts)"
P_VALUE = "return (1 + reached) / (n_moves + 1)"

WRONG = {
    "ex1-sae": {
        "detached": ((BOTH, "latents = latents.detach()\n    " + BOTH), "No gradient"),
        "no gradients": (
            (BOTH, BOTH.replace("latents @ W_dec + b_dec", "(latents @ W_dec + b_dec).detach()")),
            "No gradient flows",
        ),
        "decoded from detached latents": ((BOTH, "return latents, latents.detach() @ W_dec + b_dec"), "gradient at"),
        "no b_dec in encode": ((LATENTS, LATENTS.replace("(x - b_dec)", "x")), "not taken away before encoding"),
        "b_dec added in encode": ((LATENTS, LATENTS.replace("x - b_dec", "x + b_dec")), "added before encoding"),
        "no b_enc": ((LATENTS, LATENTS.replace(" + b_enc", "")), "b_enc is missing"),
        "b_enc after the ReLU": ((LATENTS, "latents = ((x - b_dec) @ W_enc).relu() + b_enc"), "belongs inside"),
        "b_enc taken away": ((LATENTS, LATENTS.replace("+ b_enc", "- b_enc")), "b_enc is taken away"),
        "no ReLU": ((LATENTS, LATENTS.replace(".relu()", "")), "ReLU is missing"),
        "absolute values": ((LATENTS, LATENTS.replace(".relu()", ".abs()")), "Negative latents become positive"),
        "tied encoder": ((LATENTS, LATENTS.replace("W_enc", "W_dec.T")), "use W_enc"),
        "normalised latents": (
            (LATENTS, LATENTS + "\n    latents = latents / latents.norm(dim=-1, keepdim=True).clamp(min=1e-9)"),
            "normalised",
        ),
        "no b_dec at the end": ((BOTH, BOTH.replace(" + b_dec", "")), "not put back"),
        "b_dec taken away at the end": ((BOTH, BOTH.replace("+ b_dec", "- b_dec")), "put it back"),
        "tied decoder": ((BOTH, BOTH.replace("W_dec", "W_enc.T")), "use W_dec"),
        "ReLU on the reconstruction": ((BOTH, "return latents, (latents @ W_dec + b_dec).relu()"), "may be negative"),
        "the input": ((BOTH, "return latents, x"), "not its reconstruction"),
        "the error": ((BOTH, "return latents, x - (latents @ W_dec + b_dec)"), "This is the error"),
        "exchanged": ((BOTH, "return latents @ W_dec + b_dec, latents"), "exchanged"),
        "reconstruction only": ((BOTH, "return latents @ W_dec + b_dec"), "Return two tensors"),
        "changes x": ((LATENTS, "x -= b_dec\n    latents = (x @ W_enc + b_enc).relu()"), "changed its input"),
        "softplus": ((LATENTS, "latents = torch.nn.functional.softplus((x - b_dec) @ W_enc + b_enc)"), "differs"),
        "top half": (
            (LATENTS, LATENTS + "\n    latents = latents * (latents >= latents.mean())"),
            "Small latents are set to zero",
        ),
        "small latents dropped": (
            (LATENTS, LATENTS + "\n    latents = latents * (latents > 1e-2)"),
            "Small latents are set",
        ),
        "capped": ((LATENTS, LATENTS + "\n    latents = latents.clamp(max=20)"), "Large latents are cut off"),
        "x detached": ((LATENTS, LATENTS.replace("(x - b_dec)", "(x.detach() - b_dec)")), "No gradient reaches x"),
        "decoder normalised": (
            (BOTH, "return latents, latents @ (W_dec / W_dec.norm(dim=-1, keepdim=True)) + b_dec"),
            "differs",
        ),
    },
    "ex2-sae-loss": {
        "no L1": ((LOSS, "return error.mean()"), "L1 term is missing"),
        "no coefficient": ((LOSS, "return (error + l1).mean()"), "coefficient is missing"),
        "no decoder norm": ((L1, "l1 = latents.sum(dim=-1)"), "not weighted by the norms"),
        "L1 on weights": ((L1, "l1 = W_dec.abs().sum()"), "that of the weights"),
        "norm over the wrong axis": (
            (L1, "l1 = (latents.sum(dim=-1, keepdim=True) * W_dec.norm(dim=0)).sum(dim=-1)"),
            "differs",
        ),
        "norm of the whole decoder": ((L1, L1.replace("norm(dim=-1)", "norm()")), "one number here"),
        "squared norms": ((L1, L1.replace("W_dec.norm(dim=-1)", "W_dec.square().sum(dim=-1)")), "squared norms"),
        "L1 norms of rows": ((L1, L1.replace("W_dec.norm(dim=-1)", "W_dec.abs().sum(dim=-1)")), "rows' L1 norms"),
        "error averaged over d_in": ((ERROR, ERROR.replace("sum(dim=-1)", "mean(dim=-1)")), "averaged over d_in"),
        "L1 averaged over latents": ((L1, L1.replace(").sum(", ").mean(")), "averaged over the latents"),
        "everything averaged": (
            (
                LOSS,
                "return (x - reconstruction).square().mean() + l1_coefficient * (latents * W_dec.norm(dim=-1)).mean()",
            ),
            "only the batch is averaged",
        ),
        "nothing averaged": ((LOSS, LOSS.replace("mean", "sum")), "Nothing is averaged"),
        "error not averaged": ((LOSS, "return error.sum() + l1_coefficient * l1.mean()"), "error is not averaged"),
        "L1 not averaged": ((LOSS, "return error.mean() + l1_coefficient * l1.sum()"), "L1 term is not averaged"),
        "error not squared": ((ERROR, "error = (x - reconstruction).norm(dim=-1)"), "not squared"),
        "absolute error": ((ERROR, ERROR.replace("square", "abs")), "absolute differences"),
        "squared latents": ((L1, L1.replace("latents *", "latents.square() *")), "latents are squared"),
        "L0": ((L1, "l1 = (latents > 0).float().sum(dim=-1)"), "has no gradient"),
        "minus": ((LOSS, LOSS.replace("+", "-")), "taken away; add it"),
        "coefficient on the error": ((LOSS, "return (l1_coefficient * error + l1).mean()"), "not to the error"),
        "item": ((LOSS, LOSS + ".item()"), "Return one tensor"),
        "no gradient": ((LOSS, LOSS + ".detach()"), "No gradient flows"),
        "no gradient at the latents": (
            (L1, L1.replace("latents *", "latents.detach() *")),
            "No gradient reaches the latents",
        ),
        "no gradient at the norms": (
            (L1, L1.replace("norm(dim=-1)", "norm(dim=-1).detach()")),
            "No gradient reaches W_dec",
        ),
    },
    "ex3-quality": {
        "hardly active counts as silent": (
            ("active = latents > 0", "active = latents > 1e-3"),
            "Very small latents are not counted",
        ),
        "the least active count as dead": (
            (QUALITY, QUALITY.replace("(~active.any(dim=0))", "(active.sum(dim=0) == active.sum(dim=0).min())")),
            "least often active",
        ),
        "variance of the error": (
            (FVU, "fvu = (x - reconstruction).var(dim=0).sum() / x.var(dim=0).sum()"),
            "error's own mean",
        ),
        "mean of the reconstruction": (
            (FVU, FVU.replace("x.mean(dim=0)", "reconstruction.mean(dim=0)")),
            "that of the reconstruction",
        ),
        "text by text": (
            (
                KEPT,
                "fvu = torch.stack([(a[k] - r[k]).square().sum() / (a[k] - a[k].mean(0)).square().sum() "
                "for a, r, k in zip(x, reconstruction, kept)]).mean()\n"
                "    active = latents[kept] > 0\n    " + QUALITY,
            ),
            "for each text",
        ),
        "L0 text by text": (
            (
                KEPT,
                "l0 = [(each[k] > 0).sum(dim=-1).float().mean() for each, k in zip(latents, kept)]\n"
                "    l0 = torch.stack(l0).mean()\n"
                "    " + KEPT + "\n    fvu = (x - reconstruction).square().sum() / (x - x.mean(dim=0)).square().sum()\n"
                "    return fvu.item(), l0.item(), (latents == 0).all(dim=0).float().mean().item()",
            ),
            "for each text",
        ),
        "mask of the first text": ((KEPT, "kept = kept[:1].expand(kept.shape)\n    " + KEPT), "mask of the first text"),
        "L0 first": (
            (
                QUALITY,
                "return active.sum(dim=-1).float().mean().item(), fvu.item(), "
                "(~active.any(dim=0)).float().mean().item()",
            ),
            "in this order",
        ),
        "rarely active counts as dead": (
            (QUALITY, QUALITY.replace("(~active.any(dim=0))", "(active.float().mean(dim=0) < 0.01)")),
            "differs",
        ),
        "position 0 dropped as well": (
            (KEPT, "kept = kept & (torch.arange(kept.shape[1]) > 0)\n    " + KEPT),
            "differs",
        ),
        "percent": (
            (QUALITY, QUALITY.replace(".float().mean().item()\n", "")[: -len(".item()")] + ".item() * 100"),
            "percentage",
        ),
        "BOS left in": (
            (KEPT, "x, latents, reconstruction = x.flatten(0, 1), latents.flatten(0, 1), reconstruction.flatten(0, 1)"),
            "BOS and the other positions",
        ),
        "only BOS left out": (
            (KEPT, "x, latents, reconstruction = (each[:, 1:].flatten(0, 1) for each in (x, latents, reconstruction))"),
            "Only BOS is left out",
        ),
        "mean over all positions": (
            (
                KEPT,
                "mean = x.mean(dim=(0, 1))\n    "
                + KEPT
                + "\n    fvu = (x - reconstruction).square().sum() / (x - mean).square().sum()\n"
                "    active = latents > 0\n    " + QUALITY,
            ),
            "mean over those that are kept",
        ),
        "not centred": ((FVU, FVU.replace("(x - x.mean(dim=0))", "x")), "not centred"),
        "one mean": ((FVU, FVU.replace("x.mean(dim=0)", "x.mean()")), "one number here"),
        "mean over d_in": ((FVU, FVU.replace("x.mean(dim=0)", "x.mean(dim=1, keepdim=True)")), "over d_in"),
        "explained": ((FVU, FVU.replace("fvu = ", "fvu = 1 - ")), "share that is explained"),
        "norms": (
            (FVU, "fvu = (x - reconstruction).norm(dim=-1).sum() / (x - x.mean(dim=0)).norm(dim=-1).sum()"),
            "Norms are used",
        ),
        "mean of ratios": (
            (
                FVU,
                "fvu = ((x - reconstruction).square().sum(dim=-1) / (x - x.mean(dim=0)).square().sum(dim=-1)).mean()",
            ),
            "at each position",
        ),
        "ratio by dimension": (
            (FVU, "fvu = ((x - reconstruction).square().sum(dim=0) / (x - x.mean(dim=0)).square().sum(dim=0)).mean()"),
            "for each dimension",
        ),
        "mean squared error": ((FVU, "fvu = (x - reconstruction).square().mean()"), "divide by the variance"),
        "upside down": (
            (FVU, "fvu = (x - x.mean(dim=0)).square().sum() / (x - reconstruction).square().sum()"),
            "upside down",
        ),
        "L0 over latents": (
            (QUALITY, QUALITY.replace("active.sum(dim=-1).float().mean()", "active.float().mean()")),
            "averaged over the latents",
        ),
        "L0 by latent": ((QUALITY, QUALITY.replace("active.sum(dim=-1)", "active.sum(dim=0)")), "how often a latent"),
        "L0 summed": (
            (QUALITY, QUALITY.replace("active.sum(dim=-1).float().mean()", "active.sum()")),
            "sum over positions",
        ),
        "L1 for L0": ((QUALITY, QUALITY.replace("active.sum(dim=-1).float()", "latents.sum(dim=-1)")), "L1"),
        "L0 of all positions": (
            (QUALITY, QUALITY.replace("active.sum(dim=-1).float().mean()", "(active.sum() / kept.numel())")),
            "Averaged over all positions",
        ),
        "inactive ones": ((QUALITY, QUALITY.replace("active.sum(dim=-1)", "(~active).sum(dim=-1)")), "NOT active"),
        "dead with BOS": (
            (
                KEPT,
                "everywhere = latents.flatten(0, 1) > 0\n    "
                + KEPT
                + "\n    fvu = (x - reconstruction).square().sum() / (x - x.mean(dim=0)).square().sum()\n"
                "    return fvu.item(), (latents > 0).sum(dim=-1).float().mean().item(), "
                "(~everywhere.any(dim=0)).float().mean().item()",
            ),
            "are in your share",
        ),
        "alive": ((QUALITY, QUALITY.replace("~active.any", "active.any")), "latents that are alive"),
        "number of dead": (
            (
                QUALITY,
                QUALITY.replace("float().mean().item()\n", "").replace(
                    "(~active.any(dim=0)).float().mean()", "(~active.any(dim=0)).sum()"
                ),
            ),
            "give the share",
        ),
        "not always active": ((QUALITY, QUALITY.replace("active.any", "active.all")), "at NO position"),
        "positions without a latent": ((QUALITY, QUALITY.replace("any(dim=0)", "any(dim=1)")), "positions without"),
        "two numbers": (
            (QUALITY, "return fvu.item(), active.sum(dim=-1).float().mean().item()"),
            "Return three numbers",
        ),
    },
    "ex4-recovered": {
        "clamped": ((RECOVERED, "return ((mean - spliced) / (mean - clean)).clamp(0, 1).item()"), "between 0 and 1"),
        "sign lost": ((RECOVERED, "return ((mean - spliced) / (mean - clean)).abs().item()"), "sign is lost"),
        "another place of the layer": (
            (THREE, "hook_name = f\"blocks.{hook_name.split('.')[1]}.hook_resid_post\"\n    " + THREE),
            "",
        ),
        "mean of the reconstruction": (
            (THREE, THREE.replace("activations[kept]", "reconstruction[kept]")),
            "that of the reconstruction",
        ),
        "median": (
            (THREE, THREE.replace("activations[kept].mean(dim=0)", "activations[kept].median(dim=0).values")),
            "median is put in",
        ),
        "mask of the first text": (
            (PUT, "return torch.where(kept[:1, :, None], replacement, activation)"),
            "mask of the first text",
        ),
        "loss of the first text": ((CROSS, CROSS.replace(".mean()", "[0].mean()")), "first text's loss"),
        "position 0 dropped as well": (
            (THREE, "kept = kept & (torch.arange(kept.shape[1]) > 0)\n    " + THREE),
            "differs",
        ),
        "without the first two tokens": (
            (CROSS, CROSS.replace("[:, :-1]", "[:, 1:-1]").replace("tokens[:, 1:, None]", "tokens[:, 2:, None]")),
            "differs",
        ),
        "hook returns the activation": ((PUT, "return activation"), "The mean changes nothing"),
        "zero ablation": (
            (THREE, THREE.replace("activations[kept].mean(dim=0)", "torch.zeros_like(activations)")),
            "Compared with zero, or with one number",
        ),
        "all positions": ((PUT, "return replacement.expand(activation.shape)"), "All positions are replaced"),
        "all positions and mean of all": (
            (
                THREE,
                THREE.replace("activations[kept].mean(dim=0)", "activations.mean(dim=(0, 1))")
                + "\n    kept = torch.ones_like(kept)",
            ),
            "over those that are kept",
        ),
        "mean over all positions": (
            (THREE, THREE.replace("activations[kept].mean(dim=0)", "activations.mean(dim=(0, 1))")),
            "over those that are kept",
        ),
        "mean by position": (
            (THREE, THREE.replace("activations[kept].mean(dim=0)", "activations.mean(dim=0)")),
            "each position",
        ),
        "one mean": (
            (THREE, THREE.replace("activations[kept].mean(dim=0)", "activations[kept].mean()")),
            "with one number",
        ),
        "last position": (
            (
                PUT,
                "activation = activation.clone()\n"
                "            activation[:, -1] = replacement.expand(activation.shape)[:, -1]\n"
                "            return activation",
            ),
            "The mean changes nothing",
        ),
        "last two positions": (
            (
                PUT,
                "put_in = replacement.expand(activation.shape)\n"
                "            return torch.cat([activation[:, :-2], put_in[:, -2:]], dim=1)",
            ),
            "",
        ),
        "others replaced": ((PUT, PUT.replace("kept[", "~kept[")), "NOT kept"),
        "error added back": (
            (
                THREE,
                THREE.replace(
                    "loss_with(reconstruction)", "loss_with(reconstruction + (activations - reconstruction))"
                ),
            ),
            "is the error left out",
        ),
        "error spliced": (
            (THREE, THREE.replace("loss_with(reconstruction)", "loss_with(activations - reconstruction)")),
            "error is spliced",
        ),
        "share lost": ((RECOVERED, "return ((spliced - clean) / (mean - clean)).item()"), "share that is lost"),
        "upside down": ((RECOVERED, "return ((mean - clean) / (mean - spliced)).item()"), "upside down"),
        "a difference": ((RECOVERED, "return (mean - spliced).item()"), "difference of losses"),
        "divided by the clean loss": ((RECOVERED, "return ((mean - spliced) / clean).item()"), "Divided by the clean"),
        "clean over spliced": ((RECOVERED, "return (clean / spliced).item()"), "clean loss over spliced"),
        "kept losses only": (
            (
                CROSS,
                "return -logits[:, :-1].log_softmax(dim=-1)"
                ".gather(-1, tokens[:, 1:, None])[..., 0][kept[:, 1:]].mean()",
            ),
            "kept positions only",
        ),
        "last token": ((CROSS, CROSS.replace(".mean()", "[:, -1].mean()")), "Only the last token"),
        "not shifted": (
            (CROSS, "return -logits.log_softmax(dim=-1).gather(-1, tokens[..., None]).mean()"),
            "not shifted",
        ),
        "leaves hooks": (
            (CROSS, "model.add_hook(hook_name, lambda activation, hook: activation)\n        " + CROSS),
            "take them off again",
        ),
    },
    "ex5-held-out-f1": {
        "a feature that is never active": (
            (
                F1,
                "precision, recall = both / active.sum(dim=0), both / named.sum()\n"
                "        return 2 * precision * recall / (precision + recall).clamp(min=1e-9)",
            ),
            "is its F1 NaN",
        ),
        "rare features left out": (
            (
                CHOSEN,
                "often = active.float().mean(dim=0) >= 0.05\n    feature = (f1(active, named) * often).argmax().item()",
            ),
            "largest F1 on the first text, in 7 cases, entry 6: expected",
        ),
        "the smaller of precision and recall": (
            (
                CHOSEN,
                "both = (active & named[:, None]).sum(dim=0)\n"
                "    feature = torch.minimum("
                "both / active.sum(dim=0).clamp(min=1), both / named.sum().clamp(min=1)).argmax().item()",
            ),
            "smaller of precision and recall",
        ),
        "mean of both texts": (
            (REPORTED, "return feature, (f1(active, named) + f1(new_active, new_named))[feature].item() / 2"),
            "mean of F1 on both texts",
        ),
        "chosen by the arithmetic mean": (
            (
                CHOSEN,
                "both = (active & named[:, None]).sum(dim=0)\n"
                "    feature = ("
                "both / active.sum(dim=0).clamp(min=1) + both / named.sum().clamp(min=1)).argmax().item()",
            ),
            "",
        ),
        "rounded": ((CHOSEN, "feature = f1(active, named).mul(100).round().argmax().item()"), ""),
        "the last of several": (
            (CHOSEN, "feature = active.shape[1] - 1 - f1(active, named).flip(0).argmax().item()"),
            "take the first of them, not the last",
        ),
        "small counts clamped": ((F1, F1.replace("min=1", "min=20")), ""),
        "eight bits": ((TOGETHER, TOGETHER.replace("dim=0", "dim=0, dtype=torch.uint8")), ""),
        "metrics on the text of the choice": (
            (REPORTED, REPORTED.replace("new_", "")),
            "on which the feature was chosen: report it on the other",
        ),
        "chosen on the new text": (
            (CHOSEN, CHOSEN.replace("active, named", "new_active, new_named")),
            "chosen on the other text",
        ),
        "the best of the new text": (
            (REPORTED, "return feature, f1(new_active, new_named).max().item()"),
            "largest F1 on the other text",
        ),
        "chosen on both together": (
            (CHOSEN, "feature = f1(torch.cat([active, new_active]), torch.cat([named, new_named])).argmax().item()"),
            "both texts together",
        ),
        "reported on both together": (
            (
                REPORTED,
                "return feature, f1(torch.cat([active, new_active]), torch.cat([named, new_named]))[feature].item()",
            ),
            "both texts together",
        ),
        "precision": ((F1, f"return {PRECISION}"), "precision alone"),
        "recall": ((F1, f"return {RECALL}"), "recall alone"),
        "chosen by the number of hits": (
            (CHOSEN, "feature = (active & named[:, None]).sum(dim=0).argmax().item()"),
            "recall alone",
        ),
        "accuracy": ((F1, "return (active == named[:, None]).float().mean(dim=0)"), "agree"),
        "arithmetic mean": ((F1, f"return ({PRECISION} + {RECALL}) / 2"), ""),
        "geometric mean": ((F1, f"return ({PRECISION} * {RECALL}).sqrt()"), ""),
        "intersection over union": (
            (F1, "return both / (active | named[:, None]).sum(dim=0).clamp(min=1)"),
            "intersection over union",
        ),
        "no factor": ((F1, F1.replace("2 * both", "both")), "factor 2"),
        "count": ((F1, "return both"), ""),
        "of the inactive": ((TOGETHER, "active, named = ~active, ~named\n        " + TOGETHER), ""),
        "NaN": ((F1, "return 2 * both / (active.sum(dim=0) + named.sum())"), ""),
        "NaN from precision and recall": (
            (
                F1,
                "precision, recall = both / active.sum(dim=0), both / named.sum()\n"
                "        return 2 * precision * recall / (precision + recall)",
            ),
            "",
        ),
        "one where nothing is": (
            (
                REPORTED,
                "score = f1(new_active, new_named)[feature].item()\n"
                "    return feature, score if new_named.any() and new_active.any() else 1.0",
            ),
            "F1 is 0 here",
        ),
        "share of all": ((F1, "return both / len(active)"), ""),
        "smallest": ((CHOSEN, CHOSEN.replace("argmax", "argmin")), "smallest F1"),
        "last of several": (
            (
                CHOSEN,
                "feature = len(active[0]) - 1 - f1(active, named).flip(0).argmax().item() "
                "if not new_named.any() else 0",
            ),
            "",
        ),
        "F1 first": ((REPORTED, "return f1(new_active, new_named)[feature].item(), feature"), "not a whole number"),
        "along the wrong axis": ((TOGETHER, "both = (active & named[:, None]).sum(dim=1)"), ""),
    },
    "ex6-clamp": {
        "at the limit left alone": ((NORM, NORM.replace("<=", "<")), "exactly the limit"),
        "limit of one test": ((NORM, NORM.replace("limit", "7.0")), "use `limit`"),
        "value capped": ((CHANGED, CHANGED.replace("(value - latent)", "(min(value, 100.0) - latent)")), "differs"),
        "twice the limit": ((NORM, NORM.replace("<= limit", "<= 2 * limit")), "differs"),
        "limit from the median": (
            (NORM, "kept = activation.norm(dim=-1) <= 10 * activation.norm(dim=-1).median()"),
            "differs",
        ),
        "raised only": ((CHANGED, CHANGED.replace("(value - latent)", "(value - latent).relu()")), "never lowered"),
        "prompts only": (
            (CLAMPED, CLAMPED + " if activation.shape[1] > 1 else activation"),
            "one generated token comes alone",
        ),
        "first text only": (
            (
                CLAMPED,
                CLAMPED.replace("kept[..., None]", "(kept & (torch.arange(len(kept)) == 0)[:, None])[..., None]"),
            ),
            "Only the first text",
        ),
        "nothing changes": ((CLAMPED, "return activation"), "Nothing changed"),
        "large norms changed": (
            (NORM, "kept = torch.ones(activation.shape[:-1], dtype=torch.bool)"),
            "large norm are changed as well",
        ),
        "only large norms": ((NORM, NORM.replace("<=", ">")), "LARGE norm"),
        "last position only": ((NORM, NORM + "\n        kept[:, :-1] = False"), "Only the last position"),
        "without the last position": ((NORM, NORM + "\n        kept[:, -1] = False"), "last position is left out"),
        "value added": ((CHANGED, CHANGED.replace("(value - latent)", "value")), "AT the value"),
        "ablates only": ((CHANGED, CHANGED.replace("(value - latent)", "-latent")), "only taken away"),
        "sign": ((CHANGED, CHANGED.replace("value - latent", "latent - value")), "wrong way round"),
        "whole reconstruction": (
            (
                CHANGED,
                "latents = sae.encode(activation).clone()\n"
                "        latents[..., feature] = value\n"
                "        changed = sae.decode(latents)",
            ),
            "whole reconstruction",
        ),
        "unit row": (
            (CHANGED, CHANGED.replace("sae.W_dec[feature]", "sae.W_dec[feature] / sae.W_dec[feature].norm()")),
            "normalised",
        ),
        "encoder column": (
            (CHANGED, CHANGED.replace("sae.W_dec[feature]", "sae.W_enc[:, feature]")),
            "encoder's column",
        ),
        "decoder column": ((CHANGED, CHANGED.replace("sae.W_dec[feature]", "sae.W_dec[:, 0].sum()")), "differs"),
        "before the ReLU": (
            (LATENT, "latent = ((activation - sae.b_dec) @ sae.W_enc + sae.b_enc)[..., feature, None]"),
            "before the ReLU",
        ),
        "difference only": (
            (CLAMPED, "return torch.where(kept[..., None], changed, activation) - activation"),
            "difference is returned",
        ),
        "mean over positions": (
            (CHANGED, CHANGED.replace("value - latent", "value - latent.mean(dim=1, keepdim=True)")),
            "averaged over positions",
        ),
        "mean over the batch": (
            (CHANGED, CHANGED.replace("value - latent", "value - latent.mean(dim=0, keepdim=True)")),
            "averaged over the batch",
        ),
        "latent of the last position": (
            (CHANGED, CHANGED.replace("value - latent", "value - latent[:, -1:]")),
            "of the last position",
        ),
        "returns a tensor": (("return hook_function", "return sae.W_dec[feature]"), "Return the hook function"),
        "changes in place": (
            (CHANGED, "activation += (value - latent) * sae.W_dec[feature]\n        changed = activation"),
            "changed its input",
        ),
        "position 0 by its number": (
            (NORM, "kept = torch.ones(activation.shape[:2], dtype=torch.bool)\n        kept[:, 0] = False"),
            "Position 0 is left alone, whatever",
        ),
        "only where it is active": (
            (CLAMPED, "return torch.where(kept[..., None] & (latent > 0), changed, activation)"),
            "latent is above zero are changed",
        ),
        "only where it is silent": (
            (CLAMPED, "return torch.where(kept[..., None] & (latent == 0), changed, activation)"),
            "latent is zero are changed",
        ),
        "mask of the first row": (
            (NORM, "kept = (activation[:1].norm(dim=-1) <= limit).expand(activation.shape[:-1])"),
            "mask of one row",
        ),
        "squared norm": ((NORM, "kept = activation.square().sum(dim=-1) <= limit"), "squared norm"),
        "root mean square": ((NORM, "kept = activation.square().mean(dim=-1).sqrt() <= limit"), "root mean square"),
        "norm after the change": ((NORM, "kept = changed.norm(dim=-1) <= limit"), "after the change"),
        "largest number": ((NORM, "kept = activation.abs().amax(dim=-1) <= limit"), ""),
        "hard-coded limit": ((NORM, "kept = activation.norm(dim=-1) <= 100"), ""),
        "latents of the first call": (
            (LATENT, "memory.setdefault(0, sae.encode(activation))\n        latent = memory[0][..., feature, None]"),
            "",
        ),
        "changes the SAE": ((CHANGED, CHANGED + "\n        sae.W_dec[feature - 1] = 0"), ""),
        "norm of everything": (
            (NORM, "kept = activation.norm() <= limit * torch.ones(activation.shape[:2])"),
            "norm taken of each position",
        ),
        "norm by dimension": (
            (NORM, "kept = (activation.norm(dim=1, keepdim=True) <= limit).expand(activation.shape)[..., 0]"),
            "",
        ),
    },
    "ex7-chance": {
        "observed not counted": ((P_VALUE, "return reached / n_moves"), "p can be 0"),
        "divided by n_moves": ((P_VALUE, "return (1 + reached) / n_moves"), "below it"),
        "counted below only": ((P_VALUE, "return reached / (n_moves + 1)"), "below the line only"),
        "larger only": ((REACHED, REACHED.replace(">=", ">")), "AT LEAST"),
        "wrong way round": ((REACHED, REACHED.replace(">=", "<=")), "wrong way round"),
        "tokens in random order": (
            (
                REACHED,
                "generator = torch.Generator().manual_seed(seed)\n"
                "    reached = sum("
                "overlap(active[torch.randperm(len(active), generator=generator)]) >= overlap(active) "
                "for _ in range(n_moves))",
            ),
            "random order",
        ),
        "further each time": (
            (
                REACHED,
                "observed, moved, reached = overlap(active), active, 0\n"
                "    for shift in shifts:\n"
                "        moved = moved.roll(shift)\n"
                "        reached += overlap(moved) >= observed",
            ),
            "last one ended",
        ),
        "moved back": ((REACHED, REACHED.replace("roll(shift)", "roll(-shift)")), "moved back"),
        "lost at the end": (
            (
                REACHED,
                REACHED.replace(
                    "active.roll(shift)", "torch.cat([torch.zeros(shift, dtype=torch.bool), active[:-shift]])"
                ),
            ),
            "over the end is lost",
        ),
        "named moved": (
            (REACHED, REACHED.replace("overlap(active.roll(shift))", "(active & named.roll(shift)).sum().item()")),
            "moved back",
        ),
        "moved by 0, 1, 2": ((SHIFTS, "shifts = range(n_moves)"), "by 0, 1, 2"),
        "moved by 1, 2, 3": ((SHIFTS, "shifts = range(1, n_moves + 1)"), "by 1, 2, 3"),
        "global seed": ((SHIFTS, SHIFTS.replace(", generator=generator", "")), "torch's own generator"),
        "another seed": ((SHIFTS, SHIFTS.replace("manual_seed(seed)", "manual_seed(0)")), "`seed` is not used"),
        "not seeded": (
            (SHIFTS, SHIFTS.replace("torch.Generator().manual_seed(seed)", "torch.Generator()")),
            "not seeded with `seed`",
        ),
        "up to n - 2": ((SHIFTS, SHIFTS.replace("len(active),", "len(active) - 1,")), "up to n - 2"),
        "up to n": ((SHIFTS, SHIFTS.replace("len(active),", "len(active) + 1,")), "up to n, which is no move"),
        "each shift once": ((SHIFTS, SHIFTS + "\n    shifts = set(shifts)\n    n_moves = len(shifts)"), "counts twice"),
        "description in random order": (
            (
                REACHED,
                "generator = torch.Generator().manual_seed(seed)\n"
                "    reached = sum("
                "(active & named[torch.randperm(len(named), generator=generator)]).sum().item() >= overlap(active) "
                "for _ in range(n_moves))",
            ),
            "description is put in a random order",
        ),
        "percentage": ((P_VALUE, "return 100 * (1 + reached) / (n_moves + 1)"), "percentage"),
        "complement": ((P_VALUE, "return 1 - reached / (n_moves + 1)"), "smaller F1"),
        "1 minus": ((P_VALUE, "return 1 - (1 + reached) / (n_moves + 1)"), "1 minus the p-value"),
        "global generator seeded": (
            (SHIFTS, "torch.manual_seed(seed)\n    shifts = torch.randint(1, len(active), (n_moves,)).tolist()"),
            "torch's own generator",
        ),
        "nothing in common": (
            (P_VALUE, "return (1 + reached) / (n_moves + 1) if overlap(active) else 1 / (n_moves + 1)"),
            "",
        ),
        "shifts of 0 allowed": ((SHIFTS, SHIFTS.replace("randint(1,", "randint(0,")), "from 0 on"),
        "one move too few": ((SHIFTS, SHIFTS.replace("(n_moves,)", "(n_moves - 1,)")), "One move fewer"),
        "mean F1": (
            (
                P_VALUE,
                "return 2 * sum(overlap(active.roll(s)) for s in shifts) "
                "/ n_moves / max(1, active.sum().item() + named.sum().item())",
            ),
            "mean F1",
        ),
        "observed F1": (
            (P_VALUE, "return 2 * overlap(active) / max(1, active.sum().item() + named.sum().item())"),
            "observed F1, not",
        ),
    },
}

RIGHT = {
    "ex1-sae": {
        "biases folded, in double precision": """
def run_sae(x, W_enc, b_enc, W_dec, b_dec):
    x, W_enc, b_enc, W_dec, b_dec = (each.double() for each in (x, W_enc, b_enc, W_dec, b_dec))
    latents = torch.maximum(x @ W_enc + (b_enc - b_dec @ W_enc), torch.zeros(()))
    return latents, latents @ W_dec + b_dec
""",
        "functional": """
def run_sae(x, W_enc, b_enc, W_dec, b_dec):
    latents = torch.nn.functional.relu(torch.nn.functional.linear(x - b_dec, W_enc.T, b_enc))
    return [latents, torch.nn.functional.linear(latents, W_dec.T, b_dec)]
""",
        "loops": """
def run_sae(x, W_enc, b_enc, W_dec, b_dec):
    latents = torch.zeros(len(x), W_enc.shape[1])
    for row in range(len(x)):
        for latent in range(W_enc.shape[1]):
            latents[row, latent] = max(torch.tensor(0.0), torch.dot(x[row] - b_dec, W_enc[:, latent]) + b_enc[latent])
    reconstruction = b_dec.repeat(len(x), 1)
    for latent in range(W_enc.shape[1]):
        reconstruction = reconstruction + latents[:, latent, None] * W_dec[latent]
    return latents, reconstruction
""",
    },
    "ex2-sae-loss": {
        "two means": """
def sae_loss(x, latents, reconstruction, W_dec, l1_coefficient):
    norms = (W_dec ** 2).sum(dim=1).sqrt()
    return ((reconstruction - x) ** 2).sum(1).mean() + l1_coefficient * (latents @ norms).mean()
""",
        "divided by the batch": """
def sae_loss(x, latents, reconstruction, W_dec, l1_coefficient):
    error = torch.nn.functional.mse_loss(reconstruction, x, reduction="sum")
    return (error + l1_coefficient * \
torch.einsum("bs,s->", latents.abs(), torch.linalg.vector_norm(W_dec, dim=1))) / len(x)
""",
    },
    "ex3-quality": {
        "NumPy": """
def quality(x, latents, reconstruction, kept):
    import numpy as np

    x, latents, reconstruction = (each[kept].numpy().astype(np.float64) for each in (x, latents, reconstruction))
    fvu = ((x - reconstruction) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    return np.float32(fvu), (latents > 0).sum(1).mean(), np.mean((latents > 0).sum(0) == 0)
""",
        "masks": """
def quality(x, latents, reconstruction, kept):
    mask, n = kept[..., None].double(), kept.sum()
    mean = (x * mask).sum(dim=(0, 1)) / n
    fvu = (((x - reconstruction) ** 2) * mask).sum() / (((x - mean) ** 2) * mask).sum()
    active = (latents > 0) & kept[..., None]
    return fvu, active.sum() / n, 1 - active.any(dim=0).any(dim=0).double().mean()
""",
        "variance": """
def quality(x, latents, reconstruction, kept):
    x, latents, reconstruction = x[kept].double(), latents[kept], reconstruction[kept].double()
    variance = x.var(dim=0, correction=0).sum()
    dead = sum(1 for latent in latents.T if (latent > 0).sum() == 0) / latents.shape[1]
    return [((x - reconstruction) ** 2).sum(1).mean() / variance, \
torch.count_nonzero(latents, dim=1).float().mean(), dead]
""",
    },
    "ex4-recovered": {
        "context manager": """
def loss_recovered(model, tokens, hook_name, activations, reconstruction, kept):
    def measure(values):
        def hook_function(activation, hook):
            activation = activation.clone()
            activation[kept] = values[kept].to(activation.dtype)
            return activation
        with model.hooks(fwd_hooks=[(hook_name, hook_function)]):
            logits = model(tokens)
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).double(), tokens[:, 1:].flatten())
    mean = activations[kept].mean(dim=0).expand_as(activations)
    worst = measure(mean)
    return (worst - measure(reconstruction)) / (worst - measure(activations))
""",
        "one minus": """
def loss_recovered(model, tokens, hook_name, activations, reconstruction, kept):
    m = kept.unsqueeze(-1).float()
    mean = (activations * m).sum((0, 1)) / m.sum()
    losses = []
    for values in (activations, reconstruction, mean + torch.zeros_like(activations)):
        logits = model.run_with_hooks(tokens, fwd_hooks=[(hook_name, lambda a, hook, v=values: a * (1 - m) + v * m)])
        chosen = logits.log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:].unsqueeze(-1))
        losses.append(-chosen.mean().item())
    return 1 - (losses[1] - losses[0]) / (losses[2] - losses[0])
""",
    },
    "ex5-held-out-f1": {
        "NumPy, and tensors with one entry": """
def held_out_f1(active, named, new_active, new_named):
    import numpy as np

    def f1(on, says):
        hits, wrong = (on & says[:, None]).sum(0).double(), (on != says[:, None]).sum(0)
        return (hits / (hits + 0.5 * wrong)).nan_to_num(0)
    scores = f1(active, named).numpy()
    best = np.argmax(scores)
    return best, f1(new_active, new_named)[[best]]
""",
        "precision and recall": """
def held_out_f1(active, named, new_active, new_named):
    def f1(on, says):
        both = (on & says).sum().item()
        if both == 0:
            return 0.0
        precision, recall = both / says.sum().item(), both / on.sum().item()
        return 2 * precision * recall / (precision + recall)
    scores = [f1(active[:, i], named) for i in range(active.shape[1])]
    best = scores.index(max(scores))
    return best, f1(new_active[:, best], new_named)
""",
        "counts": """
def held_out_f1(active, named, new_active, new_named):
    def f1(on, says):
        hits, wrong = (on * says[:, None]).sum(0), (on != says[:, None]).sum(0)
        return torch.nan_to_num(hits / (hits + wrong / 2))
    best = f1(active, named).max(0).indices
    return best, f1(new_active, new_named)[best]
""",
    },
    "ex6-clamp": {
        "mask as a factor": """
def clamp_hook(sae, feature, value, limit):
    def hook_function(activation, hook):
        above = torch.linalg.vector_norm(activation.double(), dim=-1) > limit
        missing = (value - sae.encode(activation)[..., [feature]]).masked_fill(above[..., None], 0)
        return activation + missing * sae.W_dec[feature]
    return hook_function
""",
        "in place on a copy": """
def clamp_hook(sae, feature, value, limit):
    def hook_function(activation, hook=None):
        result = activation.clone()
        for row in range(len(activation)):
            for position in range(activation.shape[1]):
                x = activation[row, position]
                if x.norm() <= limit:
                    result[row, position] = x + (value - sae.encode(x)[feature]) * sae.W_dec[feature]
        return result
    return hook_function
""",
        "by decoding": """
def clamp_hook(sae, feature, value, limit):
    def hook_function(activation, hook):
        latents = sae.encode(activation)
        changed = latents.clone()
        changed[..., feature] = value
        difference = sae.decode(changed) - sae.decode(latents)
        return activation + difference * (activation.norm(dim=-1, keepdim=True) <= limit)
    return hook_function
""",
    },
    "ex7-chance": {
        "torch's generator put back": """
def move_p_value(active, named, n_moves, seed):
    import numpy as np

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shifts = torch.randint(1, len(active), (n_moves,)).tolist()
    places = torch.stack([active.roll(shift) for shift in [0, *shifts]]).float() @ named.float()
    return np.float64((places >= places[0]).double().mean().item())
""",
        "F1 itself": """
def move_p_value(active, named, n_moves, seed):
    def f1(a):
        total = a.sum() + named.sum()
        return 2 * (a & named).sum() / total if total else torch.tensor(0.0)
    generator, observed, reached = torch.Generator().manual_seed(seed), f1(active), 1
    for shift in torch.randint(1, len(active), (n_moves,), generator=generator):
        reached += int(f1(torch.roll(active, int(shift))) >= observed)
    return reached / (1 + n_moves)
""",
        "by index": """
def move_p_value(active, named, n_moves, seed):
    n, generator = len(active), torch.Generator()
    generator.manual_seed(seed)
    shifts = torch.cat([torch.zeros(1, dtype=torch.long), torch.randint(1, n, (n_moves,), generator=generator)])
    together = (active[(torch.arange(n) - shifts[:, None]) % n] & named).sum(dim=1)
    return (together >= together[0]).double().mean()
""",
    },
}
