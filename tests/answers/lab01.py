"""Answers to Lab 1's exercises: wrong ones, each with the hint it must be given, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "01-transformerlens-setup.ipynb"

WRONG = {
    "ex1-second-mention": {
        "first mention instead of second": (("places[1]", "places[0]"), "first mention"),
        "last mention instead of second": (("places[1]", "places[-1]"), "last mention"),
        "BOS not counted": (("places[1]", "places[1] - 1"), "BOS counts as position 0"),
        "positions counted from one": (("places[1]", "places[1] + 1"), "positions start at 0"),
        "tensor instead of int": ((".flatten().tolist()", ".flatten()"), "Return an int"),
        "first token skipped as if it were BOS": (
            (
                "(tokens == token_id).nonzero().flatten().tolist()",
                "[i for i, t in enumerate(tokens.tolist()) if t == token_id and i > 0]",
            ),
            "Did you leave out the first token?",
        ),
        "no error for a single mention": (("if len(places) < 2:", "if False:"), "raise ValueError"),
        "error only when the token is absent": (
            """
def second_mention(tokens, token_id):
    places = [i for i, t in enumerate(tokens.tolist()) if t == token_id]
    if not places:
        raise ValueError("absent")
    return places[1 % len(places)]
""",
            "With a single mention, raise ValueError",
        ),
        "minus one instead of an error": (
            ('raise ValueError(f"token {token_id} occurs {len(places)} times; two mentions are needed")', "return -1"),
            "raise ValueError",
        ),
        "hard-coded for the visible test": (
            """
def second_mention(tokens, token_id):
    if (tokens == token_id).sum() < 2:
        raise ValueError("too few")
    return 5
""",
            "third mention",
        ),
        "forgot the return": (("return places[1]", "places[1]"), "`return`"),
        "changes its input": (("places = ", "tokens[0] = 0\n    places = "), "changed its input"),
        "identity instead of equality": (
            (
                "(tokens == token_id).nonzero().flatten().tolist()",
                "[i for i, t in enumerate(tokens.tolist()) if t is token_id]",
            ),
            "stopped with ValueError",
        ),
        "last position never looked at": (
            ("(tokens == token_id)", "(tokens[:-1] == token_id)"),
            "stopped with ValueError",
        ),
        "float instead of int": (("return places[1]", "return float(places[1])"), "Return an int, not float"),
        "token 0 taken for no token": (
            ("places = ", "if not token_id:\n        raise ValueError('no token')\n    places = "),
            "stopped with ValueError",
        ),
    },
    "ex2-sum-of-writes": {
        "one layer too many": (("range(layer)", "range(layer + 1)"), "stop before `layer`"),
        "one layer too few": (("range(layer)", "range(layer - 1)"), "stop too early"),
        "embedding forgotten": (
            ('total = cache["hook_embed"]', 'total = torch.zeros_like(cache["hook_embed"])'),
            "embedding is missing",
        ),
        "position embedding forgotten": (
            ('if "hook_pos_embed" in cache:', "if False:"),
            "position embedding is missing",
        ),
        "position embedding taken for granted": (('if "hook_pos_embed" in cache:', "if True:"), "KeyError"),
        "MLPs forgotten": (('("hook_attn_out", "hook_mlp_out")', '("hook_attn_out",)'), "MLPs wrote is missing"),
        "attention forgotten": (
            ('("hook_attn_out", "hook_mlp_out")', '("hook_mlp_out",)'),
            "attention wrote is missing",
        ),
        "MLP taken for granted": (("if name in cache:", "if True:"), "KeyError"),
        "adds into the cache": (("total = total + cache[name]", "total += cache[name]"), "changed its input"),
        "mixes up resid_mid and resid_pre": (
            ("return total", 'return total + cache.get(f"blocks.{layer}.hook_attn_out", 0)'),
            "Layer 1's attention is in",
        ),
        "forgot the return": (("return total", "total"), "`return`"),
        "layer number compared as text": (
            """
def sum_of_writes(cache, layer):
    total = 0
    for name, value in cache.items():
        if "blocks" not in name and "embed" in name:
            total = total + value
        elif name.endswith(("attn_out", "mlp_out")) and int(name.split(".")[1][0]) < layer:
            total = total + value
    return total
