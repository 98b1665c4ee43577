"""Answers to extension 6's exercises: wrong ones, each with the hint it must get, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "06-stheno-8b-extension.ipynb"

HIDDEN = "hidden = torch.nn.functional.silu(x @ W_gate) * (x @ W_up)"
OUT = "return hidden, hidden @ W_down"
LATENTS = "d_sae = width * d_in"
BYTES = "return 4 * 4 * (2 * d_in * d_sae + d_sae + d_in)"
INSIDE = "return [any(begin <= first < last <= end for begin, end in spans) for first, last in offsets]"
START = "count, total, squares = 0, 0.0, 0.0"
DOUBLE = "batch = batch.double()"
COUNT = "count += len(batch)"
TOTAL = "total = total + batch.sum(dim=0)"
SQUARES = "squares += batch.square().sum().item()"
MEAN = "mean = total / count"
VARIANCE = "return mean, squares / count - mean.square().sum().item()"
DIFFERENCE = "return (shuffled[:n_a].mean(dim=0) - shuffled[n_a:].mean(dim=0)).abs()"
REACHED = "reached = sum((difference(order) >= actual - 1e-6).float() for order in orders)"
P_VALUES = "return (1 + reached) / (1 + len(orders))"

WRONG = {
    "ex1-gated-mlp": {
        "silu on up": ((HIDDEN, "hidden = (x @ W_gate) * torch.nn.functional.silu(x @ W_up)"), "wrong factor"),
        "silu on both": ((HIDDEN, HIDDEN.replace("(x @ W_up)", "torch.nn.functional.silu(x @ W_up)")), "Both factors"),
        "no silu": ((HIDDEN, "hidden = (x @ W_gate) * (x @ W_up)"), "does not go through SiLU"),
        "silu of the product": (
            (HIDDEN, "hidden = torch.nn.functional.silu((x @ W_gate) * (x @ W_up))"),
            "SiLU of the product",
        ),
        "added": ((HIDDEN, HIDDEN.replace(" * ", " + ")), "is added"),
        "sigmoid": ((HIDDEN, "hidden = (x @ W_gate).sigmoid() * (x @ W_up)"), "sigmoid of the gate"),
        "relu": ((HIDDEN, HIDDEN.replace("silu", "relu")), "ReLU in the place"),
        "gelu": ((HIDDEN, HIDDEN.replace("silu", "gelu")), "GELU in the place"),
        "gelu by tanh": (
            (HIDDEN, "hidden = torch.nn.functional.gelu(x @ W_gate, approximate='tanh') * (x @ W_up)"),
            "by an approximation",
        ),
        "no up": ((HIDDEN, "hidden = torch.nn.functional.silu(x @ W_gate)"), "up is missing"),
        "exchanged": ((OUT, "return hidden @ W_down, hidden"), "exchanged"),
        "residual added": ((OUT, "return hidden, x + hidden @ W_down"), "residual stream"),
        "out alone": ((OUT, "return hidden @ W_down"), "Return two tensors"),
    },
    "ex2-training-bytes": {
        "parameters": ((BYTES, "return 2 * d_in * d_sae + d_sae + d_in"), "number of parameters"),
        "values alone": ((BYTES, BYTES.replace("4 * 4", "4")), "four for each parameter"),
        "no moments": ((BYTES, BYTES.replace("4 * 4", "8")), "moments are missing"),
        "half precision": ((BYTES, BYTES.replace("4 * 4", "4 * 2")), "it has four"),
        "one moment": ((BYTES, BYTES.replace("4 * 4", "12")), "one of Adam's"),
        "one matrix": ((BYTES, BYTES.replace("2 * d_in * d_sae", "d_in * d_sae")), "two matrices"),
        "no biases": ((BYTES, BYTES.replace(" + d_sae + d_in", "")), "biases are missing"),
        "b_dec of d_sae": ((BYTES, BYTES.replace("+ d_in)", "+ d_sae)")), "b_dec has d_in numbers"),
        "no b_dec": ((BYTES, BYTES.replace(" + d_in)", ")")), "b_dec is missing"),
        "no b_enc": ((BYTES, BYTES.replace(" + d_sae", "")), "b_enc is missing"),
        "width as number": ((LATENTS, "d_sae = width"), "is a factor"),
        "bits": ((BYTES, BYTES.replace("4 * 4", "4 * 32")), "32 bits"),
    },
    "ex3-content": {
        "first message": ((INSIDE, INSIDE.replace("in spans)", "in spans[:1])")), "Only the first"),
        "last message": ((INSIDE, INSIDE.replace("in spans)", "in spans[-1:])")), "Only the last"),
        "begins inside": (
            (INSIDE, INSIDE.replace("begin <= first < last <= end", "begin <= first < end and first < last")),
            "end after it",
        ),
        "ends inside": (
            (INSIDE, INSIDE.replace("begin <= first < last <= end", "begin < last <= end and first < last")),
            "begin before it",
        ),
        "touches": (
            (INSIDE, INSIDE.replace("begin <= first < last <= end", "first < end and last > begin and first < last")),
            "only touch",
        ),
        "empty tokens": ((INSIDE, INSIDE.replace("first < last", "first <= last")), "Empty tokens"),
        "without the first token": (
            (INSIDE, INSIDE.replace("begin <= first", "begin < first")),
            "first token is left out",
        ),
        "without the last token": ((INSIDE, INSIDE.replace("last <= end", "last < end")), "last token is left out"),
        "template": ((INSIDE, INSIDE.replace("any(", "not any(")), "mask of the template"),
        "numbers": (
            (
                INSIDE,
                "return [i for i, (first, last) in enumerate(offsets) "
                "if any(begin <= first < last <= end for begin, end in spans)]",
            ),
            "True or False",
        ),
        "all spans at once": ((INSIDE, INSIDE.replace("any(", "all(")), "entry 2: expected True, got False"),
        "every second message": ((INSIDE, INSIDE.replace("in spans)", "in spans[::2])")), "every second"),
        "every other message": ((INSIDE, INSIDE.replace("in spans)", "in spans[1::2])")), "the first is left out"),
        "two messages": ((INSIDE, INSIDE.replace("in spans)", "in spans[:2])")), "entry 10: expected True, got False"),
        "characters of any message": (
            "def content_of(spans, offsets):\n"
            "    inside = {i for begin, end in spans for i in range(begin, end)}\n"
            "    return [first < last and all(i in inside for i in range(first, last)) for first, last in offsets]\n",
            "ends in another",
        ),
        "begins in one, ends in any": (
            (
                INSIDE,
                "return [f < l and any(b <= f < e for b, e in spans) and "
                "any(b < l <= e for b, e in spans) for f, l in offsets]",
            ),
            "ends in another",
        ),
        "begins inside, empty ones too": (
            (INSIDE, INSIDE.replace("begin <= first < last <= end", "begin <= first < end")),
            "end after it",
        ),
        "last character left out": (
            (INSIDE, INSIDE.replace("begin <= first < last <= end", "begin <= first and last < end")),
            "last token is left out",
        ),
    },
    "ex4-moments": {
        **{
            name: ((START, f"batches = {kept}\n    {START}"), "or copies of them")
            for name, kept in {
                "copies kept": "[batch.clone() for batch in batches]",
                "copies in double precision": "[batch.double() for batch in batches]",
                "NumPy copies": "[torch.from_numpy(batch.numpy().copy()) for batch in batches]",
                "lists of numbers": "[torch.tensor(b) for b in [batch.tolist() for batch in batches] if b]",
            }.items()
        },
        "batches changed": ((DOUBLE, "batch += 3\n        batch = batch.double() - 3"), "changed in place"),
        "mean of means": (
            "def stream_moments(batches):\n"
            "    means, squares, count = [], 0.0, 0\n"
            "    for batch in batches:\n"
            "        if len(batch):\n"
            "            means.append(batch.double().mean(dim=0))\n"
            "        squares, count = squares + batch.double().square().sum().item(), count + len(batch)\n"
            "    mean = torch.stack(means).mean(dim=0)\n"
            "    return mean, squares / count - mean.square().sum().item()\n",
            "larger batches count more",
        ),
        "batches counted": ((COUNT, "count += 1"), "number of batches"),
        "mean squared length": ((VARIANCE, "return mean, squares / count"), "mean squared length"),
        "per dimension": (
            (VARIANCE, "return mean, (squares / count - mean.square().sum().item()) / len(mean)"),
            "over the dimensions",
        ),
        "root": (
            (VARIANCE, "return mean, (squares / count - mean.square().sum().item()) ** 0.5"),
            "standard deviation",
        ),
        "not divided": ((VARIANCE, "return mean, squares - count * mean.square().sum().item()"), "not divided"),
        "one less": (
            (VARIANCE, "return mean, (squares - count * mean.square().sum().item()) / (count - 1)"),
            "not by one less",
        ),
        "single precision": ((DOUBLE, "pass"), "double precision"),
        "single precision, then double": (
            "def stream_moments(batches):\n"
            "    n, total, squares = 0, 0.0, 0.0\n"
            "    for batch in batches:\n"
            "        n, total, squares = n + len(batch), total + batch.sum(dim=0), squares + batch.square().sum()\n"
            "    mean = (total / n).double()\n"
            "    return mean, (squares / n).item() - mean.square().sum().item()\n",
            "far from zero",
        ),
        "within batches, by size": (
            "def stream_moments(batches):\n"
            "    n, total, spread = 0, 0.0, 0.0\n"
            "    for batch in batches:\n"
            "        if len(batch):\n"
            "            batch = batch.double()\n"
            "            spread += (batch - batch.mean(dim=0)).square().sum().item()\n"
            "            n, total = n + len(batch), total + batch.sum(dim=0)\n"
            "    return total / n, spread / n\n",
            "each batch's own mean",
        ),
        "everything kept": (
            "def stream_moments(batches):\n    x = torch.cat(list(batches)).double()\n"
            "    return x.mean(dim=0), (x - x.mean(dim=0)).square().sum(dim=1).mean().item()\n",
            "Batches are kept",
        ),
        "one variance per dimension": (
            "def stream_moments(batches):\n"
            "    n, total, squares = 0, 0.0, 0.0\n"
            "    for batch in batches:\n"
            "        batch = batch.double()\n"
            "        n, total, squares = n + len(batch), total + batch.sum(dim=0), "
            "squares + batch.square().sum(dim=0)\n"
            "    return total / n, squares / n - (total / n).square()\n",
            "one number",
        ),
        "read twice": (
            "def stream_moments(batches):\n    mean = torch.cat(list(batches)).double().mean(dim=0)\n"
            "    return mean, (torch.cat(list(batches)).double() - mean).square().sum(dim=1).mean().item()\n",
            "a second time",
        ),
        "mean alone": ((VARIANCE, "return mean"), "Return two things"),
    },
    "ex5-permutation": {
        "one-sided": ((DIFFERENCE, DIFFERENCE.replace(".abs()", "")), "One-sided"),
        "the other side": (
            (DIFFERENCE, "return shuffled[n_a:].mean(dim=0) - shuffled[:n_a].mean(dim=0)"),
            "the other way",
        ),
        "actual not counted": ((P_VALUES, "return reached / len(orders)"), "actual order is not counted"),
        "strictly": ((REACHED, REACHED.replace(">= actual - 1e-6", "> actual + 1e-6")), "use >="),
        "sums": ((DIFFERENCE, DIFFERENCE.replace("mean", "sum")), "Sums are compared"),
        "ranks": (
            (DIFFERENCE, "shuffled = together.argsort(dim=0).argsort(dim=0).float()[order]\n        " + DIFFERENCE),
            "Ranks are compared",
        ),
        "in standard errors": (
            (
                DIFFERENCE,
                "a, b = shuffled[:n_a], shuffled[n_a:]\n"
                "        error = (a.var(dim=0) / len(a) + b.var(dim=0) / len(b)).sqrt().clamp(min=1e-6)\n"
                "        return (a.mean(dim=0) - b.mean(dim=0)).abs() / error",
            ),
            "standard errors",
        ),
        "no allowance": ((REACHED, REACHED.replace(" - 1e-6", "")), "Rounding"),
        "strictly, without allowance": (
            (REACHED, REACHED.replace(">= actual - 1e-6", "> actual")),
            "allow for rounding",
        ),
        "smaller ones": ((REACHED, REACHED.replace(">= actual - 1e-6", "<= actual + 1e-6")), "smaller difference"),
        "one below only": ((P_VALUES, "return reached / (1 + len(orders))"), "not above"),
        "average": ((DIFFERENCE, DIFFERENCE + ".mean().expand(shuffled.shape[1])"), "pooled"),
        "first n_b": ((DIFFERENCE, DIFFERENCE.replace("n_a", "len(rates_b)")), "should be n_a"),
        "inverted": ((REACHED, REACHED.replace("difference(order)", "difference(order.argsort())")), "inverted"),
        "different orders once": (
            (REACHED, REACHED.replace("for order in orders)", "for order in orders.unique(dim=0))")),
            "differs",
        ),
        "complement": ((P_VALUES, "return 1 - (1 + reached) / (1 + len(orders))"), "1 minus"),
        "medians": (
            (DIFFERENCE, "return (shuffled[:n_a].median(dim=0).values - shuffled[n_a:].median(dim=0).values).abs()"),
            "Medians",
        ),
        "one above only": ((P_VALUES, "return (1 + reached) / len(orders)"), "not below"),
        "largest of all": ((DIFFERENCE, DIFFERENCE + ".max().expand(shuffled.shape[1])"), "pooled"),
        "orders of its own": (
            (
                REACHED,
                "reached = sum((difference(torch.randperm(len(together))) >= actual - 1e-6).float() "
                "for order in orders)",
            ),
            "second time",
        ),
    },
}

RIGHT = {
    "ex1-gated-mlp": {
        "written out": """
