"""Answers to Lab 3's exercises: wrong ones, each with the hint it must be given, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "03-induction-head-analysis.ipynb"

LOSSES = "losses = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]"
HALVES = "return losses[:, :period].mean().item(), losses[:, period + 1 :].mean().item()"
SECOND = "queries = torch.arange(period + 1, 2 * period + 1)"
SCORE = "return pattern[:, :, queries, queries - (period - 1)].mean(dim=(0, 2))"
PREVIOUS = "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))"
DUPLICATE = "duplicate_token = pattern[:, :, second, second - period].mean(dim=(0, 2))"
HOOKS = (
    'hooks = [(f"blocks.{layer}.attn.hook_z", silence([head for of, head in heads if of == layer]))\n'
    "             for layer in layers]"
)
SILENT = "z[:, :, mine] = 0"
STREAM = 'stream = model.blocks[layer].ln1(cache[f"blocks.{layer}.hook_resid_pre"] - written)'
KEYS = "return stream @ attn.W_K[head] + attn.b_K[head]"
P_VALUES = "return (means >= means[period - 1]).float().mean(dim=0)"
COMPOSITION = "return ((writes @ looks).norm() / (writes.norm() * looks.norm())).item()"

WRONG = {
    "ex1-half-losses": {
        "both halves one too late": (
            (HALVES, HALVES.replace("[:, :period]", "[:, 1 : period + 1]").replace("period + 1 :]", "period + 2 :]")),
            "Both halves are one token too late",
        ),
        "not shifted, BOS among them": (
            (
                LOSSES,
                "log_probs = logits.log_softmax(dim=-1)\n    losses = -log_probs.gather(-1, tokens[..., None])[..., 0]",
            ),
            "BOS among them",
        ),
        "clamped probabilities": (
            (LOSSES, LOSSES.replace("-log_probs", "-(log_probs.exp() + 1e-9).log()")),
            "Very unlikely tokens",
        ),
        "boundary in the second half": (
            (HALVES, HALVES.replace("period + 1 :", "period :")),
            "it is in your second half",
        ),
        "boundary in the first half": (
            (HALVES, HALVES.replace(":period]", ":period + 1]")),
            "it is in your first half",
        ),
        "halves exchanged": (
            (HALVES, "return losses[:, period + 1 :].mean().item(), losses[:, :period].mean().item()"),
            "exchanged",
        ),
        "BOS counted as a loss": (
            (HALVES, HALVES.replace("[:, :period]", "[:, 1 : period + 1]")),
            "first half is one token too late",
        ),
        "first token left out": (
            (HALVES, HALVES.replace("[:, :period]", "[:, 1:period]")),
            "belongs to the first half",
        ),
        "second half one too late": (
            (HALVES, HALVES.replace("period + 1 :", "period + 2 :")),
            "after the boundary is missing",
        ),
        "not shifted": (
            (
                LOSSES,
                "log_probs = logits.log_softmax(dim=-1)\n"
                "    losses = -log_probs.gather(-1, tokens[..., None])[:, 1:, 0]",
            ),
            "at the same position",
        ),
        "sign": ((LOSSES, LOSSES.replace("= -log_probs", "= log_probs")), "MINUS"),
        "probabilities": (
            (LOSSES, LOSSES.replace("-log_probs.gather", "log_probs.exp().gather")),
            "These are probabilities",
        ),
        "raw logits": (("logits[:, :-1].log_softmax(dim=-1)", "logits[:, :-1]"), "needs log_softmax"),
        "softmax over positions": (("log_softmax(dim=-1)", "log_softmax(dim=1)"), "the vocabulary is the last axis"),
        "log of the mean": (
            (
                HALVES,
                "return tuple(-losses[:, part].neg().exp().mean().log().item() "
                "for part in (slice(period), slice(period + 1, None)))",
            ),
            "log of the mean probability",
        ),
        "bits": ((LOSSES, LOSSES + " / torch.tensor(2.0).log()"), "natural logarithm"),
        "sums": ((HALVES, HALVES.replace("mean()", "sum()")), "These are sums"),
        "first sequence": ((HALVES, HALVES.replace("[:,", "[0,")), "Only the first sequence"),
        "one number": ((HALVES, "return losses.mean().item()"), "Return two numbers"),
        "changes the logits": (
            ("log_probs = logits", "logits -= logits.mean()\n    log_probs = logits"),
            "changed its input",
        ),
        "logarithm of the softmax": ((".log_softmax(dim=-1)", ".softmax(dim=-1).log()"), "infinite loss"),
        "clamped": ((".log_softmax(dim=-1)", ".log_softmax(dim=-1).clamp(min=-100)"), "nothing may be clamped"),
    },
    "ex2-induction-score": {
        "offset period": ((SCORE, SCORE.replace("(period - 1)", "period")), "one too large"),
        "offset period minus two": ((SCORE, SCORE.replace("(period - 1)", "(period - 2)")), "one too small"),
        "second half from period": (
            (SECOND, SECOND.replace("arange(period + 1", "arange(period")),
            "Off by one through BOS",
        ),
        "without the last position": (
            (SECOND, SECOND.replace("2 * period + 1)", "2 * period)")),
            "last position is missing",
        ),
        "without the first position": (
            (SECOND, SECOND.replace("arange(period + 1", "arange(period + 2")),
            "first position of the second half",
        ),
        "first half included": (
            (SECOND, SECOND.replace("arange(period + 1", "arange(period - 1")),
            "first half is included",
        ),
        "whole diagonal": (
            (SCORE, "return pattern.diagonal(-(period - 1), dim1=-2, dim2=-1).mean(dim=(0, 2))"),
            "first half is included",
        ),
        "rows and columns exchanged": (
            (SCORE, SCORE.replace("queries, queries - (period - 1)", "queries - (period - 1), queries")),
            "exchanged",
        ),
        "hit rate": (
            (
                SCORE,
                "return (pattern[:, :, queries].argmax(dim=-1) == queries - (period - 1)).float().mean(dim=(0, 2))",
            ),
            "average the weights themselves",
        ),
        "mean over keys": ((SCORE, "return pattern[:, :, queries].mean(dim=(0, 2, 3))"), "averages over all keys"),
        "sum": ((SCORE, SCORE.replace("mean(dim=(0, 2))", "sum(dim=(0, 2))")), "These are sums; average"),
        "sum over positions": (
            (SCORE, SCORE.replace("mean(dim=(0, 2))", "sum(dim=2).mean(dim=0)")),
            "sums over positions",
        ),
        "first sequence": ((SCORE, SCORE.replace("pattern[:, :,", "pattern[:1, :,")), "Only the first sequence"),
        "last position only": (
            (SCORE, SCORE.replace("queries, queries", "queries[-1:], queries[-1:]")),
            "Only the last position",
        ),
        "maximum": ((SCORE, SCORE.replace("mean(dim=(0, 2))", "amax(dim=2).mean(dim=0)")), "largest weight"),
        "mean over heads": ((SCORE, SCORE.replace("(0, 2)", "(1, 2)")), "shape"),
        "one number": ((SCORE, SCORE.replace("mean(dim=(0, 2))", "mean()")), "shape"),
        "without BOS": (
            (SCORE, "pattern = pattern / (1 - pattern[..., :1]).clamp(min=1e-9)\n    " + SCORE),
            "BOS's column",
        ),
        "softmax again": ((SCORE, SCORE.replace("pattern[", "pattern.softmax(dim=-1)[")), "softmax already"),
    },
    "ex3-other-scores": {
        "mean of the halves": (
            (
                "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))",
                "weights = pattern[:, :, everywhere, everywhere - 1].mean(dim=0)\n"
                "    previous_token = "
                "(weights[:, : period - 1].mean(dim=1) + weights[:, period - 1 :].mean(dim=1)) / 2",
            ),
            "average over all positions at once",
        ),
        "boundary left out": (
            (
                "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))",
                "everywhere = everywhere[everywhere != period + 1]\n"
                "    previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))",
            ),
            "real one as well",
        ),
        "BOS counted as previous token": (("torch.arange(2, n)", "torch.arange(1, n)"), "Start at position 2"),
        "previous token in the second half only": (
            ("everywhere, second = torch.arange(2, n)", "everywhere, second = torch.arange(period + 1, n)"),
            "uses both halves",
        ),
        "previous token in the first half only": (
            ("everywhere, second = torch.arange(2, n)", "everywhere, second = torch.arange(2, period + 1)"),
            "only the first half",
        ),
        "the position itself": (
            (PREVIOUS, PREVIOUS.replace("everywhere - 1", "everywhere")),
            "attention to the position itself",
        ),
        "two back": ((PREVIOUS, PREVIOUS.replace("everywhere - 1", "everywhere - 2")), "two positions back"),
        "previous exchanged": (
            (PREVIOUS, PREVIOUS.replace("everywhere, everywhere - 1", "everywhere - 1, everywhere")),
            "Previous-token score: rows look",
        ),
        "previous without the last": (
            ("torch.arange(2, n)", "torch.arange(2, n - 1)"),
            "Previous-token score: the last position",
        ),
        "position 2 missing": (("torch.arange(2, n)", "torch.arange(3, n)"), "position 2 is missing"),
        "scores exchanged": (
            ("return previous_token, duplicate_token", "return duplicate_token, previous_token"),
            "previous-token scores first",
        ),
        "duplicate at the induction offset": (
            (DUPLICATE, DUPLICATE.replace("second - period", "second - period + 1")),
            "that of the induction score",
        ),
        "duplicate one too far": (
            (DUPLICATE, DUPLICATE.replace("second - period", "second - period - 1")),
            "too far back",
        ),
        "duplicate from BOS's place": (
            ("torch.arange(period + 1, n)", "torch.arange(period, n)"),
            "off by one through BOS",
        ),
        "duplicate without the last": (
            ("torch.arange(period + 1, n)", "torch.arange(period + 1, n - 1)"),
            "Duplicate-token score: the last position",
        ),
        "duplicate exchanged": (
            (DUPLICATE, DUPLICATE.replace("second, second - period", "second - period, second")),
            "Duplicate-token score: rows look",
        ),
        "sums": ((PREVIOUS, PREVIOUS.replace("mean(dim=(0, 2))", "sum(dim=(0, 2))")), "these are sums"),
        "first sequence": (
            (DUPLICATE, DUPLICATE.replace("pattern[:, :,", "pattern[:1, :,")),
            "Duplicate-token score: only the first sequence",
        ),
        "one tensor": (("return previous_token, duplicate_token", "return previous_token"), "Return two tensors"),
        "changes the pattern": (
            ("n = 2 * period + 1", "n = 2 * period + 1\n    pattern[..., 0] = 0"),
            "changed its input",
        ),
        "zeros left out": (
            (
                "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))",
                "weights = pattern[:, :, everywhere, everywhere - 1]\n"
                "    previous_token = weights.sum(dim=(0, 2)) / (weights > 0).sum(dim=(0, 2)).clamp(min=1)",
            ),
            "Weights of exactly zero",
        ),
        "divided by all positions": (
            (
                "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=(0, 2))",
                "previous_token = pattern[:, :, everywhere, everywhere - 1].mean(dim=0).sum(dim=1) / n",
            ),
            "number of all positions",
        ),
    },
    "ex4-loss-without": {
        "one head of each layer": (
            (HOOKS, HOOKS.replace("[head for of, head in heads if of == layer]", "[dict(heads)[layer]]")),
            "may have several",
        ),
        "no empty list": (("def silence", "heads[0]\n\n    def silence"), "empty list"),
        "hook returns nothing": (("            return z\n", ""), "Nothing was removed"),
        "a copy is zeroed": ((SILENT, "z.clone()[:, :, mine] = 0"), "Nothing was removed"),
        "union of the layers": (
            (HOOKS, HOOKS.replace("[head for of, head in heads if of == layer]", "[head for _, head in heads]")),
            "each layer needs its own list",
        ),
        "union in every layer": (
            (
                HOOKS,
                HOOKS.replace("[head for of, head in heads if of == layer]", "[head for _, head in heads]").replace(
                    "for layer in layers]", "for layer in range(model.cfg.n_layers)]"
                ),
            ),
            "each layer needs its own list",
        ),
        "late binding": (
            (
                HOOKS,
                "hooks = []\n    for layer in layers:\n        mine = [head for of, head in heads if of == layer]\n"
                "        def hook_function(z, hook):\n"
                "            z = z.clone()\n"
                "            z[:, :, mine] = 0\n"
                "            return z\n"
                '        hooks.append((f"blocks.{layer}.attn.hook_z", hook_function))',
            ),
            "last layer's list",
        ),
        "only the last layer": ((HOOKS, HOOKS + "\n    hooks = hooks[-1:]"), "Only the last layer's"),
        "only the first layer": ((HOOKS, HOOKS + "\n    hooks = hooks[:1]"), "Only the first layer's"),
        "the others removed": (
            (
                HOOKS,
                HOOKS.replace(
                    "[head for of, head in heads if of == layer]",
                    "[h for h in range(model.cfg.n_heads) if (layer, h) not in heads]",
                ),
            ),
            "these kept",
        ),
        "whole layers": ((SILENT, "z[:] = 0"), "Whole layers"),
        "last position only": ((SILENT, "z[:, -1, mine] = 0"), "are all positions set"),
        "second half only": ((SILENT, "z[:, period + 1 :, mine] = 0"), "second half only"),
        "BOS spared": ((SILENT, "z[:, 1:, mine] = 0"), "BOS's position"),
        "mean instead of zero": (
            (SILENT, "z[:, :, mine] = z[:, :, mine].mean(dim=0, keepdim=True)"),
            "mean over the sequences",
        ),
        "head on the position axis": ((SILENT, "z[:, mine] = 0"), "Positions were set to zero"),
        "head on the width axis": ((SILENT, "z[..., mine] = 0"), "A part of every head"),
        "pattern hook": ((HOOKS, HOOKS.replace("hook_z", "hook_pattern")), ""),
        "whole sequence": (("losses[:, period + 1 :].mean()", "losses.mean()"), "whole sequence"),
        "first half": (("losses[:, period + 1 :].mean()", "losses[:, :period].mean()"), "first half's loss"),
        "boundary included": (("losses[:, period + 1 :].mean()", "losses[:, period:].mean()"), "can't be predicted"),
        "one too late": (
            ("losses[:, period + 1 :].mean()", "losses[:, period + 2 :].mean()"),
            "first predictable token",
        ),
        "sum": (("losses[:, period + 1 :].mean()", "losses[:, period + 1 :].sum()"), "This is a sum"),
        "loss of an untouched run": (
            ("logits = model.run_with_hooks(tokens, fwd_hooks=hooks)", "logits = model(tokens)"),
            "Nothing was removed",
        ),
        "hooks left behind": (
            (
                "logits = model.run_with_hooks(tokens, fwd_hooks=hooks)",
                "for name, function in hooks:\n"
                "        model.hook_dict[name].add_hook(function)\n"
                "    logits = model(tokens)",
            ),
            "take them off again",
        ),
        "a few heads only": (
            ("layers =", "heads = heads[:3]\n    layers ="),
            "The loss without two heads of each layer",
        ),
    },
    "ex5-k-composition": {
        "Q-composition": (("W_K @ W_Q.T", "W_Q @ W_K.T"), "Q-composition"),
        "wrong order": (("(writes @ looks).norm()", "(looks @ writes).norm()"), "wrong way round"),
        "query side of the wrong order": (
            ("(writes @ looks).norm()", "(looks.T @ writes).norm()"),
            "has to be transposed",
        ),
        "not normalised": ((COMPOSITION, "return (writes @ looks).norm().item()"), "Not normalised"),
        "one norm": ((COMPOSITION, "return ((writes @ looks).norm() / writes.norm()).item()"), "one of the two norms"),
        "the other norm": (
            (COMPOSITION, "return ((writes @ looks).norm() / looks.norm()).item()"),
            "earlier head's, of W_V W_O, is missing",
        ),
        "spectral norm": (
            (
                COMPOSITION,
                "n = lambda m: torch.linalg.matrix_norm(m, 2)\n"
                "    return (n(writes @ looks) / (n(writes) * n(looks))).item()",
            ),
            "spectral",
        ),
        "squared": (("(writes @ looks).norm() /", "(writes @ looks).norm() ** 2 /"), "squared"),
        "absolute sums": (
            (
                COMPOSITION,
                "n = lambda m: m.abs().sum()\n    return (n(writes @ looks) / (n(writes) * n(looks))).item()",
            ),
            "sums of absolute values",
        ),
        "without W_Q": (("W_K @ W_Q.T", "W_K"), "W_Q is left out"),
        "without W_V": (("W_V @ W_O", "W_O"), "W_V is left out"),
        "four norms": (
            ("(writes.norm() * looks.norm())", "(W_V.norm() * W_O.norm() * W_Q.norm() * W_K.norm())"),
            "four single matrices",
        ),
        "V-composition with W_Q": (("W_K @ W_Q.T", "W_Q @ W_Q.T"), "W_Q meets itself"),
    },
    "ex6-keys-without": {
        "taken away after the norm, normed": (
            (
                STREAM,
                "norm = model.blocks[layer].ln1\n"
                '    stream = norm(cache[f"blocks.{layer}.hook_resid_pre"]) - norm(written)',
            ),
            "normed output was taken away",
        ),
        "a part of b_O": (
            (
                STREAM,
                STREAM.replace("- written", "- written - model.blocks[sender_layer].attn.b_O / model.cfg.n_heads"),
            ),
            "A part of b_O",
        ),
        "nothing taken away": ((STREAM, STREAM.replace(" - written", "")), "nothing was taken away"),
        "queries": ((KEYS, "return stream @ attn.W_Q[head] + attn.b_Q[head]"), "These are queries"),
        "values": ((KEYS, "return stream @ attn.W_V[head] + attn.b_V[head]"), "These are values"),
        "no bias": ((KEYS, "return stream @ attn.W_K[head]"), "b_K is missing"),
        "no norm": ((STREAM, 'stream = cache[f"blocks.{layer}.hook_resid_pre"] - written'), "norm is missing"),
        "after the norm": (
            (STREAM, 'stream = model.blocks[layer].ln1(cache[f"blocks.{layer}.hook_resid_pre"]) - written'),
            "after the norm",
        ),
        "added": ((STREAM, STREAM.replace("- written", "+ written")), "added and not taken away"),
        "whole layer": (
            (
                "written = z @",
                'written = (cache[f"blocks.{sender_layer}.attn.hook_z"] '
                "[..., None, :] @ model.blocks[sender_layer].attn.W_O).sum(dim=(2, 3)) if True else z @",
            ),
            "whole layer of the sender",
        ),
        "sender alone": ((STREAM, "stream = model.blocks[layer].ln1(written)"), "sender's output alone"),
        "sender's number for the keys": ((KEYS, KEYS.replace("[head]", "[sender_head]")), "sender's number was used"),
        "receiver's number for the sender": (
            ("sender_layer, sender_head = sender\n", "sender_layer, sender_head = sender[0], receiver[1]\n"),
            "receiver's number was used",
        ),
        "sender's layer": (
            (STREAM, STREAM.replace('f"blocks.{layer}.hook_resid_pre"', 'f"blocks.{sender_layer}.hook_resid_pre"')),
            "stream of the sender's layer",
        ),
        "changes the cache": (
            (
                STREAM,
                'cache[f"blocks.{layer}.hook_resid_pre"].sub_(written)\n'
                '    stream = model.blocks[layer].ln1(cache[f"blocks.{layer}.hook_resid_pre"])',
            ),
            "changed its input",
        ),
        "norm of the old stream": (
            (
                STREAM,
                'old = cache[f"blocks.{layer}.hook_resid_pre"]\n    old = old - old.mean(dim=-1, keepdim=True)\n'
                "    less = written - written.mean(dim=-1, keepdim=True)\n"
                "    stream = (old - less) / (old.pow(2).mean(dim=-1, keepdim=True) + model.cfg.eps).sqrt()",
            ),
            "scale of the whole stream",
        ),
        "last layer's stream": (
            ('cache[f"blocks.{layer}.hook_resid_pre"]', 'cache[max(name for name in cache if "resid_pre" in name)]'),
            "last layer's stream",
        ),
    },
    "ex7-offset-p-values": {
        "mean of the sequences' p-values": (
            (
                P_VALUES,
                "return torch.stack([offset_p_values(each[None], period) for each in pattern]).mean(dim=0) "
                "if len(pattern) > 1 else " + P_VALUES.removeprefix("return "),
            ),
            "Average the weights over the sequences first",
        ),
        "right offset not counted": ((P_VALUES, P_VALUES.replace(">=", ">")), "AT LEAST"),
        "a count": ((P_VALUES, "return (means >= means[period - 1]).float().sum(dim=0)"), "This is a count"),
        "divided by period": (
            (P_VALUES, "return (means >= means[period - 1]).float().sum(dim=0) / period"),
            "Divided by period",
        ),
        "wrong way round": ((P_VALUES, P_VALUES.replace(">=", "<=")), "wrong way round"),
        "duplicate offset": ((P_VALUES, P_VALUES.replace("period - 1", "period")), "duplicate token"),
        "offset too small": ((P_VALUES, P_VALUES.replace("period - 1", "period - 2")), "one too small"),
        "offset 0 missing": (
            (P_VALUES, "return (means[1:] >= means[period - 1]).float().mean(dim=0)"),
            "Offset 0 is missing",
        ),
        "offset period missing": (("range(period + 1)]", "range(period)]"), "Offset `period` is missing"),
        "BOS": ((SECOND, SECOND.replace("arange(period + 1", "arange(period")), "Off by one through BOS"),
        "last position missing": (
            (SECOND, SECOND.replace("2 * period + 1)", "2 * period)")),
            "last position is missing",
        ),
        "rows and columns exchanged": (("queries, queries - offset]", "queries - offset, queries]"), "exchanged"),
        "first sequence": (("pattern[:, :, queries", "pattern[:1, :, queries"), "Only the first sequence"),
        "scores": ((P_VALUES, "return means[period - 1]"), "These are the scores"),
        "one number": ((P_VALUES, P_VALUES.replace("mean(dim=0)", "mean()")), "shape"),
        "strictly more, plus one": (
            (P_VALUES, "return ((means > means[period - 1]).float().sum(dim=0) + 1) / (period + 1)"),
            "EXACTLY as much",
        ),
        "ties counted as half": (
            (
                P_VALUES,
                "more, equal = means > means[period - 1], means == means[period - 1]\n"
                "    return (more.float() + equal.float() / 2).sum(dim=0).add(0.5) / (period + 1)",
            ),
            "not half",
        ),
        "no attention taken for significant": (
            (
                P_VALUES,
                "p = (means >= means[period - 1]).float().mean(dim=0)\n"
                "    return torch.where(means[period - 1] == 0, torch.full_like(p, 1 / (period + 1)), p)",
            ),
            "no special case",
        ),
        "place in the order": (
            (P_VALUES, "return (period + 1 - means.argsort(dim=0).argsort(dim=0)[period - 1]) / (period + 1)"),
            "offsets get equally much",
        ),
        "the right offset's mean computed differently": (
            (
                P_VALUES,
                "means[period - 1] = pattern[:, :, queries, queries - period + 1].mean(dim=-1).mean(dim=0)\n    "
                + P_VALUES,
            ),
            "what is equal must not differ by rounding",
        ),
    },
}

RIGHT = {
    "ex1-half-losses": {
        "cross entropy": """