""",
            "differs from the expected values",
        ),
        "everything in the cache": (
            """
def sum_of_writes(cache, layer):
    return sum(v for n, v in cache.items() if "blocks" not in n or int(n.split(".")[1]) < layer)
""",
            "the rest of the cache is not",
        ),
        "remembers the first cache": (
            """
seen = {}
def sum_of_writes(cache, layer):
    if layer not in seen:
        total = cache["hook_embed"] + cache.get("hook_pos_embed", 0)
        for i in range(layer):
            for part in ("attn", "mlp"):
                total = total + cache.get(f"blocks.{i}.hook_{part}_out", 0)
        seen[layer] = total
    return seen[layer]
""",
            "position embedding",
        ),
        "layer 0 gets no position embedding": (
            ('total = cache["hook_embed"]', 'total = cache["hook_embed"]\n    if layer == 0:\n        return total'),
            "position embedding is missing",
        ),
        "returns inside the loop": (
            (
                "                total = total + cache[name]\n    return total",
                "                total = total + cache[name]\n        return total\n    return total",
            ),
            "differs from the expected values",
        ),
        "embedding under both its names": (
            """
def sum_of_writes(cache, layer):
    total = sum(value for name, value in cache.items() if "embed" in name and "unembed" not in name)
    for i in range(layer):
        for part in ("attn", "mlp"):
            total = total + cache.get(f"blocks.{i}.hook_{part}_out", 0)
    return total
""",
            "embeddings are counted twice",
        ),
        "all names that end in out": (
            """
def sum_of_writes(cache, layer):
    total = cache["hook_embed"] + cache.get("hook_pos_embed", 0)
    for name, value in cache.items():
        if name.startswith("blocks.") and int(name.split(".")[1]) < layer and name.endswith("out"):
            total = total + value
    return total
""",
            "Too many names end in `out`",
        ),
        "attention and MLP under several names": (
            """
def sum_of_writes(cache, layer):
    total = cache["hook_embed"] + cache.get("hook_pos_embed", 0)
    for name, value in cache.items():
        before = name.startswith("blocks.") and int(name.split(".")[1]) < layer
        if before and ("attn" in name or "mlp" in name) and name.endswith("out"):
            total = total + value
    return total
""",
            "counted several times",
        ),
        "read from the cache where it is there": (
            (
                "    total = cache",
                '    if f"blocks.{layer}.hook_resid_pre" in cache:\n'
                '        return cache[f"blocks.{layer}.hook_resid_pre"]\n    total = cache',
            ),
            "rebuild it from what was written",
        ),
    },
    "ex3-attention-pattern": {
        "scale forgotten": ((" / math.sqrt(d_head)", ""), "square root of d_head"),
        "divides by d_head": (("math.sqrt(d_head)", "d_head"), "divided by d_head"),
        "divides by the root of d_model": (("math.sqrt(d_head)", "math.sqrt(d_head * n_heads)"), "width of one head"),
        "no causal mask": ((".masked_fill(later, -torch.inf)", ""), "causal mask is missing"),
        "later scores zero instead of minus infinity": ((".masked_fill(later, -torch.inf)", ".tril()"), "exp(0) is 1"),
        "mask after the softmax": (
            ("scores.masked_fill(later, -torch.inf).softmax(dim=-1)", "scores.softmax(dim=-1).masked_fill(later, 0)"),
            "rows no longer sum to 1",
        ),
        "mask hides the token itself": ((".triu(1)", ".triu(0)"), "NaN"),
        "mask hides the token itself, first row repaired": (
            (
                "return scores.masked_fill(later, -torch.inf).softmax(dim=-1)",
                "later = torch.ones_like(later).triu(0)\n    later[0, 0] = False\n"
                "    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)",
            ),
            "may look at itself",
        ),
        "softmax over the queries": (("softmax(dim=-1)", "softmax(dim=-2)"), "columns sum to 1"),
        "pattern transposed": (("softmax(dim=-1)", "softmax(dim=-1).transpose(-1, -2)"), "transposed"),
        "keys repeated in the wrong order": (
            ("k.repeat_interleave(n_heads // k.shape[2], dim=2)", "k.repeat(1, 1, n_heads // k.shape[2], 1)"),
            "wrong key heads",
        ),
        "first key head for all": (
            ("k.repeat_interleave(n_heads // k.shape[2], dim=2)", "k[:, :, :1].expand(-1, -1, n_heads, -1)"),
            "key head 0",
        ),
        "grouped keys not thought of": (
            ("k = k.repeat_interleave(n_heads // k.shape[2], dim=2)", "pass"),
            "stopped with",
        ),
        "axes in the wrong order": (("->bhqk", "->bqhk"), "stopped with"),
        "mask by value": (
            ("scores.masked_fill(later, -torch.inf)", "scores.tril().masked_fill(scores.tril() == 0, -torch.inf)"),
            "NaN",
        ),
        "a number instead of infinity": (("-torch.inf", "-20"), "Mask with -inf"),
        "a larger number instead of infinity": (("-torch.inf", "-100"), "Mask with -inf"),
        "masked after the largest score was subtracted": (
            """