def gated_mlp(x, W_gate, W_up, W_down):
    gate, up = x @ W_gate, x @ W_up
    hidden = gate * torch.sigmoid(gate) * up
    return [hidden, hidden @ W_down]
""",
        "einsum": """
def gated_mlp(x, W_gate, W_up, W_down):
    gate, up = (torch.einsum("...d,dm->...m", x, W) for W in (W_gate, W_up))
    hidden = torch.nn.SiLU()(gate) * up
    return hidden, torch.einsum("...m,md->...d", hidden, W_down)
""",
    },
    "ex2-training-bytes": {
        "by arrays": """
def training_bytes(d_in, width):
    sizes = {"W_enc": d_in * d_in * width, "b_enc": d_in * width, "W_dec": d_in * width * d_in, "b_dec": d_in}
    return sum(4 * size for size in sizes.values()) * 4
""",
        "a float": """
def training_bytes(d_in, width):
    n = d_in * width
    return 16.0 * (n * (2 * d_in + 1) + d_in)
""",
    },
    "ex3-content": {
        "NumPy": """
def content_of(spans, offsets):
    import numpy as np

    spans, offsets = np.array(spans), np.array(offsets)
    inside = (spans[:, 0] <= offsets[:, None, 0]) & (offsets[:, None, 1] <= spans[:, 1])
    return inside.any(axis=1) & (offsets[:, 0] < offsets[:, 1])