def half_losses(logits, tokens, period):
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return [losses[:, :period].mean().item(), losses[:, -(period - 1):].mean().item()]
""",
        "loops": """
def half_losses(logits, tokens, period):
    halves = [[], []]
    for row in range(len(tokens)):
        for position in range(1, 2 * period + 1):
            if position == period + 1:
                continue
            here = logits[row, position - 1].double()
            loss = here.logsumexp(dim=0) - here[tokens[row, position]]
            halves[position > period].append(loss)
    return tuple(torch.stack(half).mean() for half in halves)
""",
    },
    "ex2-induction-score": {
        "diagonal": """
def induction_score(pattern, period):
    return pattern.diagonal(offset=1 - period, dim1=-2, dim2=-1)[..., -period:].mean(-1).mean(0)
""",
        "loop over positions": """
def induction_score(pattern, period):
    total = torch.zeros(pattern.shape[1])
    for query in range(period + 1, pattern.shape[-1]):
        total += pattern[:, :, query, query - period + 1].mean(dim=0)
    return total / period
""",
    },
    "ex3-other-scores": {
        "diagonals": """
def other_scores(pattern, period):
    previous = pattern.diagonal(offset=-1, dim1=-2, dim2=-1)[..., 1:].mean(dim=(0, 2))
    return previous, pattern.diagonal(offset=-period, dim1=-2, dim2=-1)[..., 1:].mean(dim=(0, 2))