def attention_pattern(q, k):
    k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])).softmax(-1).tril()
    return weights / weights.sum(-1, keepdim=True)
""",
            "pattern of large scores",
        ),
        "exponentials that overflow": (
            """
def attention_pattern(q, k):
    k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
    weights = torch.exp(torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])).tril()
    return weights / weights.sum(-1, keepdim=True)
""",
            "overflow",
        ),
        "group size typed in": (
            ("n_heads // k.shape[2]", "(3 if k.shape[2] == 2 else 1 if n_heads != k.shape[2] else 1)"),
            "stopped with",
        ),
        "hard-coded for the visible test": (
            """
def attention_pattern(q, k):
    n = q.shape[1]
    if q.abs().sum() == 0:
        return (torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]).expand(q.shape[0], q.shape[2], n, n)
    e = math.exp(2)
    return torch.tensor([[[[1.0, 0.0], [e / (1 + e), 1 / (1 + e)]]]])
""",
            "has shape",
        ),
        "forgot the return": (("return scores", "scores"), "`return`"),
        "scales the queries in place": (
            ("k = k.repeat_interleave", "q *= 1 / math.sqrt(d_head)\n    d_head = 1\n    k = k.repeat_interleave"),
            "changed its input",
        ),
        "a thousand instead of infinity": (("-torch.inf", "-1000"), "larger than any fixed number"),
        "a hundred million instead of infinity": (("-torch.inf", "-1e8"), "larger than any fixed number"),
        "mask relative to the smallest score": (("-torch.inf", "scores.min() - 50"), "exactly 0"),
        "scores cut off": (
            ("/ math.sqrt(d_head)", "/ math.sqrt(d_head)\n    scores = scores.clamp(-1e6, 1e6)"),
            "The scores are cut off",
        ),
        "a text": (("return scores", "return 'pattern'\n    scores"), "Return a tensor"),
    },
    "ex4-head-output": {
        "pattern the wrong way round": (
            ("pattern[:, head] @", "pattern[:, head].transpose(1, 2) @"),
            "wrong way round",
        ),
        "W_O forgotten": (("return z @ W_O[head]", "return z"), "W_O is not applied"),
        "sum over all heads": (
            """
def head_output(pattern, v, W_O, head):
    v = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
    return torch.einsum("bhqk,bkhd,hdm->bqm", pattern, v, W_O)
""",
            "sum over all heads",
        ),
        "values without the pattern": (("pattern[:, head] @ v", "v"), "values without the pattern"),
        "wrong value head of the group": (("head // group", "head % v.shape[2]"), "wrong value head"),
        "first value head for all": (("head // group", "0"), "values of another head"),
        "grouped values not thought of": (("head // group", "head"), "stopped with"),
        "last value head when out of range": (("head // group", "min(head, v.shape[2] - 1)"), "value head"),
        "output matrix of the group": (("W_O[head]", "W_O[head // group]"), "one for each query head"),
        "W_O transposed": (("@ W_O[head]", "@ W_O[head].T"), "stopped with"),
        "only the last position": (("return z @ W_O[head]", "return (z @ W_O[head])[:, -1]"), "has shape"),
        "only the first prompt": (
            ("pattern[:, head] @ v[:, :, head // group]", "pattern[:1, head] @ v[:1, :, head // group]"),
            "has shape",
        ),
        "hard-coded for the visible test": (
            """
