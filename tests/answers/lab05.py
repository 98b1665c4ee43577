"""Answers to extension 5's exercises: wrong ones, each with the hint it must get, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "05-monosemanticity-reproduction.ipynb"

NORMS = "norms = W.norm(dim=0)"
UNIT = "unit = W / norms.clamp(min=1e-12)"
SHARES = "return norms.square() / (unit.T @ W).square().sum(dim=1).clamp(min=1e-12)"
HOOK = 'name = f"blocks.{layer}.mlp.hook_post"'
VALUES = "values = hook_activations(model, model.to_tokens(text), [name])[name][0, :, neuron]"
PAIRS = "return list(zip(model.to_str_tokens(text), values.tolist()))[1:]"
ALONG = "along = (gradient * W_dec).sum(dim=1, keepdim=True)"
LEFT = "return gradient - along * W_dec"
CLONES = "W_enc, b_enc, W_dec = W_enc.clone(), b_enc.clone(), W_dec.clone()"
DIRECTIONS = "directions = chosen / chosen.norm(dim=1, keepdim=True)"
DECODER = "W_dec[dead] = directions"
ENCODER = "W_enc[:, dead] = 0.2 * W_enc[:, ~dead].norm(dim=0).mean() * directions.T"
BIAS = "b_enc[dead] = 0"
NUMBER = "number = (values / values.max() * n_bins).ceil() - 1"
BY_BIN = "return torch.stack([named[number == i].float().mean() for i in range(n_bins)])"
COSINES = "cosines = (unit @ unit.T).fill_diagonal_(0)"
ROWS = "unit = vectors / vectors.norm(dim=1, keepdim=True)"
LOWEST = "return int(cosines.sum(dim=1).argmin())"

WRONG = {
    "ex1-dimensionality": {
        "both normalised": (
            (SHARES, SHARES.replace("unit.T @ W", "unit.T @ unit")),
            "other columns are normalised too",
        ),
        "none normalised": ((SHARES, SHARES.replace("unit.T @ W", "W.T @ W")), "No column is normalised"),
        "length not squared": ((SHARES, SHARES.replace("norms.square()", "norms")), "numerator is not squared"),
        "products not squared": ((SHARES, SHARES.replace(".square().sum(", ".sum(")), "dot products are not squared"),
        "absolute products": ((SHARES, SHARES.replace("W).square()", "W).abs()")), "Absolute dot products"),
        "sum over i": ((SHARES, SHARES.replace("sum(dim=1)", "sum(dim=0)")), "the other way round"),
        "without itself": (
            (
                SHARES,
                "overlaps = (unit.T @ W).square().fill_diagonal_(0)\n"
                "    return norms.square() / overlaps.sum(dim=1).clamp(min=1e-12)",
            ),
            "itself is left out",
        ),
        "squared length": ((SHARES, "return norms.square()"), "squared length; divide"),
        "rows normalised": ((UNIT, "unit = W / W.norm(dim=1, keepdim=True)"), "Rows are normalised"),
        "rows": ((NORMS, "W = W.T\n    norms = W.norm(dim=0)"), "shape"),
        "NaN for zero columns": ((UNIT, "unit = W / norms"), "NaN"),
        "short columns": ((UNIT, "unit = W / norms.clamp(min=0.1)"), "differs"),
        "changes W": ((UNIT, "unit = W.div_(norms.clamp(min=1e-12))"), "changed its input"),
        "the sum": ((SHARES, "return (unit.T @ W).square().sum(dim=1)"), "This is the sum"),
    },
    "ex2-neuron": {
        "another model": ((VALUES, 'model = load_model("toy-mlp-1l")\n    ' + VALUES), "`model` is not used"),
        "with BOS": ((PAIRS, PAIRS.removesuffix("[1:]")), "BOS is in the list"),
        "BOS shifts the activations": (
            (PAIRS, "return list(zip(model.to_str_tokens(text)[1:], values.tolist()))"),
            "token before",
        ),
        "shifts, all tokens kept": ((VALUES, VALUES + "\n    values = values.roll(1)"), "token before"),
        "before the ReLU": ((HOOK, HOOK.replace("post", "pre")), "before the ReLU"),
        "the model without BOS": (
            "def neuron_at_tokens(model, text, layer, neuron):\n"
            '    name = f"blocks.{layer}.mlp.hook_post"\n'
            "    tokens = model.to_tokens(text)[:, 1:]\n"
            "    values = hook_activations(model, tokens, [name])[name][0, :, neuron]\n"
            "    return list(zip(model.to_str_tokens(text)[1:], values.tolist()))\n",
            "has not read BOS",
        ),
        "next neuron": ((VALUES, VALUES.replace(", neuron]", ", (neuron + 1) % model.cfg.d_mlp]")), "next neuron"),
        "what the MLP writes": (
            (
                VALUES,
                'name = f"blocks.{layer}.hook_mlp_out"\n    '
                + VALUES.replace(", neuron]", ", neuron % model.cfg.d_model]"),
            ),
            "writes to the residual stream",
        ),
        "without the last token": ((PAIRS, PAIRS.replace("[1:]", "[1:-1]")), "pairs; the text has"),
        "ids": ((PAIRS, PAIRS.replace("model.to_str_tokens(text)", "model.to_tokens(text)[0].tolist()")), "not its id"),
        "tensors": ((PAIRS, PAIRS.replace("values.tolist()", "values")), "use .item() or .tolist()"),
        "a tensor alone": ((PAIRS, "return values[1:]"), "list of pairs"),
        "layer ignored": ((HOOK, 'name = "blocks.0.mlp.hook_post"'), "`layer` is not used"),
        "exchanged pairs": (
            (PAIRS, "return [(value, token) for token, value in zip(model.to_str_tokens(text), values.tolist())][1:]"),
            "the second the activation",
        ),
        "stripped tokens": (
            (
                PAIRS,
                "return [(token.strip(), value) "
                "for token, value in zip(model.to_str_tokens(text), values.tolist())][1:]",
            ),
            "not those of the text",
        ),
    },
    "ex3-parallel": {
        "stretched": (
            (
                LEFT,
                "left = gradient - along * W_dec\n"
                "    return left * gradient.norm(dim=1, keepdim=True) / left.norm(dim=1, keepdim=True)",
            ),
            "is stretched",
        ),
        "one direction only": ((LEFT, "return gradient - along.relu() * W_dec"), "points against it as well"),
        "the parallel part": ((LEFT, "return along * W_dec"), "parallel part itself"),
        "added": ((LEFT, "return gradient + along * W_dec"), "is added"),
        "one product": ((ALONG, "along = (gradient * W_dec).sum()"), "each row has its own"),
        "columns": ((ALONG, "along = (gradient * W_dec).sum(dim=0)"), "run over columns"),
        "along the gradient": ((LEFT, "return gradient - along * gradient"), "part along the gradient"),
        "the row": ((LEFT, "return gradient - W_dec"), "row itself is taken away"),
        "mean": ((ALONG, ALONG.replace("sum", "mean")), "averaged over the components"),
        "roles exchanged": ((LEFT, "return W_dec - along * gradient"), "W_dec without the gradient's part"),
        "unchanged": ((LEFT, "return gradient"), "unchanged"),
        "all rows": ((LEFT, "return gradient - (gradient @ W_dec.T) @ W_dec"), "directions of all rows"),
        "by the gradient's length": (
            (
                LEFT,
                "norms = gradient.norm(dim=1, keepdim=True)\n"
                "    unit = gradient / norms\n"
                "    return norms * (unit - (unit * W_dec).sum(dim=1, keepdim=True) * W_dec)",
            ),
            "contains NaN",
        ),
        "in place": ((LEFT, "return gradient.sub_(along * W_dec)"), "changed its input"),
    },
    "ex4-revive": {
        "given tensors if none is dead": (
            (CLONES, "if not dead.any():\n        return W_enc, b_enc, W_dec\n    " + CLONES),
            "shares its numbers",
        ),
        "median length": ((ENCODER, ENCODER.replace(".mean()", ".median()")), "median length"),
        "root mean square": (
            (ENCODER, ENCODER.replace("norm(dim=0).mean()", "square().sum(dim=0).mean().sqrt()")),
            "root of the mean square",
        ),
        "in place": ((CLONES, "pass"), "changed its input"),
        "decoder not normalised": ((DECODER, "W_dec[dead] = chosen"), "do not have length 1"),
        "decoder scaled": (
            (DECODER, "W_dec[dead] = 0.2 * W_enc[:, ~dead].norm(dim=0).mean() * directions"),
            "that is for the encoder",
        ),
        "decoder forgotten": ((DECODER, "pass"), "W_dec has not changed"),
        "alive instead of dead": ((DECODER, "W_dec[~dead] = directions[0]"), "rows of the wrong latents"),
        "no factor": ((ENCODER, ENCODER.replace("0.2 * ", "")), "factor 0.2 is missing"),
        "length 0.2": ((ENCODER, "W_enc[:, dead] = 0.2 * directions.T"), "0.2"),
        "mean of all": ((ENCODER, ENCODER.replace("W_enc[:, ~dead].norm", "W_enc.norm")), "includes the dead"),
        "mean of the dead": ((ENCODER, ENCODER.replace("~dead", "dead")), "that of the dead latents"),
        "rows of the encoder": ((ENCODER, ENCODER.replace("norm(dim=0)", "norm(dim=1)")), "that of W_enc's rows"),
        "norm of the matrix": (
            (ENCODER, ENCODER.replace("norm(dim=0).mean()", "norm()")),
            "One norm of the whole matrix",
        ),
        "mean column": (
            (ENCODER, ENCODER.replace("norm(dim=0).mean()", "mean(dim=1).norm()")),
            "length of the mean column",
        ),
        "not scaled": ((ENCODER, "W_enc[:, dead] = chosen.T"), "not scaled"),
        "own lengths": ((ENCODER, ENCODER.replace("directions", "chosen")), "own lengths"),
        "encoder forgotten": ((ENCODER, "pass"), "W_enc has not changed"),
        "bias kept": ((BIAS, "pass"), "has not become 0"),
        "all biases": ((BIAS, "b_enc[:] = 0"), "for all latents"),
        "other biases": ((BIAS, "b_enc[~dead] = 0"), "that are alive"),
        "only the new rows": (("return W_enc, b_enc, W_dec", "return W_enc, b_enc, directions"), "whole tensors"),
        "a number for the bias": (("return W_enc, b_enc, W_dec", "return W_enc, 0.0, W_dec"), "Return three tensors"),
        "all rows normalised": (
            (DECODER, "W_dec[dead] = directions\n    W_dec = W_dec / W_dec.norm(dim=1, keepdim=True)"),
            "living stay",
        ),
        "unit columns": ((ENCODER, "W_enc[:, dead] = directions.T"), "have length 1"),
        "two tensors": (("return W_enc, b_enc, W_dec", "return W_enc, W_dec"), "Return three tensors"),
        "other order": (("return W_enc, b_enc, W_dec", "return W_dec, b_enc, W_enc"), "in this order"),
    },
    "ex5-specificity": {
        "range of the named": (
            (NUMBER, NUMBER.replace("values.max()", "values[named].max()")),
            "largest activation that is named",
        ),
        "no lower edge": ((BY_BIN, BY_BIN.replace("number == i", "(number <= i) & (number >= 0)")), "lower edge too"),
        "percentage": ((BY_BIN, "return 100 * " + BY_BIN.removeprefix("return ")), "percentage"),
        "weighted": (
            (
                BY_BIN,
                "return torch.stack([(named * values)[number == i].sum() / values[number == i].sum() "
                "for i in range(n_bins)])",
            ),
            "weighted by their activations",
        ),
        "zeros in the first bin": (
            (NUMBER, NUMBER + "\n    number = number.clamp(min=0)"),
            "first bin; leave them out",
        ),
        "share of the named": (
            (BY_BIN, "return torch.stack([(named & (number == i)).sum() / named.sum() for i in range(n_bins)])"),
            "share of the named",
        ),
        "share of the active": (
            (
                BY_BIN,
                "return torch.stack([(named & (number == i)).sum() / (values > 0).sum() if (number == i).any() "
                "else torch.tensor(float('nan')) for i in range(n_bins)])",
            ),
            "of all active tokens",
        ),
        "counts": (
            (
                BY_BIN,
                "return torch.stack([named[number == i].float().sum() if (number == i).any() "
                "else torch.tensor(float('nan')) for i in range(n_bins)])",
            ),
            "numbers of tokens",
        ),
        "not named": ((BY_BIN, BY_BIN.replace("named[", "(~named)[")), "not named"),
        "reversed": ((BY_BIN, BY_BIN.replace("range(n_bins)", "reversed(range(n_bins))")), "opposite order"),
        "quantiles": (
            (
                NUMBER,
                "edges = values[values > 0].quantile(torch.linspace(0, 1, n_bins + 1))\n"
                "    number = torch.bucketize(values, edges[1:-1])\n"
                "    number = torch.where(values > 0, number, -1)",
            ),
            "equally wide",
        ),
        "no upper edge": ((BY_BIN, BY_BIN.replace("number == i", "number >= i")), "upper edge too"),
        "lower edges": (
            (
                NUMBER,
                "number = (values / values.max() * n_bins).floor()\n    number = torch.where(values > 0, number, -1)",
            ),
            "lower edge here",
        ),
        "lower edges, clamped": (
            (
                NUMBER,
                "number = (values / values.max() * n_bins).long().clamp(max=n_bins - 1)\n"
                "    number = torch.where(values > 0, number, -1)",
            ),
            "lower edge here",
        ),
        "bins from the smallest": (
            (
                NUMBER,
                "least = values[values > 0].min()\n"
                "    number = ((values - least) / (values.max() - least) * n_bins).ceil() - 1\n"
                "    number = torch.where(values > 0, number.clamp(min=0), -1)",
            ),
            "begins at zero",
        ),
        "lower edges, zeros too": ((NUMBER, "number = (values / values.max() * n_bins).floor()"), "zero is in no bin"),
        "range from the minimum": (
            (NUMBER, "number = ((values - values.min()) / (values.max() - values.min()) * n_bins).ceil() - 1"),
            "",
        ),
        "a constant in the maximum": ((NUMBER, NUMBER.replace("values.max()", "(values.max() + 1e-3)")), ""),
        "the first is left out of the maximum": (
            (NUMBER, NUMBER.replace("values.max()", "values[1:].max()")),
            "the first one too",
        ),
        "squeezed": ((BY_BIN, BY_BIN + ".squeeze()"), "one for each bin"),
        "empty bins are zero": ((BY_BIN, BY_BIN + ".nan_to_num(0)"), "has the share 0"),
        "one number": ((BY_BIN, "return named[values > 0].float().mean()"), "one for each bin"),
    },
    "ex6-odd-one": {
        "highest": ((LOWEST, LOWEST.replace("argmin", "argmax")), "most like the others"),
        "dot products": ((ROWS, "unit = vectors"), "each row's length"),
        "dot products with itself": ((COSINES, "cosines = vectors @ vectors.T"), "diagonal out"),
        "columns normalised": ((ROWS, "unit = vectors / vectors.norm(dim=0)"), "Columns are normalised"),
        "distance": ((LOWEST, "return int(torch.cdist(vectors, vectors).sum(dim=1).argmax())"), "by distance"),
        "distance from the mean": (
            (LOWEST, "return int((vectors - vectors.mean(dim=0)).norm(dim=1).argmax())"),
            "farthest from the",
        ),
        "lowest single": ((LOWEST, "return int(cosines.fill_diagonal_(2).amin(dim=1).argmin())"), "lowest single"),
        "nearest neighbour": (
            (LOWEST, "return int(cosines.fill_diagonal_(-2).amax(dim=1).argmin())"),
            "nearest neighbour",
        ),
        "all numbers": ((LOWEST, "return cosines.sum(dim=1)"), "an integer"),
        "first": ((LOWEST, "return 0"), "rows chosen are wrong"),
        "absolute cosines": ((COSINES, "cosines = (unit @ unit.T).abs().fill_diagonal_(0)"), "Absolute cosines"),
        "lengths clamped": (
            (ROWS, "unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=0.5)"),
            "Short vectors are not divided",
        ),
        "counted from one": ((LOWEST, LOWEST + " + 1"), "counted from 1"),
    },
}

RIGHT = {
    "ex1-dimensionality": {
        "loops": """