""",
        "characters": """
def content_of(spans, offsets):
    inside = {i for begin, end in spans for i in range(begin, end)}
    return [last > first and any(all(i in range(b, e) for i in range(first, last)) for b, e in spans) \
and first in inside for first, last in offsets]
""",
        "loops": """
def content_of(spans, offsets):
    mask = []
    for first, last in offsets:
        found = False
        for begin, end in spans:
            if first >= begin and last <= end and last != first:
                found = True
        mask.append(found)
    return mask
""",
    },
    "ex4-moments": {
        "distances from the first vector": """
def stream_moments(batches):
    n, total, squares, origin = 0, 0.0, 0.0, None
    for batch in batches:
        if len(batch):
            batch = batch.to(torch.float64)
            origin = batch[0] if origin is None else origin
            away = batch - origin
            n, total, squares = n + len(away), total + away.sum(0), squares + (away * away).sum()
    return (origin + total / n).numpy(), squares / n - (total / n) @ (total / n)
""",
        "running": """
def stream_moments(batches):
    n, mean, m2 = 0, None, 0.0
    for batch in batches:
        for vector in batch.double():
            n += 1
            if mean is None:
                mean = torch.zeros_like(vector)
            step = vector - mean
            mean = mean + step / n
            m2 += (step * (vector - mean)).sum().item()
    return mean, m2 / n