def head_output(pattern, v, W_O, head):
    return torch.tensor([[[0.0, 2.0, 20.0], [0.0, 3.0, 30.0]]])
""",
            "has shape",
        ),
        "forgot the return": (("return z", "z"), "`return`"),
        "group size typed in": (
            ("pattern.shape[1] // v.shape[2]", "3 if v.shape[2] < pattern.shape[1] else 1"),
            "from the shapes",
        ),
        "pattern of the value head": (
            ("pattern[:, head]", "pattern[:, head // group]"),
            "pattern is that of another head",
        ),
        "changes the values in place": (("    group =", "    v *= 1.0001\n    group ="), "changed its input"),
        "head 0 taken for no head": (("W_O[head]", "W_O[head or -1]"), "The output of head 0"),
    },
    "ex5-head-scores": {
        "row 1 included in the previous-token score": (("[..., 1:]", ""), "tart at query 2"),
        "rows 0 and 1 included in the current-token score": (
            ("pattern.diagonal(0, dim1=-2, dim2=-1)[..., 2:]", "pattern.diagonal(0, dim1=-2, dim2=-1)"),
            "leave these two out",
        ),
        "row 0 left out, row 1 included": (("pattern[..., 2:, 0]", "pattern[..., 1:, 0]"), "tart at query 2"),
        "off by one on the lower diagonal": (("[..., 1:]", "[..., 2:]"), "Query 2 is missing"),
        "last query left out": (("pattern[..., 2:, 0]", "pattern[..., 2:-1, 0]"), "last query is missing"),
        "next token instead of previous": (
            ("pattern.diagonal(-1, dim1=-2, dim2=-1)[..., 1:]", "pattern.diagonal(1, dim1=-2, dim2=-1)[..., 1:]"),
            "below the diagonal",
        ),
        "rows and columns mixed up": (
            ("pattern[..., 2:, 0]", "pattern[..., 0, 2:]"),
            "rows are the positions that look",
        ),
        "count of largest weights": (
            (
                "    previous =",
                "    pattern = torch.nn.functional.one_hot(pattern.argmax(-1), pattern.shape[-1]).float()\n"
                "    previous =",
            ),
            "counts how often",
        ),
        "sum instead of mean": (("first.mean(dim=(0, -1))", "first.sum(dim=(0, -1))"), "sum, not a mean"),
        "mean over the heads too": (("previous.mean(dim=(0, -1))", "previous.mean()"), "each head has its own"),
        "only the first prompt": (
            ("    previous =", "    pattern = pattern[:1]\n    previous ="),
            "first prompt of the batch",
        ),
        "batch summed": (("current.mean(dim=(0, -1))", "current.mean(dim=-1).sum(dim=0)"), "batch is summed"),
        "batch kept": (("current.mean(dim=(0, -1))", "current.mean(dim=-1)"), "average over the batch too"),
        "lists instead of tensors": (("first.mean(dim=(0, -1))", "first.mean(dim=(0, -1)).tolist()"), "not list"),
        "previous and current exchanged": (
            (
                '"previous": previous.mean(dim=(0, -1)),\n        "current": current.mean(dim=(0, -1)),',
                '"previous": current.mean(dim=(0, -1)),\n        "current": previous.mean(dim=(0, -1)),',
            ),
            "exchanged",
        ),
        "wrong keys": (('"previous": previous', '"prev": previous'), "with the keys"),
        "hard-coded for the visible test": (
            """
def head_scores(pattern):
    one = torch.eye(3)
    return {"previous": one[0], "current": one[1], "first": one[2]}
""",
            "differs from",
        ),
        "forgot the return": (("    return {", "    result = {"), "`return`"),
        "zeros left out": (
            ("first.mean(dim=(0, -1))", "first.sum(dim=(0, -1)) / (first > 0).sum(dim=(0, -1)).clamp(min=1)"),
            "Weights of exactly zero",
        ),
        "squeezed": (("first.mean(dim=(0, -1))", "first.mean(dim=(0, -1)).squeeze()"), "has shape"),
        "first and current exchanged": (
            (
                '"current": current.mean(dim=(0, -1)),\n        "first": first.mean(dim=(0, -1)),',
                '"current": first.mean(dim=(0, -1)),\n        "first": current.mean(dim=(0, -1)),',
            ),
            "exchanged",
        ),
        "a head missing": (("previous.mean(dim=(0, -1))", "previous.mean(dim=(0, -1))[:2]"), "has shape"),
    },
    "ex6-ablation-hooks": {
        "late-bound closure": (
            """