""",
        "einsum": """
def other_scores(pattern, period):
    n = pattern.shape[-1]
    before = torch.zeros(n, n)
    first = torch.zeros(n, n)
    for query in range(2, n):
        before[query, query - 1] = 1 / (n - 2)
    for query in range(period + 1, n):
        first[query, query - period] = 1 / period
    return [torch.einsum("bhqk,qk->h", pattern, mask) / len(pattern) for mask in (before, first)]
""",
    },
    "ex4-loss-without": {
        "default arguments": """
def loss_without(model, tokens, heads, period):
    hooks = []
    for layer, head in heads:
        def hook_function(z, hook, head=head):
            z[:, :, head] = 0
            return z
        hooks.append((f"blocks.{layer}.attn.hook_z", hook_function))
    logits = model.run_with_hooks(tokens, fwd_hooks=hooks)
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return losses[:, period + 1:].mean()
""",
        "context and mask": """
def loss_without(model, tokens, heads, period):
    mask = torch.ones(model.cfg.n_layers, model.cfg.n_heads)
    for layer, head in heads:
        mask[layer, head] = 0
    with model.hooks([(f"blocks.{i}.attn.hook_z", lambda z, hook, i=i: z * mask[i][:, None]) \
for i in range(len(mask))]):
        log_probs = model(tokens).log_softmax(dim=-1)
    losses = [-log_probs[row, i - 1, tokens[row, i]] \
for row in range(len(tokens)) for i in range(period + 2, 2 * period + 1)]
    return torch.stack(losses).mean().item()