""",
        "combined": """
def stream_moments(batches):
    n, mean, spread = 0, 0.0, 0.0
    for batch in batches:
        if len(batch) == 0:
            continue
        batch = batch.double()
        m, new = len(batch), batch.mean(dim=0)
        away = new - mean
        spread += (batch - new).square().sum().item() + float((away**2).sum()) * n * m / (n + m)
        mean, n = mean + away * m / (n + m), n + m
    return [mean, torch.tensor(spread / n)]
""",
    },
    "ex5-permutation": {
        "one by one": """
def permutation_p_values(rates_a, rates_b, orders):
    n_a, both = rates_a.shape[0], torch.cat([rates_a, rates_b])
    counts = torch.ones(both.shape[1])
    for feature in range(both.shape[1]):
        column = both[:, feature].double()
        actual = abs(column[:n_a].mean() - column[n_a:].mean())
        for order in orders.tolist():
            a, b = column[order[:n_a]], column[order[n_a:]]
            counts[feature] += float(abs(a.mean() - b.mean()) >= actual - 1e-7)
    return counts / (len(orders) + 1)
""",
        "all at once": """
def permutation_p_values(rates_a, rates_b, orders):
    both = torch.cat([rates_a, rates_b]).double()
    n_a, n_b = len(rates_a), len(rates_b)
    sums = both[orders[:, :n_a]].sum(1)
    differences = (sums / n_a - (both.sum(0) - sums) / n_b).abs()
    actual = (rates_a.double().mean(0) - rates_b.double().mean(0)).abs()
    return (1.0 + (differences > actual - 1e-7).sum(0)) / (1 + len(orders))
""",
    },
}