def dimensionality(W):
    shares = []
    for i in range(W.shape[1]):
        length = W[:, i].norm()
        if length == 0:
            shares.append(torch.tensor(0.0))
            continue
        shares.append(length**2 / sum(torch.dot(W[:, i] / length, W[:, j]) ** 2 for j in range(W.shape[1])))
    return torch.stack(shares)
""",
        "without unit vectors": """
def dimensionality(W):
    gram = W.T @ W
    squares = gram.diagonal()
    return squares**2 / (gram**2).sum(0).clamp(min=1e-20)
""",
    },
    "ex2-neuron": {
        "cache": """
def neuron_at_tokens(model, text, layer, neuron):
    _, cache = model.run_with_cache(text)
    strings = model.to_str_tokens(text)
    return [(strings[i], cache["post", layer][0, i, neuron].item()) for i in range(1, len(strings))]
""",
        "decoded one by one": """
def neuron_at_tokens(model, text, layer, neuron):
    ids = model.to_tokens(text)
    name = f"blocks.{layer}.mlp.hook_post"
    values = hook_activations(model, ids, [name])[name]
    return [(model.tokenizer.decode([token]), values[0, i, neuron].item()) \
for i, token in enumerate(ids[0].tolist()) if i > 0]
""",
    },
    "ex3-parallel": {
        "einsum": """