""",
    },
    "ex5-k-composition": {
        "as in the formula": """
def k_composition(W_V, W_O, W_Q, W_K):
    QK, OV = W_Q @ W_K.T, W_V @ W_O
    return (QK @ OV.T).pow(2).sum().sqrt() / (QK.pow(2).sum().sqrt() * OV.pow(2).sum().sqrt())
""",
        "small products": """
def k_composition(W_V, W_O, W_Q, W_K):
    def size(left, right):
        return ((left.T @ left) * (right @ right.T)).sum().clamp(min=0).sqrt()
    return (size(W_V, W_O @ W_K @ W_Q.T) / (size(W_V, W_O) * size(W_Q, W_K.T))).item()
""",
    },
    "ex6-keys-without": {
        "all heads, then one": """
def keys_without(model, cache, sender, receiver):
    written = torch.einsum("bphe,hed->bphd", cache[f"blocks.{sender[0]}.attn.hook_z"], model.blocks[sender[0]].attn.W_O)
    stream = cache[f"blocks.{receiver[0]}.hook_resid_pre"] - written[:, :, sender[1]]
    block = model.blocks[receiver[0]]
    keys = torch.einsum("bpd,hde->bphe", block.ln1(stream), block.attn.W_K) + block.attn.b_K
    return keys[:, :, receiver[1]]