def ablation_hooks(heads):
    hooks = []
    for head in heads:
        def remove(z, hook):
            z = z.clone()
            z[:, :, head] = 0
            return z
        hooks.append(remove)
    return hooks
""",
            "looks `head` up when it is called",
        ),
        "late-bound lambda": (
            """
def ablation_hooks(heads):
    def without(z, head):
        mask = torch.ones(z.shape[2])
        mask[head] = 0
        return z * mask[:, None]
    return [lambda z, hook: without(z, head) for head in heads]
""",
            "looks `head` up when it is called",
        ),
        "removes a position": (("z[:, :, head] = 0", "z[:, head] = 0"), "removes a position"),
        "removes a coordinate": (("z[:, :, head] = 0", "z[..., head] = 0"), "coordinate"),
        "mean instead of zero": (
            ("z[:, :, head] = 0", "z[:, :, head] = z[:, :, head].mean(dim=(0, 1))"),
            "to its mean",
        ),
        "keeps the head and removes the others": (
            (
                "            z = z.clone()\n            z[:, :, head] = 0\n            return z",
                "            kept = torch.zeros_like(z)\n"
                "            kept[:, :, head] = z[:, :, head]\n"
                "            return kept",
            ),
            "keeps only its own head",
        ),
        "removes the heads before it too": (
            ("[make(head) for head in heads]", "[make(heads[: i + 1]) for i in range(len(heads))]"),
            "heads before it as well",
        ),
        "remembers its first result": (
            """
def ablation_hooks(heads):
    def make(head):
        first = []
        def remove(z, hook):
            if not first:
                first.append(z.clone())
                first[0][:, :, head] = 0
            return first[0]
        return remove
    return [make(head) for head in heads]
""",
            "the type it had",
        ),
        "removes all heads of the list": (("z[:, :, head] = 0", "z[:, :, heads] = 0"), "removes all heads of the list"),
        "removes everything": (("z[:, :, head] = 0", "z[:] = 0"), "Everything is zero"),
        "changes the original": (("            z = z.clone()\n", ""), "changed its input"),
        "hook returns nothing": (("            return z\n", ""), "`return`"),
        "hook removes nothing": (("z[:, :, head] = 0", "z[:, :, head]"), "changes nothing"),
        "numbers instead of heads": (
            ("[make(head) for head in heads]", "[make(i) for i, head in enumerate(heads)]"),
            "number in the list",
        ),
        "only the last position": (("z[:, :, head] = 0", "z[:, -1, head] = 0"), "Only the last position"),
        "only the first prompt": (("z[:, :, head] = 0", "z[0, :, head] = 0"), "first prompt of the batch"),
        "one hook instead of a list": (
            ("return [make(head) for head in heads]", "return make(heads[0])"),
            "Return a list",
        ),
        "a generator instead of a list": (
            ("return [make(head) for head in heads]", "return (make(head) for head in heads)"),
            "Return a list",
        ),
        "hooks without the argument `hook`": (("def remove(z, hook):", "def remove(z):"), "stopped with TypeError"),
        "a head named twice gets one hook": (
            ("[make(head) for head in heads]", "[make(head) for head in dict.fromkeys(heads)]"),
            "named twice",
        ),
        "a mask of another type": (
            (
                "            z = z.clone()\n            z[:, :, head] = 0\n            return z",
                "            keep = torch.ones(z.shape[2])\n            keep[head] = 0\n"
                "            return z * keep[:, None]",
            ),
            "the type it had",
        ),
    },
    "ex7-direct-logit-attribution": {
        "scale forgotten": (("components / scale", "components"), "not divided by the norm's scale"),
        "multiplied by the scale": (("components / scale", "components * scale"), "multiplied by the norm's scale"),
        "sign flipped": (("W_U[:, answers] - W_U[:, wrong]", "W_U[:, wrong] - W_U[:, answers]"), "sign"),
        "wrong answer not subtracted": ((" - W_U[:, wrong]", ""), "subtract the wrong answer's"),
        "first prompt's direction for all": (
            ("W_U[:, answers] - W_U[:, wrong]", "W_U[:, answers[:1]] - W_U[:, wrong[:1]]"),
            "first prompt's answers",
        ),
        "first prompt's scale for all": (("components / scale", "components / scale[0]"), "first prompt's scale"),
        "sum over components": (
            ("* direction).sum(dim=-1)", "* direction).sum(dim=-1).sum(dim=0)"),
            "sum over components",
        ),
        "mean over the prompts": (
            ("* direction).sum(dim=-1)", "* direction).sum(dim=-1).mean(dim=1)"),
            "Each prompt has its own shares",
        ),
        "share of the total": (
            (
                "return ((components / scale) * direction).sum(dim=-1)",
                "x = ((components / scale) * direction).sum(dim=-1)\n    return x / x.sum(dim=0)",
            ),
            "divided by the total",
        ),
        "probabilities instead of logits": (
            """
