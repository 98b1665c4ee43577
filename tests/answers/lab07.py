"""Answers to extension 7's exercises: wrong ones, each with the hint it must get, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "07-sae-architectures-and-scaling.ipynb"

PRODUCT = "product = (x - b_dec) @ W_enc"
GATE = "gate = product + b_gate > 0"
MAGNITUDE = "magnitude = (product * r_mag.exp() + b_mag).relu()"
LATENTS = "return gate * magnitude"
NEAR = "is_near = (z - threshold).abs() < bandwidth / 2"
THROUGH_LATENTS = "through_latents = -(threshold / bandwidth) * (is_near * at_latents).sum(dim=0)"
THROUGH_COUNTS = "through_counts = -(is_near * at_counts).sum(dim=0) / bandwidth"
BOTH = "return through_latents, through_counts"
KEPT = "kept = batch.flatten().topk(k * len(batch)).values"
POSITIVE = "kept = kept[kept > 0]"
APPEND = "smallest.append(kept[-1].item())"
MEAN = "return sum(smallest) / len(smallest)"
CANDIDATES = "candidates = scores.topk(m, dim=1).indices"
EXACT = "exact = (W_enc.T[candidates] @ x[:, :, None])[:, :, 0] + b_enc[candidates]"
LARGEST = "largest = exact.topk(k, dim=1)"
FOUND = "return largest.values.relu(), candidates.gather(1, largest.indices)"
NO_WORSE = "no_worse = (l0 <= l0[:, None]) & (fvu <= fvu[:, None])"
BETTER = "better = (l0 < l0[:, None]) | (fvu < fvu[:, None])"
FRONT = "return ~(no_worse & better).any(dim=1)"
TERMS = "return torch.stack([torch.ones_like(k), latents.log(), k.log()], dim=1)"
FITTED = "fitted = torch.linalg.lstsq(terms(latents, k), fvu.log()[:, None]).solution"
PREDICTED = "return (terms(new_latents, new_k) @ fitted)[:, 0].exp()"

WRONG = {
    "ex1-gated-encoder": {
        "no exp": ((MAGNITUDE, MAGNITUDE.replace(".exp()", "")), "scales as it is"),
        "1 + r_mag": ((MAGNITUDE, MAGNITUDE.replace("r_mag.exp()", "(1 + r_mag)")), "1 + r_mag scales"),
        "r_mag added": ((MAGNITUDE, MAGNITUDE.replace("* r_mag.exp()", "+ r_mag")), "r_mag is added"),
        "r_mag not used": ((MAGNITUDE, MAGNITUDE.replace(" * r_mag.exp()", "")), "r_mag is not used"),
        "bias scaled": (
            (MAGNITUDE, "magnitude = ((product + b_mag) * r_mag.exp()).relu()"),
            "exp(r_mag) scales b_mag as well",
        ),
        "gate scaled": ((GATE, "gate = product * r_mag.exp() + b_gate > 0"), "gate's product as well"),
        "no gate": ((LATENTS, "return magnitude"), "The gate is missing"),
        "gate of its own size": ((GATE, "gate = (product + b_gate).relu()"), "by its own size"),
        "sigmoid": ((GATE, "gate = (product + b_gate).sigmoid()"), "is a sigmoid"),
        "gate alone": ((LATENTS, "return gate * 1.0"), "the gate alone"),
        "no relu": ((MAGNITUDE, MAGNITUDE.removesuffix(".relu()")), "lacks its ReLU"),
        "magnitude without bias": ((MAGNITUDE, MAGNITUDE.replace(" + b_mag", "")), "The magnitude lacks its bias"),
        "gate without bias": ((GATE, "gate = product > 0"), "The gate lacks its bias"),
        "biases exchanged": ((GATE, GATE.replace("b_gate", "b_mag") + "\n    b_mag = b_gate"), "biases are exchanged"),
        "no b_dec": ((PRODUCT, "product = x @ W_enc"), "b_dec is not taken away"),
        "b_dec for the magnitude": ((GATE, "gate = x @ W_enc + b_gate > 0"), "and not for the gate"),
        "b_dec for the gate": ((MAGNITUDE, MAGNITUDE.replace("product", "x @ W_enc")), "and not for the magnitude"),
        "zero is open": ((GATE, GATE.replace("> 0", ">= 0")), "exactly zero is open"),
        "in place": ((PRODUCT, "product = x.sub_(b_dec) @ W_enc"), "changed its input"),
        "transposed": ((LATENTS, LATENTS.replace("gate * magnitude", "(gate * magnitude).T")), "shape"),
        "gate on the product alone": (
            (MAGNITUDE, "magnitude = (gate * product * r_mag.exp() + b_mag).relu()\n    return magnitude"),
            "and b_mag comes through: multiply",
        ),
        "gate on the product, no relu": (
            (MAGNITUDE, "return gate * product * r_mag.exp() + b_mag\n    magnitude = product"),
            "the ReLU is missing, too",
        ),
        "b_dec added": ((PRODUCT, PRODUCT.replace("x - b_dec", "x + b_dec")), "b_dec is added"),
    },
    "ex2-threshold-gradient": {
        "sign of the latents": (
            (THROUGH_LATENTS, THROUGH_LATENTS.replace("-(threshold", "(threshold")),
            "Through the latents: the sign",
        ),
        "sign of the counts": ((THROUGH_COUNTS, THROUGH_COUNTS.replace("-(is", "(is")), "Through the counts: the sign"),
        "no 1/ε for the latents": (
            (THROUGH_LATENTS, THROUGH_LATENTS.replace("(threshold / bandwidth)", "threshold")),
            "Through the latents: 1/ε is missing",
        ),
        "no 1/ε for the counts": (
            (THROUGH_COUNTS, THROUGH_COUNTS.removesuffix(" / bandwidth")),
            "Through the counts: 1/ε is missing",
        ),
        "times ε": ((THROUGH_COUNTS, THROUGH_COUNTS.replace("/ bandwidth", "* bandwidth")), "multiplies by ε"),
        "twice ε": ((THROUGH_COUNTS, THROUGH_COUNTS + "**2"), "by ε twice"),
        "wide window": ((NEAR, NEAR.removesuffix(" / 2")), "twice as wide"),
        "window of width 1": ((NEAR, NEAR.replace("bandwidth / 2", "0.5")), "has width 1"),
        "above only": ((NEAR, NEAR + "\n    is_near &= z > threshold"), "only z above θ"),
        "below only": ((NEAR, NEAR + "\n    is_near &= z < threshold"), "only z below θ"),
        "no abs": ((NEAR, NEAR.replace(".abs()", "")), "far below θ count"),
        "no abs, below": ((NEAR, "is_near = (threshold - z) < bandwidth / 2"), "far above θ count"),
        "from θ on": ((NEAR, "is_near = (z > threshold) & (z < threshold + bandwidth)"), "from θ to θ + ε"),
        "up to θ": ((NEAR, "is_near = (z < threshold) & (z > threshold - bandwidth)"), "from θ - ε to θ"),
        "K of z": ((NEAR, "is_near = z.abs() < bandwidth / 2"), "K is applied to z"),
        "edges": ((NEAR, NEAR.replace("<", "<=")), "edges count"),
        "no window": ((NEAR, "is_near = torch.ones_like(z)"), "K is missing"),
        "mean": ((THROUGH_LATENTS, THROUGH_LATENTS.replace("sum", "mean")), "mean over tokens"),
        "mean of the counts": ((THROUGH_COUNTS, THROUGH_COUNTS.replace("sum", "mean")), "mean over tokens"),
        "no θ": ((THROUGH_LATENTS, THROUGH_LATENTS.replace("threshold /", "1 /")), "θ is missing"),
        "z for θ": (
            (THROUGH_LATENTS, "through_latents = -(is_near * z * at_latents).sum(dim=0) / bandwidth"),
            "in the place of θ",
        ),
        "θ in the counts": (
            (THROUGH_COUNTS, "through_counts = -(threshold / bandwidth) * (is_near * at_counts).sum(dim=0)"),
            "does not belong",
        ),
        "latents' gradient not used": (
            (THROUGH_LATENTS, THROUGH_LATENTS.replace(" * at_latents", "")),
            "`at_latents` is not used",
        ),
        "counts' gradient not used": (
            (THROUGH_COUNTS, THROUGH_COUNTS.replace(" * at_counts", "")),
            "`at_counts` is not used",
        ),
        "wrong gradient for the counts": (
            (THROUGH_COUNTS, THROUGH_COUNTS.replace("at_counts", "at_latents")),
            "`at_latents` is used for the counts",
        ),
        "exchanged": ((BOTH, "return through_counts, through_latents"), "exchanged"),
        "one tensor": ((BOTH, "return through_latents + through_counts"), "Return two tensors"),
        "not summed": ((THROUGH_COUNTS, "through_counts = -(is_near * at_counts) / bandwidth"), "shape"),
        "over latents": ((THROUGH_COUNTS, THROUGH_COUNTS.replace("dim=0", "dim=1")), "runs over latents"),
    },
    "ex3-inference-threshold": {
        "k of a batch": ((KEPT, KEPT.replace("k * len(batch)", "k")), "The k largest of a batch"),
        "each token's": (
            (KEPT, "kept = batch.topk(k, dim=1).values.flatten().sort(descending=True).values"),
            "Each token's",
        ),
        "mean of tokens": (
            (MEAN, "return torch.cat([each.relu().topk(k, dim=1).values[:, -1] for each in batches]).mean().item()"),
            "mean over tokens",
        ),
        "zeros count": ((POSITIVE, "kept = kept.relu()"), "Zeros are kept"),
        "negatives kept": (
            (POSITIVE, "kept = kept if kept.max() > 0 else kept[:0]"),
            "Negative pre-activations are kept",
        ),
        "silent batches are zero": ((MEAN, "return sum(smallest) / len(batches)"), "counts as zero"),
        "smallest of all": ((MEAN, "return min(smallest)"), "smallest over all batches"),
        "largest of all": ((MEAN, "return max(smallest)"), "largest over all batches"),
        "median": ((MEAN, "return torch.tensor(smallest).median().item()"), "The median"),
        "first batch": ((MEAN, "return smallest[0]"), "Only the first batch"),
        "last batch": ((MEAN, "return smallest[-1]"), "Only the last batch"),
        "one batch of all": (
            (
                MEAN,
                "kept = torch.cat(batches).flatten()\n    kept = kept.topk(k * sum(map(len, batches))).values\n"
                "    return kept[kept > 0][-1].item()",
            ),
            "taken as one",
        ),
        "weighted": (
            (
                MEAN,
                "weights = [len(batch) for batch in batches if batch.max() > 0]\n"
                "    return sum(w * value for w, value in zip(weights, smallest)) / sum(weights)",
            ),
            "Larger batches weigh more",
        ),
        "not kept": ((KEPT, KEPT.replace("k * len(batch)", "min(k * len(batch) + 1, batch.numel())")), "is not kept"),
        "mean of the kept": ((APPEND, "smallest.append(kept.mean().item())"), "All that is kept is averaged"),
        "one too few": ((KEPT, KEPT.replace("k * len(batch)", "k * len(batch) - 1")), "One too few is kept"),
        "last but one": ((APPEND, "smallest.append(kept[-2:][0].item())"), "last but one"),
        "no filter": ((POSITIVE, "kept = kept[:]"), "Nothing leaves out what is zero or below"),
        "largest of a batch": ((APPEND, "smallest.append(kept[0].item())"), "The largest of a batch"),
        "n of the first batch": (
            (KEPT, "kept = batch.flatten()\n        kept = kept.topk(min(k * len(batches[0]), len(kept))).values"),
            "first batch's n",
        ),
        "median of the kept": ((APPEND, "smallest.append(kept.median().item())"), "Of what a batch keeps the median"),
        "median between two": ((MEAN, "return torch.tensor(smallest).quantile(0.5).item()"), "the mean is asked for"),
        "mean of all that is kept": (
            (
                MEAN,
                "kept = [batch.flatten().topk(k * len(batch)).values for batch in batches]\n"
                "    return torch.cat([each[each > 0] for each in kept]).mean().item()",
            ),
            "All that all batches keep",
        ),
        "mean with zeros": (
            (APPEND, "smallest.append(batch.relu().flatten().topk(k * len(batch)).values.mean().item())"),
            "zeros included",
        ),
        "stops at a silent batch": (
            "def inference_threshold(batches, k):\n"
            "    kept = [batch.flatten().topk(k * len(batch)).values for batch in batches]\n"
            "    return sum(each[each > 0].min().item() for each in kept) / len(kept)\n",
            "may have nothing above zero",
        ),
        "running mean": (
            (
                MEAN,
                "value = 0.0\n    for each in smallest:\n        value = 0.99 * value + 0.01 * each\n    return value",
            ),
            "running mean",
        ),
        "list": ((MEAN, "return smallest"), "Return one number"),
        "NaN for silent batches": (
            (MEAN, "return sum(smallest) / len(smallest) if len(smallest) == len(batches) else float('nan')"),
            "NaN",
        ),
    },
    "ex4-two-stages": {
        "all are candidates": (
            (CANDIDATES, "candidates = torch.arange(W_enc.shape[1]).expand(len(x), -1)"),
            "of all latents",
        ),
        "by score": ((FOUND, "return exact[:, :k].relu(), candidates[:, :k]"), "that score highest are taken"),
        "by score, sorted": ((LARGEST, "largest = exact[:, :k].sort(dim=1, descending=True)"), "k candidates only"),
        "lowest scores": ((CANDIDATES, CANDIDATES.replace("scores", "(-scores)")), "lowest scores"),
        "absolute scores": ((CANDIDATES, CANDIDATES.replace("scores", "scores.abs()")), "scores' absolute values"),
        "same for all": (
            (CANDIDATES, "candidates = scores.sum(dim=0).topk(m).indices.expand(len(x), m)"),
            "same candidates",
        ),
        "absolute exact": (
            (
                LARGEST,
                "by_size = exact.abs().topk(k, dim=1).indices\n"
                "    values = exact.gather(1, by_size)\n"
                "    return values.relu(), candidates.gather(1, by_size)",
            ),
            "absolute exact values",
        ),
        "smallest": ((LARGEST, "largest = exact.topk(k, dim=1, largest=False)"), "smallest of the candidates"),
        "k candidates": ((CANDIDATES, CANDIDATES.replace("topk(m", "topk(k")), "k candidates only"),
        "scores returned": (
            (FOUND, "return scores.gather(1, candidates.gather(1, largest.indices)).relu(), candidates"),
            "cheap scores are returned",
        ),
        "no bias": ((EXACT, EXACT.removesuffix(" + b_enc[candidates]")), "b_enc is missing"),
        "bias by position": ((EXACT, EXACT.replace("b_enc[candidates]", "b_enc[:m]")), "candidates' positions"),
        "negative": ((FOUND, FOUND.replace(".relu()", "")), "Negative activations"),
        "positions": ((FOUND, "return largest.values.relu(), largest.indices"), "positions among the candidates"),
        "smallest first": (
            (FOUND, "return largest.values.relu().flip(1), candidates.gather(1, largest.indices).flip(1)"),
            "smallest comes first",
        ),
        "by number": (
            (
                FOUND,
                "found = candidates.gather(1, largest.indices).sort(dim=1)\n"
                "    return largest.values.relu().gather(1, found.indices), found.values",
            ),
            "order of the latents' numbers",
        ),
        "exchanged": (
            (FOUND, "return candidates.gather(1, largest.indices), largest.values.relu()"),
            "numbers come first",
        ),
        "values alone": ((FOUND, "return largest.values.relu()"), "Return two tensors"),
        "values ascending": (
            (FOUND, "return largest.values.relu().sort(dim=1).values, candidates.gather(1, largest.indices)"),
            "smallest comes first",
        ),
        "one candidate too few": ((CANDIDATES, CANDIDATES.replace("(m,", "(max(k, m - 1),")), "one candidate too few"),
        "scores decide and are returned": (
            (
                CANDIDATES,
                "best = scores.topk(k, dim=1)\n    return best.values.relu(), best.indices\n    " + CANDIDATES,
            ),
            "decide and are returned",
        ),
        "all latents": (
            (
                FOUND,
                "latents = candidates.gather(1, largest.indices)\n"
                "    return torch.zeros_like(scores).scatter(1, latents, largest.values.relu()), latents",
            ),
            "All latents are here",
        ),
        "bare squeeze": ((EXACT, EXACT.replace("[:, :, 0]", ".squeeze()")), "A bare `.squeeze()`"),
        "bare squeeze at the end": (
            (FOUND, "return largest.values.relu().squeeze(), candidates.gather(1, largest.indices).squeeze()"),
            "shape",
        ),
    },
    "ex5-pareto-front": {
        "beaten ones": ((FRONT, FRONT.replace("~", "")), "the ones that are beaten"),
        "beats itself": ((FRONT, "return ~no_worse.any(dim=1)"), "beats itself"),
        "better in both": ((BETTER, BETTER.replace("|", "&")), "equal in one number"),
        "equal points beat each other": (
            (FRONT, "return ~(no_worse & ~torch.eye(len(l0), dtype=torch.bool)).any(dim=1)"),
            "Equal points beat each other",
        ),
        "strict in L0": ((BETTER, "better = l0 < l0[:, None]"), "same L0 and a higher FVU"),
        "strict in FVU": ((BETTER, "better = fvu < fvu[:, None]"), "same FVU and a higher L0"),
        "all instead of any": ((FRONT, FRONT.replace("any(dim=1)", "all(0)")), "`any`, not for `all`"),
        "something else": ((FRONT, "return l0 < l0.mean()"), "is wrong in"),
        "worse in one": (
            (NO_WORSE, "no_worse = torch.ones_like(l0) * torch.ones_like(l0)[:, None] > 0"),
            "is not enough",
        ),
        "high is good": ((FRONT, "return ~(no_worse & better).any(dim=0)"), "high L0 and a high FVU"),
        "high L0": ((NO_WORSE, "l0 = -l0\n    " + NO_WORSE), "A high L0 counts as good"),
        "high FVU": ((NO_WORSE, "fvu = -fvu\n    " + NO_WORSE), "A high FVU counts as good"),
        "extremes": ((FRONT, "return (l0 == l0.min()) | (fvu == fvu.min())"), "what lies between"),
        "lowest FVU": ((FRONT, "return fvu == fvu.min()"), "Only the lowest FVU"),
        "lowest L0": ((FRONT, "return l0 == l0.min()"), "Only the lowest L0"),
        "first of equals": (
            (
                FRONT,
                "equal = (l0 == l0[:, None]) & (fvu == fvu[:, None])\n"
                "    return ~(no_worse & better | equal.tril(-1)).any(dim=1)",
            ),
            "only the first is kept",
        ),
        "running minimum": (
            (
                FRONT,
                "order = sorted(range(len(l0)), key=lambda i: (l0[i].item(), fvu[i].item()))\n"
                "    front, best = torch.zeros(len(l0), dtype=torch.bool), float('inf')\n"
                "    for i in order:\n"
                "        front[i] = fvu[i] < best\n"
                "        best = min(best, fvu[i].item())\n"
                "    return front",
            ),
            "Of equal points only the first",
        ),
        "hull": (
            (
                FRONT,
                "scaled = [(e - e.min()) / (e.max() - e.min()).clamp(min=1e-9) for e in (l0, fvu)]\n"
                "    shares = torch.linspace(0, 1, 999)[:, None]\n"
                "    best = (shares * scaled[0] + (1 - shares) * scaled[1]).argmin(dim=1)\n"
                "    return torch.isin(torch.arange(len(l0)), best)",
            ),
            "convex hull",
        ),
        "numbers of the front": (
            (FRONT, "return (~(no_worse & better).any(dim=1)).nonzero()[:, 0]"),
            "Return a tensor of True and False",
        ),
        "a list": ((FRONT, "return (~(no_worse & better).any(dim=1)).tolist()"), "not list"),
    },
    "ex6-scaling": {
        "log returned": ((PREDICTED, PREDICTED.removesuffix(".exp()")), "return FVU"),
        "no constant": ((TERMS, TERMS.replace("torch.ones_like(k), ", "")), "constant a is missing"),
        "no k": ((TERMS, TERMS.replace(", k.log()", "")), "k plays no part"),
        "no latents": ((TERMS, TERMS.replace("latents.log(), ", "")), "number of latents plays no part"),
        "FVU not logged": (
            (FITTED, FITTED.replace("fvu.log()", "fvu") + "\n    return (terms(new_latents, new_k) @ fitted)[:, 0]"),
            "FVU itself is fitted",
        ),
        "latents not logged": (
            (TERMS, TERMS.replace("latents.log(), k.log()", "latents, k")),
            "logarithms of latents and k are missing",
        ),
        "a plain line": (
            "def predict_fvu(latents, k, fvu, new_latents, new_k):\n"
            "    rows = torch.stack([torch.ones_like(k), latents, k], dim=1)\n"
            "    fitted = torch.linalg.lstsq(rows, fvu[:, None]).solution\n"
            "    return (torch.stack([torch.ones_like(new_k), new_latents, new_k], dim=1) @ fitted)[:, 0]\n",
            "through the numbers themselves",
        ),
        "base 10": ((FITTED, FITTED.replace("fvu.log()", "fvu.log10()")), "base 10"),
        "base 2": ((FITTED, FITTED.replace("fvu.log()", "fvu.log2()")), "base 2"),
        "with the product": (
            (TERMS, TERMS.replace("k.log()]", "k.log(), latents.log() * k.log()]")),
            "product of both logarithms",
        ),
        "exchanged": ((PREDICTED, PREDICTED.replace("new_latents, new_k", "new_k, new_latents")), "are exchanged"),
        "the old ones": (
            (PREDICTED, PREDICTED.replace("new_latents, new_k", "latents[: len(new_k)], k[: len(new_k)]")),
            "the new ones are asked for",
        ),
        "mean": ((PREDICTED, "return fvu.mean().expand(len(new_k))"), "mean FVU is no prediction"),
        "two dimensions": ((PREDICTED, PREDICTED.replace("[:, 0]", "")), "shape"),
        "a instead of exp(a)": (
            (PREDICTED, "a, b, c = fitted[:, 0]\n    return a * new_latents**b * new_k**c"),
            "multiplied by a",
        ),
        "a added": ((PREDICTED, "a, b, c = fitted[:, 0]\n    return a + new_latents**b * new_k**c"), "a is added"),
        "rows not transposed": ((TERMS, TERMS.replace("dim=1", "dim=0")), "stack the terms with dim=1"),
    },
}

RIGHT = {
    "ex1-gated-encoder": {
        "a matrix for each path": ((MAGNITUDE, "magnitude = ((x - b_dec) @ (W_enc * r_mag.exp()) + b_mag).relu()")),
        "where": ((LATENTS, "return torch.where(gate, magnitude, torch.zeros_like(magnitude))")),
        "by sign": ((GATE, "gate = (product > -b_gate).float()")),
    },
    "ex2-threshold-gradient": {
        "K written out": ((NEAR, "u = (z - threshold) / bandwidth\n    is_near = ((u > -0.5) & (u < 0.5)).float()")),
        "masked": (
            (
                THROUGH_COUNTS,
                "through_counts = -torch.where(is_near, at_counts, torch.zeros_like(z)).sum(0) / bandwidth",
            )
        ),
        "θ inside the sum": (
            (THROUGH_LATENTS, "through_latents = -(is_near * threshold * at_latents / bandwidth).sum(dim=0)")
        ),
    },
    "ex3-inference-threshold": {
        "relu first": ((KEPT, "kept = batch.relu().flatten().topk(k * len(batch)).values")),
        "sorted": ((KEPT, "kept = batch.flatten().sort(descending=True).values[: k * len(batch)]")),
        "minimum": ((APPEND, "smallest.append(kept.min())")),
        "a tensor": ((MEAN, "return torch.tensor(smallest).mean()")),
    },
    "ex4-two-stages": {
        "all products": ((EXACT, "exact = (x @ W_enc + b_enc).gather(1, candidates)")),
        "einsum": ((EXACT, "exact = torch.einsum('nd,dnm->nm', x, W_enc[:, candidates]) + b_enc[candidates]")),
        "masked": (
            (
                LARGEST,
                "masked = torch.full_like(scores, -torch.inf).scatter(1, candidates, exact)\n"
                "    best = masked.topk(k, dim=1)\n    return best.values.relu(), best.indices",
            )
        ),
    },
    "ex5-pareto-front": {
        "loops": (
            "def pareto_front(l0, fvu):\n"
            "    points = list(zip(l0.tolist(), fvu.tolist()))\n"
            "    def beats(a, b):\n"
            "        return a != b and a[0] <= b[0] and a[1] <= b[1]\n"
            "    return torch.tensor([not any(beats(a, b) for a in points) for b in points])\n"
        ),
        "without the beaten": ((BETTER, "better = ~((l0 == l0[:, None]) & (fvu == fvu[:, None]))")),
        "other way round": ((FRONT, "return (no_worse & better).sum(dim=1) == 0")),
    },
    "ex6-scaling": {
        "base 10 throughout": (
            "def predict_fvu(latents, k, fvu, new_latents, new_k):\n"
            "    rows = torch.stack([latents.log10(), k.log10(), torch.ones_like(k)], dim=1)\n"
            "    fitted = torch.linalg.pinv(rows) @ fvu.log10()\n"
            "    new = torch.stack([new_latents.log10(), new_k.log10(), torch.ones_like(new_k)], dim=1)\n"
            "    return 10 ** (new @ fitted)\n"
        ),
        "normal equations": (
            (
                FITTED,
                "rows = terms(latents, k)\n    fitted = torch.linalg.solve(rows.T @ rows, rows.T @ fvu.log()[:, None])",
            )
        ),
        "in single precision": (
            (
                FITTED,
                "fitted = torch.linalg.lstsq(terms(latents, k).float(), fvu.log().float()[:, None]).solution.double()",
            )
        ),
    },
}