""",
        "the key module": """
def keys_without(model, cache, sender, receiver):
    z, stream = cache[f"blocks.{sender[0]}.attn.hook_z"], cache[f"blocks.{receiver[0]}.hook_resid_pre"]
    alone = torch.zeros_like(z)
    alone[:, :, sender[1]] = z[:, :, sender[1]]
    written = (alone[..., None] * model.blocks[sender[0]].attn.W_O).sum(dim=(2, 3))
    block = model.blocks[receiver[0]]
    return block.attn.k(block.ln1(stream - written)).unflatten(-1, (model.cfg.n_heads, -1))[:, :, receiver[1]]
""",
    },
    "ex7-offset-p-values": {
        "diagonals": """
def offset_p_values(pattern, period):
    means = [pattern.diagonal(offset=-o, dim1=-2, dim2=-1)[..., -period:].mean(dim=(0, 2)) for o in range(period + 1)]
    return sum((mean >= means[-2]).float() for mean in means) / (period + 1)
""",
        "head by head": """
def offset_p_values(pattern, period):
    p = []
    for head in range(pattern.shape[1]):
        means = []
        for offset in range(period + 1):
            rows = torch.arange(period + 1, pattern.shape[-1])
            means.append(pattern[:, head, rows, rows - offset].mean())
        p.append(sum(mean >= means[period - 1] for mean in means) / len(means))
    return torch.stack(p)
""",
        "sums of masked patterns": """
def offset_p_values(pattern, period):
    position = torch.arange(pattern.shape[-1])
    back = position[:, None] - position
    late = (position > period)[:, None]
    sums = torch.stack([(pattern * ((back == offset) & late)).sum(dim=(0, 2, 3)) for offset in range(period + 1)])
    return (sums >= sums[period - 1]).sum(dim=0) / (period + 1)
""",
        "numbers one by one": """
def offset_p_values(pattern, period):
    p_values = []
    for head in pattern.double().transpose(0, 1).tolist():
        sums = [
            sum(rows[q][q - offset] for rows in head for q in range(period + 1, 2 * period + 1))
            for offset in range(period + 1)
        ]
        p_values.append(sum(value >= sums[period - 1] for value in sums) / len(sums))
    return torch.tensor(p_values)
""",
    },
}