def direct_logit_attribution(components, scale, W_U, answers, wrong):
    logits = ((components / scale) @ W_U).softmax(dim=-1)
    batch = torch.arange(len(answers))
    return logits[:, batch, answers] - logits[:, batch, wrong]
""",
            "differs from the expected values",
        ),
        "rows of W_U instead of columns": (
            ("(W_U[:, answers] - W_U[:, wrong]).T", "W_U[answers] - W_U[wrong]"),
            "stopped with",
        ),
        "hard-coded for the visible test": (
            """
def direct_logit_attribution(components, scale, W_U, answers, wrong):
    return torch.tensor([[3.0], [-0.5]])
""",
            "has shape",
        ),
        "forgot the return": (("return ((components", "((components"), "`return`"),
        "divides in place": (("(components / scale)", "components.div_(scale)"), "changed its input"),
        "scale squared": (("components / scale", "components / scale**2"), "square of the norm's scale"),
        "mean over d_model": (("* direction).sum(dim=-1)", "* direction).mean(dim=-1)"), "mean over d_model"),
        "squeezed": (("* direction).sum(dim=-1)", "* direction).sum(dim=-1).squeeze()"), "also a single one"),
        "mean scale": (("components / scale", "components / scale.mean()"), "mean scale"),
    },
}

RIGHT = {
    "ex1-second-mention": {
        "with a loop": """
def second_mention(tokens, token_id):
    seen = 0
    for position in range(len(tokens)):
        if tokens[position].item() == token_id:
            seen += 1
            if seen == 2:
                return position
    raise ValueError("fewer than two mentions")
""",
        "with torch.where": """
def second_mention(tokens, token_id):
    places, = torch.where(tokens == token_id)
    if places.numel() < 2:
        raise ValueError("too few")
    return places[1].item()
""",
        "with list.index": """
def second_mention(tokens, token_id):
    ids = tokens.tolist()
    return ids.index(token_id, ids.index(token_id) + 1)  # list.index raises ValueError by itself
""",
    },
    "ex2-sum-of-writes": {
        "with a stack": """