def without_parallel_part(gradient, W_dec):
    return gradient - torch.einsum("ij,ij->i", gradient, W_dec)[:, None] * W_dec
""",
        "rows one by one": """
def without_parallel_part(gradient, W_dec):
    return torch.stack([g - torch.dot(g, w) * w for g, w in zip(gradient, W_dec)])
""",
    },
    "ex4-revive": {
        "where": """
def revive(W_enc, b_enc, W_dec, dead, chosen):
    rows = torch.zeros_like(W_dec)
    rows[dead] = torch.nn.functional.normalize(chosen, dim=1)
    length = 0.2 * torch.linalg.vector_norm(W_enc, dim=0)[~dead].mean()
    return (torch.where(dead, length * rows.T, W_enc), torch.where(dead, 0.0, b_enc), \
torch.where(dead[:, None], rows, W_dec))
""",
        "one after the other": """
def revive(W_enc, b_enc, W_dec, dead, chosen):
    alive = [W_enc[:, j].norm() for j in range(len(dead)) if not dead[j]]
    length = 0.2 * sum(alive) / len(alive)
    W_enc, b_enc, W_dec, vectors = W_enc.clone(), b_enc.clone(), W_dec.clone(), iter(chosen)
    for j in range(len(dead)):
        if dead[j]:
            direction = next(vectors)
            direction = direction / direction.norm()
            W_dec[j], W_enc[:, j], b_enc[j] = direction, length * direction, 0.0
    return [W_enc, b_enc, W_dec]
""",
    },
    "ex5-specificity": {
        "NumPy": """
def specificity(values, named, n_bins):
    import numpy as np

    number = torch.bucketize(values, torch.linspace(0, values.max().item(), n_bins + 1)).numpy() - 1
    share = lambda i: named.numpy()[number == i].mean() if (number == i).any() else np.nan
    return np.array([share(i) for i in range(n_bins)])
""",
        "edges": """
def specificity(values, named, n_bins):
    shares = []
    for i in range(n_bins):
        share = values / values.max() * n_bins
        inside = (share > i) & (share <= i + 1)
        shares.append((named & inside).sum() / inside.sum() if inside.any() else torch.tensor(float("nan")))
    return torch.stack(shares)
""",
        "counts": """
def specificity(values, named, n_bins):
    number = ((values / values.max() * n_bins).ceil() - 1).long()
    here = number >= 0
    total = torch.bincount(number[here], minlength=n_bins)
    return torch.bincount(number[here & named], minlength=n_bins) / total
""",
    },
    "ex6-odd-one": {
        "cosine_similarity": """
def odd_one_out(vectors):
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    return ((cosines.sum(0) - cosines.diagonal()) / (len(vectors) - 1)).argmin()
""",
        "loops": """
def odd_one_out(vectors):
    means = []
    for i in range(len(vectors)):
        means.append(sum(torch.dot(vectors[i], vectors[j]) / vectors[i].norm() / vectors[j].norm() \
for j in range(len(vectors)) if j != i))
    return means.index(min(means))
""",
    },
}