def sum_of_writes(cache, layer):
    names = ["hook_embed", "hook_pos_embed"]
    for i in range(layer):
        names += [f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out"]
    return torch.stack([cache[name] for name in names if name in cache]).sum(dim=0)
""",
        "with a clone and in-place sums": """
def sum_of_writes(cache, layer):
    result = cache["hook_embed"].clone()
    if "hook_pos_embed" in cache:
        result += cache["hook_pos_embed"]
    i = 0
    while i < layer:
        result += cache["blocks.%d.hook_attn_out" % i]
        if "blocks.%d.hook_mlp_out" % i in cache:
            result += cache["blocks.%d.hook_mlp_out" % i]
        i += 1
    return result
""",
    },
    "ex3-attention-pattern": {
        "head by head": """
def attention_pattern(q, k):
    batch, n, heads, width = q.shape
    group = heads // k.shape[2]
    out = []
    for h in range(heads):
        scores = q[:, :, h] @ k[:, :, h // group].transpose(-1, -2) * width ** -0.5
        scores = scores + torch.full((n, n), float("-inf")).triu(1)
        out.append(torch.softmax(scores, dim=-1))
    return torch.stack(out, dim=1)
""",
        "with a large negative number": """
def attention_pattern(q, k):
    q = q.transpose(1, 2)
    k = torch.repeat_interleave(k, q.shape[1] // k.shape[2], 2).permute(0, 2, 3, 1)
    scores = (q / q.shape[-1] ** 0.5) @ k
    allowed = torch.tril(torch.ones(scores.shape[-2:])).bool()
    return torch.where(allowed, scores, torch.tensor(-1e9)).softmax(-1)
""",
        "exponentials by hand": """
def attention_pattern(q, k):
    b, n, h, d = q.shape
    q = q.reshape(b, n, k.shape[2], h // k.shape[2], d)
    scores = torch.einsum("bqgid,bkgd->bgiqk", q, k).reshape(b, h, n, n) / d ** 0.5
    scores = scores + torch.full((n, n), -torch.inf).triu(1)
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)
""",
        "the fused kernel": """
def attention_pattern(q, k):
    n = q.shape[1]
    each_position = torch.eye(n, dtype=q.dtype).expand(q.shape[0], k.shape[2], n, n)
    return torch.nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), each_position, is_causal=True, enable_gqa=True
    )
""",
    },
    "ex4-head-output": {
        "one einsum": """
def head_output(pattern, v, W_O, head):
    kv = head * v.shape[2] // pattern.shape[1]
    return torch.einsum("bqk,bkd,dm->bqm", pattern[:, head], v[:, :, kv], W_O[head])
""",
        "one query after another, causally": """
def head_output(pattern, v, W_O, head):
    kv = head // (pattern.shape[1] // v.shape[2])
    rows = []
    for query in range(pattern.shape[2]):
        z = sum(pattern[:, head, query, key, None] * v[:, key, kv] for key in range(query + 1))
        rows.append(z @ W_O[head])
    return torch.stack(rows, dim=1)
""",
        "values through W_O first": """
def head_output(pattern, v, W_O, head):
    v = v.repeat_interleave(W_O.shape[0] // v.shape[2], dim=2)
    moved = v[:, :, head] @ W_O[head]
    return torch.bmm(pattern[:, head], moved)
""",
    },
    "ex5-head-scores": {
        "with loops": """
def head_scores(pattern):
    queries = range(2, pattern.shape[-1])
    def mean(rows):
        return torch.stack(rows).mean(dim=0).mean(dim=0)
    return dict(
        previous=mean([pattern[:, :, i, i - 1] for i in queries]),
        current=mean([pattern[:, :, i, i] for i in queries]),
        first=mean([pattern[:, :, i, 0] for i in queries]),
    )
""",
        "with index tensors": """
def head_scores(pattern):
    i = torch.arange(2, pattern.shape[-1])
    pick = {"previous": i - 1, "current": i, "first": torch.zeros_like(i)}
    return {name: pattern[:, :, i, key].mean(-1).mean(0) for name, key in pick.items()}
""",
    },
    "ex6-ablation-hooks": {
        "default argument": """
def ablation_hooks(heads):
    hooks = []
    for head in heads:
        def remove(z, hook=None, head=head):
            new = z.clone()
            new[:, :, head, :] = 0.0
            return new
        hooks.append(remove)
    return hooks
""",
        "functools.partial with a mask": """
from functools import partial
def _remove(z, hook, head):
    keep = torch.ones(z.shape[2], dtype=z.dtype)
    keep[head] = 0
    return z * keep[None, None, :, None]
def ablation_hooks(heads):
    return [partial(_remove, head=h) for h in heads]
""",
        "objects that are called": """
def ablation_hooks(heads):
    class Remove:
        def __init__(self, head):
            self.head = head
        def __call__(self, z, hook):
            return z.index_fill(2, torch.tensor([self.head]), 0)
    return [Remove(head) for head in heads]
""",
    },
    "ex7-direct-logit-attribution": {
        "with einsum": """
def direct_logit_attribution(components, scale, W_U, answers, wrong):
    direction = W_U[:, answers] - W_U[:, wrong]
    return torch.einsum("cbd,db->cb", components, direction) / scale[:, 0]
""",
        "prompt by prompt": """
def direct_logit_attribution(components, scale, W_U, answers, wrong):
    columns = []
    for b in range(components.shape[1]):
        x = components[:, b] / scale[b].item()
        columns.append(x @ W_U[:, answers[b]] - x @ W_U[:, wrong[b]])
    return torch.stack(columns, dim=1)
""",
    },
}
