"""Answers to Lab 2's exercises: wrong ones, each with the hint it must be given, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "02-activation-patching-ioi.ipynb"

WRONG = {
    "ex1-stranger": {
        "capital letters ignored": (('\\b", text)', '\\b", text, re.IGNORECASE)'), "Capital letters matter"),
        "spaces lost": (
            ('text = sample["clean"]', 'text = " ".join(sample["clean"].split())'),
            "Spaces and line breaks",
        ),
        "only names between spaces": (
            (r'rf"\b{re.escape(subject)}\b"', r'rf"(?<= ){re.escape(subject)}(?= )"'),
            "No second",
        ),
        "first mention instead of second": (("text))[1]", "text))[0]"), "first mention"),
        "last mention instead of second": (("text))[1]", "text))[-1]"), "more than twice"),
        "all mentions": (
            (
                "return text[: second.start()] + stranger + text[second.end() :]",
                "return text.replace(subject, stranger)",
            ),
            "Both mentions",
        ),
        "indirect object replaced": (
            (
                'subject, indirect_object = sample["wrong_answer"].strip(), sample["answer"].strip()',
                'subject, indirect_object = sample["wrong_answer"].strip(), sample["answer"].strip()\n'
                "    if stranger not in (subject, indirect_object):\n"
                '        return sample["clean"].replace(indirect_object, stranger, 1)',
            ),
            "indirect object",
        ),
        "space kept in the name": (
            (
                'subject, indirect_object = sample["wrong_answer"].strip(), sample["answer"].strip()',
                'subject, indirect_object = sample["wrong_answer"], sample["answer"].strip()',
            ),
            "No second",
        ),
        "parts of other words found": (
            (r'list(re.finditer(rf"\b{re.escape(subject)}\b", text))', "list(re.finditer(re.escape(subject), text))"),
            "part of another word",
        ),
        "last occurrence as text": (
            (
                "return text[: second.start()] + stranger + text[second.end() :]",
                "return stranger.join(text.rsplit(subject, 1))",
            ),
            "replace the second whole word",
        ),
        "no error for a known name": (("if stranger in (subject, indirect_object):", "if False:"), "raise ValueError"),
        "error only for the subject": (
            ("if stranger in (subject, indirect_object):", "if stranger == subject:"),
            "raise ValueError",
        ),
        "error only for the indirect object": (
            ("if stranger in (subject, indirect_object):", "if stranger == indirect_object:"),
            "raise ValueError",
        ),
        "corrupted prompt": (
            (
                "return text[: second.start()] + stranger + text[second.end() :]",
                "return text[: second.start()] + indirect_object + text[second.end() :]",
            ),
            "The indirect object stands there now",
        ),
        "two spaces": (("+ stranger +", '+ " " + stranger +'), "two spaces"),
        "unchanged": (
            ("return text[: second.start()] + stranger + text[second.end() :]", "return text"),
            "Nothing was replaced",
        ),
        "changes the sample": (('text = sample["clean"]', 'text = sample.pop("clean")'), "changed its input"),
        "only up to the stranger": (
            ("+ stranger + text[second.end() :]", "+ stranger"),
            "What follows the name is missing",
        ),
        "a part of the subject refused": (
            ("if stranger in (subject, indirect_object):", "if stranger in subject or stranger == indirect_object:"),
            "only if the stranger IS",
        ),
        "an extension of the subject refused": (
            ("if stranger in (subject, indirect_object):", "if subject in stranger or stranger == indirect_object:"),
            "only if the stranger IS",
        ),
        "any word of the text refused": (
            (
                "if stranger in (subject, indirect_object):",
                'if stranger in (subject, indirect_object) or stranger in re.findall(r"\\w+", sample["clean"]):',
            ),
            "only if the stranger IS",
        ),
        "names without accents only": (('\\b", text)', '\\b", text, re.ASCII)'), "have accents"),
        "names without a possessive only": (
            (
                'list(re.finditer(rf"\\b{re.escape(subject)}\\b", text))',
                'list(re.finditer(rf"\\b{re.escape(subject)}\\b(?!\')", text))',
            ),
            "followed by a comma or",
        ),
    },
    "ex2-normalised-effect": {
        "error by the first prompt": (("if span <= 0:", "if clean[0] <= corrupted[0]:"), ""),
        "clamped at two": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return min(2.0, max(-2.0, (patched.mean() - corrupted.mean()).item() / span))",
            ),
            "large effect",
        ),
        "mean of ratios": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return ((patched - corrupted) / (clean - corrupted)).mean().item()",
            ),
            "each prompt's own ratio",
        ),
        "clean and corrupted exchanged": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return (clean.mean() - patched.mean()).item() / span",
            ),
            "exchanged",
        ),
        "sign flipped": (
            ("return (patched.mean() - corrupted.mean())", "return (corrupted.mean() - patched.mean())"),
            "sign",
        ),
        "clamped": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return min(1.0, max(0.0, (patched.mean() - corrupted.mean()).item() / span))",
            ),
            "clamped",
        ),
        "clamped above only": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return min(1.0, (patched.mean() - corrupted.mean()).item() / span)",
            ),
            "clamped",
        ),
        "divided by clean": (("/ span", "/ clean.mean().item()"), "clean value alone"),
        "patched over clean": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return (patched.mean() / clean.mean()).item()",
            ),
            "patched / clean",
        ),
        "not divided": (("/ span", ""), "change in logits"),
        "absolute value": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return abs((patched.mean() - corrupted.mean()).item() / span)",
            ),
            "absolute value",
        ),
        "no error": (("if span <= 0:", "if False:"), "raise ValueError"),
        "error only if worse": (("if span <= 0:", "if span < 0:"), "raise ValueError"),
        "error if any prompt is worse": (
            ("if span <= 0:", "if (clean <= corrupted).any():"),
            "stopped with ValueError",
        ),
        "error for small differences": (("if span <= 0:", "if span <= 0.5:"), "stopped with ValueError"),
        "one effect a prompt": (
            ("return (patched.mean() - corrupted.mean()).item() / span", "return (patched - corrupted) / span"),
            "one number",
        ),
        "absolute difference below": (
            (
                "span = (clean.mean() - corrupted.mean()).item()\n",
                "span = abs((clean.mean() - corrupted.mean()).item())\n",
            ),
            "raise ValueError",
        ),
        "median": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return ((patched.median() - corrupted.median()) / (clean.median() - corrupted.median())).item()",
            ),
            "median",
        ),
        "first prompt only": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "return ((patched[0] - corrupted[0]) / (clean[0] - corrupted[0])).item()",
            ),
            "first prompt",
        ),
        "probabilities of the two names": (
            (
                "return (patched.mean() - corrupted.mean()).item() / span",
                "p, c, k = (x.sigmoid().mean() for x in (patched, clean, corrupted))\n"
                "    return ((p - k) / (c - k)).item()",
            ),
            "differs from the expected",
        ),
        "zero instead of an error": (
            (
                'raise ValueError("the clean prompts do no better than the corrupted ones: the effect is undefined")',
                "return 0.0",
            ),
            "raise ValueError",
        ),
    },
    "ex3-patch-cell": {
        "hook left on the model": (
            (
                "logits = model.run_with_hooks(base, fwd_hooks=hooks)",
                "model.add_hook(name, put_in)\n    logits = model(base)",
            ),
            "",
        ),
        "directions swapped": (('direction == "denoising"', 'direction == "noising"'), "the other direction"),
        "always denoising": (('direction == "denoising"', "True"), "This is the other direction"),
        "one position too early through BOS": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, position - 1] = cache[name][:, position - 1]"),
            "the position before",
        ),
        "one position too late": (
            (
                "resid[:, position] = cache[name][:, position]",
                "p = min(position + 1, resid.shape[1] - 1)\n        resid[:, p] = cache[name][:, p]",
            ),
            "the position after",
        ),
        "activation returned unchanged": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, position] = resid[:, position]"),
            "The patch did nothing",
        ),
        "hook returns nothing": (("        return resid\n", ""), "The patch did nothing"),
        "all positions": (
            ("resid[:, position] = cache[name][:, position]", "resid[:] = cache[name]"),
            "Do you patch all positions",
        ),
        "batch index instead of position": (
            (
                "resid[:, position] = cache[name][:, position]",
                "resid[position % len(resid)] = cache[name][position % len(resid)]",
            ),
            "the first axis is the batch",
        ),
        "after the layer": (("hook_resid_pre", "hook_resid_post"), "after the layer"),
        "next layer": (
            ('f"blocks.{layer}.', 'f"blocks.{min(layer + 1, model.cfg.n_layers - 1)}.'),
            "before the next one",
        ),
        "first layer always": (('f"blocks.{layer}.', 'f"blocks.{0 * layer}.'), "the first one whatever"),
        "mean over prompts": (
            ("return pair_differences(logits, pairs)", "return pair_differences(logits, pairs).mean()"),
            "not a mean",
        ),
        "source runs on the base prompts": (
            ("model.run_with_cache(source", "model.run_with_cache(base"),
            "other prompts than those that run",
        ),
        "base runs on the source prompts": (
            ("model.run_with_hooks(base", "model.run_with_hooks(source"),
            "on the prompts that the activation comes from",
        ),
        "answers exchanged": (
            (
                "return pair_differences(logits, pairs)",
                "return compute_logit_diff(logits, pairs.wrong_answers, pairs.answers, per_prompt=True)",
            ),
            "answer minus wrong answer",
        ),
        "only the first prompt": (
            ("resid[:, position] = cache[name][:, position]", "resid[0, position] = cache[name][0, position]"),
            "Only the first prompt is patched",
        ),
        "first prompt's activation for all": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, position] = cache[name][:1, position]"),
            "each gets its own",
        ),
        "added instead of replaced": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, position] += cache[name][:, position]"),
            "put it in its place",
        ),
        "earlier positions too": (
            (
                "resid[:, position] = cache[name][:, position]",
                "resid[:, : position + 1] = cache[name][:, : position + 1]",
            ),
            "up to this one",
        ),
        "later positions too": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, position:] = cache[name][:, position:]"),
            "from this one on",
        ),
        "last position always": (
            ("resid[:, position] = cache[name][:, position]", "resid[:, -1] = cache[name][:, -1]"),
            "the last position, whatever",
        ),
        "attention's output instead of the stream": (("hook_resid_pre", "hook_attn_out"), "what attention writes"),
        "softmax instead of logits": (
            ("pair_differences(logits,", "pair_differences(logits.softmax(dim=-1),"),
            "leave out the softmax",
        ),
        "log-probabilities of the answer": (
            (
                "return pair_differences(logits, pairs)",
                "return logits[:, -1].log_softmax(-1).gather(1, pairs.answers[:, None])[:, 0]",
            ),
            "log-probability",
        ),
        "normalised": (
            (
                "return pair_differences(logits, pairs)",
                "k, c = (pair_differences(model(tokens), pairs) for tokens in (pairs.corrupted, pairs.clean))\n"
                "    return (pair_differences(logits, pairs) - k) / (c - k)",
            ),
            "normalised effects",
        ),
        "first position's logits": (
            ("pair_differences(logits,", "pair_differences(logits[:, :1],"),
            "at the first position",
        ),
        "layers beyond the second": (('f"blocks.{layer}.', 'f"blocks.{min(layer, 1)}.'), "the one before"),
    },
    "ex4-copying-score": {
        "ties counted as half": (
            (
                "beaten = logits < logits.diagonal()[:, None]",
                "own = logits.diagonal()[:, None]\n    beaten = (logits < own).float() + (logits == own).float() / 2\n"
                "    beaten = beaten - 0.5 * torch.eye(len(names))",
            ),
            "A tie is no win",
        ),
        "head modulo value heads": (("head // (len(W_O) // len(W_V))", "head % len(W_V)"), "h % n_key_value_heads"),
        "value head 0": (("head // (len(W_O) // len(W_V))", "0"), "Value head 0"),
        "head as value head": (("head // (len(W_O) // len(W_V))", "head"), "which has fewer heads than W_O"),
        "group size mixed up": (("head // (len(W_O) // len(W_V))", "head // len(W_V)"), ""),
        "output matrix of the value head": (("W_O[head]", "W_O[value_head]"), "value head's number"),
        "sign flipped": (("beaten = logits <", "beaten = logits >"), "BEATS"),
        "whole vocabulary": (
            (
                "logits = (stream @ W_V[value_head] @ W_O[head] @ W_U)[:, names]\n"
                "    beaten = logits < logits.diagonal()[:, None]\n"
                "    return (beaten.sum(dim=1) / (len(names) - 1)).mean().item()",
                "logits = stream @ W_V[value_head] @ W_O[head] @ W_U\n    own = logits.gather(1, names[:, None])\n"
                "    return ((logits < own).sum(dim=1) / (logits.shape[1] - 1)).mean().item()",
            ),
            "whole vocabulary",
        ),
        "divided by all names": (("(len(names) - 1)", "len(names)"), "OTHER names"),
        "itself counted as beaten": (("beaten = logits <", "beaten = logits <="), "strictly smaller"),
        "hit rate": (
            (
                "return (beaten.sum(dim=1) / (len(names) - 1)).mean().item()",
                "return (logits.argmax(dim=1) == torch.arange(len(names))).float().mean().item()",
            ),
            "comes first",
        ),
        "columns instead of rows": (
            (
                "beaten = logits < logits.diagonal()[:, None]\n    return (beaten.sum(dim=1)",
                "beaten = logits < logits.diagonal()[None]\n    return (beaten.sum(dim=0)",
            ),
            "down the columns",
        ),
        "count instead of share": (
            ("(beaten.sum(dim=1) / (len(names) - 1)).mean()", "beaten.sum(dim=1).float().mean()"),
            "count",
        ),
        "one score a name": ((".mean().item()", ""), "not one for each name"),
        "names forgotten": ((")[:, names]", ")[:, : len(names)]"), "first names of the vocabulary"),
        "unembedding forgotten": (
            (
                "(stream @ W_V[value_head] @ W_O[head] @ W_U)[:, names]",
                "stream @ W_V[value_head] @ W_O[head] @ stream.T",
            ),
            "",
        ),
        "output before value": (("W_V[value_head] @ W_O[head] @", "W_O[head].T @ W_V[value_head].T @"), ""),
        "softmax of the scores": (
            ("beaten = logits <", "logits = logits.softmax(dim=1).round(decimals=2)\n    beaten = logits <"),
            "",
        ),
        "changes the unembedding once": (
            (
                "    value_head =",
                "    others = torch.ones(W_U.shape[1], dtype=torch.bool)\n    others[names] = False\n"
                "    W_U[:, others] = 0\n    value_head =",
            ),
            "changed its input",
        ),
        "a lead by little counts as a tie": (("beaten = logits <", "beaten = logits + 1e-3 <"), "wins by little"),
        "a text": (("return (beaten", "return 'score' or (beaten"), "Return one number"),
        "never fewer than two others": (("(len(names) - 1)", "max(len(names) - 1, 2)"), "OTHER names"),
    },
    "ex5-keep-only": {
        "z itself where nothing is replaced": (("new = z.clone()", "new = z.clone() if others else z"), "NEW tensor"),
        "numbers of another type": (("return new", "return new.double()"), "type of number"),
        "kept and replaced exchanged": (("if head not in heads", "if head in heads"), "others kept"),
        "position 0 replaced": (
            ("new[:, 1:, others] = means[1:, others]", "new[:, :, others] = means[:, others]"),
            "Position 0",
        ),
        "zero instead of the mean": (("= means[1:, others]", "= 0"), "set to zero"),
        "first position's mean": (("= means[1:, others]", "= means[:1, others]"), "first position's mean"),
        "mean over positions": (("= means[1:, others]", "= means.mean(dim=0)[others]"), "averaged over positions"),
        "means of the batch": (("= means[1:, others]", "= z.mean(dim=0)[1:, others]"), "means of this batch"),
        "heads on the position axis": (
            (
                "new[:, 1:, others] = means[1:, others]",
                "for p in range(z.shape[1]):\n        if p not in heads:\n            new[:, p] = means[p]",
            ),
            "mixed up",
        ),
        "all heads": (("if head not in heads", ""), "the kept ones too"),
        "changes z": (("new = z.clone()", "new = z"), "changed its input"),
        "means shifted by one": (("= means[1:, others]", "= means[:-1, others]"), "too early"),
        "added": (("new[:, 1:, others] = means", "new[:, 1:, others] += means"), "added"),
        "unchanged": (("    new[:, 1:, others] = means[1:, others]\n", ""), "Nothing was replaced"),
        "only the last position": (
            ("new[:, 1:, others] = means[1:, others]", "new[:, -1, others] = means[-1, others]"),
            "last position",
        ),
        "first kept head only": (("if head not in heads", "if head not in heads[:1]"), "differs from the expected"),
        "last head forgotten": (("range(z.shape[2])", "range(z.shape[2] - 1)"), ""),
        "only the first prompt": (("new[:, 1:, others]", "new[0, 1:, others]"), "Only the first prompt is changed"),
        "number of heads from the means' first axis": (("range(z.shape[2])", "range(len(means))"), ""),
        "nothing kept means nothing done": (
            ("new = z.clone()", "new = z.clone()\n    if not heads:\n        return new"),
            "Nothing was replaced",
        ),
        "last position kept": (
            ("new[:, 1:, others] = means[1:, others]", "new[:, 1:-1, others] = means[1:-1, others]"),
            "last position",
        ),
        "heads counted": (
            ("new = z.clone()", "new = z.clone()\n    if len(heads) >= z.shape[2]:\n        return new"),
            "Nothing was replaced",
        ),
    },
    "ex6-held-out-faithfulness": {
        "prompts where the model is wrong left out": (
            ("held_out = ~found_on", "held_out = ~found_on & (full > 0)"),
            "All held-out prompts count",
        ),
        "on the prompts used to find it": (
            ("held_out = ~found_on", "held_out = found_on"),
            "on which the circuit was found",
        ),
        "on all prompts": (
            ("circuit[held_out].mean() / full[held_out].mean()", "circuit.mean() / full.mean()"),
            "all prompts",
        ),
        "upside down": (
            ("circuit[held_out].mean() / full[held_out].mean()", "full[held_out].mean() / circuit[held_out].mean()"),
            "upside down",
        ),
        "mean of ratios": (
            ("circuit[held_out].mean() / full[held_out].mean()", "(circuit[held_out] / full[held_out]).mean()"),
            "mean of ratios",
        ),
        "clamped": (
            (
                "(circuit[held_out].mean() / full[held_out].mean()).item()",
                "(circuit[held_out].mean() / full[held_out].mean()).clamp(0, 1).item()",
            ),
            "clamped",
        ),
        "difference": (("circuit[held_out].mean() / full", "circuit[held_out].mean() - full"), "difference"),
        "one minus": (("return (circuit", "return 1 - (circuit"), "one minus"),
        "full over all prompts": (("full[held_out].mean()", "full.mean()"), "whole model's mean"),
        "no error": (("if not held_out.any():", "if False:"), "raise ValueError"),
        "share of positive prompts": (
            (
                "(circuit[held_out].mean() / full[held_out].mean()).item()",
                "(circuit[held_out] > 0).float().mean().item()",
            ),
            "positive",
        ),
        "one ratio a prompt": (
            ("(circuit[held_out].mean() / full[held_out].mean()).item()", "circuit[held_out] / full[held_out]"),
            "one number",
        ),
        "first half taken as found": (
            ("held_out = ~found_on", "held_out = torch.arange(len(full)) >= len(full) // 2"),
            "need not be the first half",
        ),
        "absolute value": (("return (circuit", "return abs(circuit"), "absolute value; a circuit"),
        "error if nothing was used before": (
            ("if not held_out.any():", "if held_out.all() or not held_out.any():"),
            "stopped with ValueError",
        ),
        "an error where the model is wrong on average": (
            (
                "    return (circuit",
                "    if full[held_out].mean() <= 0:\n        raise ValueError('wrong')\n    return (circuit",
            ),
            "stopped with ValueError",
        ),
        "absolute value below": (("full[held_out].mean())", "full[held_out].mean().abs())"), "The sign is lost"),
        "clamped far away": ((".item()", ".clamp(-10, 10).item()"), "hardly tells the names apart"),
    },
    "ex7-permutation-p-value": {
        "heads moved round instead of shuffled": (
            (
                "row[torch.randperm(len(row), generator=generator)]",
                "row.roll(int(torch.randint(len(row), (1,), generator=generator)))",
            ),
            "",
        ),
        "at least one instead of one more": (("(1 + count) / (1", "max(1, count) / (1"), "1 + count"),
        "prompts mixed": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "shuffled = effects.flatten()[torch.randperm(effects.numel(), generator=generator)].view_as(effects)",
            ),
            "",
        ),
        "one shuffle for all prompts": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "shuffled = effects[:, torch.randperm(effects.shape[1], generator=generator)]",
            ),
            "on its own",
        ),
        "prompts shuffled": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "shuffled = effects[torch.randperm(len(effects), generator=generator)]",
            ),
            "on its own",
        ),
        "plus one forgotten": (("(1 + count) / (1 + n_shuffles)", "count / n_shuffles"), "count as one shuffle"),
        "plus one above only": (("(1 + count) / (1 + n_shuffles)", "(1 + count) / n_shuffles"), "1 + n_shuffles"),
        "plus one below only": (("(1 + count) / (1 + n_shuffles)", "count / (1 + n_shuffles)"), "count as one shuffle"),
        "comparison upside down": (
            ("rank_agreement(shuffled) >= observed", "rank_agreement(shuffled) <= observed"),
            "on its own",
        ),
        "one minus": (("return (1 + count)", "return 1 - (1 + count)"), ""),
        "two-sided": (
            ("rank_agreement(shuffled) >= observed", "abs(rank_agreement(shuffled)) >= abs(observed)"),
            "disagree",
        ),
        "largest mean instead of agreement": (
            """
def permutation_p_value(effects, n_shuffles, seed):
    generator = torch.Generator().manual_seed(seed)
    observed, count = effects.mean(dim=0).abs().max(), 0
    for _ in range(n_shuffles):
        shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])
        count += int(shuffled.mean(dim=0).abs().max() >= observed)
    return (1 + count) / (1 + n_shuffles)
""",
            "Use rank_agreement",
        ),
        "new generator in every round": (
            (
                "shuffled = torch.stack(",
                "generator = torch.Generator().manual_seed(seed)\n        shuffled = torch.stack(",
            ),
            "",
        ),
        "same shuffle for every prompt of a round": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "order = torch.randperm(effects.shape[1], generator=generator)\n"
                "        shuffled = torch.stack([row[order] for row in effects])",
            ),
            "on its own",
        ),
        "no seed": ((", generator=generator", ""), "second time"),
        "seed fixed": (("manual_seed(seed)", "manual_seed(0)"), "seed"),
        "signs flipped instead of heads shuffled": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "shuffled = effects * (2 * torch.randint(2, (len(effects), 1), generator=generator) - 1)",
            ),
            "",
        ),
        "shuffles of shuffles with the data changed": (
            (
                "shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in effects])",
                "for row in effects:\n"
                "            row[:] = row[torch.randperm(len(row), generator=generator)]\n"
                "        shuffled = effects",
            ),
            "changed its input",
        ),
        "drawn with replacement": (
            (
                "torch.randperm(len(row), generator=generator)",
                "torch.randint(len(row), (len(row),), generator=generator)",
            ),
            "without replacement",
        ),
        "first prompt only is shuffled": (("for row in effects])", "for row in effects[:1]] + list(effects[1:]))"), ""),
        "ties forgiven": ((">= observed", "> observed"), "count as well"),
    },
}

RIGHT = {
    "ex1-stranger": {
        "pieces": """
def with_stranger(sample, stranger):
    s = sample["wrong_answer"][1:]
    if f" {stranger}" in (sample["wrong_answer"], sample["answer"]):
        raise ValueError(f"{stranger} is no stranger")
    words = re.split(r"(\\W)", sample["clean"])
    places = [i for i, word in enumerate(words) if word == s]
    words[places[1]] = stranger
    return "".join(words)
""",
        "substitution that counts": """
def with_stranger(sample, stranger):
    s, io = sample["wrong_answer"].strip(), sample["answer"].strip()
    if stranger == s or stranger == io:
        raise ValueError("a third name")
    seen = []
    def change(match):
        seen.append(match)
        return stranger if len(seen) == 2 else match.group()
    return re.sub(rf"\\b{re.escape(s)}\\b", change, sample["clean"])
""",
    },
    "ex2-normalised-effect": {
        "weighted": """
def normalised_effect(patched, clean, corrupted):
    p, c, k = (x.double().mean().item() for x in (patched, clean, corrupted))
    if not c > k:
        raise ValueError("clean is no better")
    return p / (c - k) - k / (c - k)
""",
        "sums and a tensor": """
def normalised_effect(patched, clean, corrupted):
    if clean.sum() <= corrupted.sum():
        raise ValueError("undefined")
    return (patched - corrupted).sum() / (clean - corrupted).sum()
""",
    },
    "ex3-patch-cell": {
        "in place in the hook": """
def patch_cell(model, pairs, layer, position, direction):
    noising = direction == "noising"
    base = pairs.clean if noising else pairs.corrupted
    source = pairs.corrupted if noising else pairs.clean
    name = f"blocks.{layer}.hook_resid_pre"
    kept = {}
    model.run_with_hooks(source, fwd_hooks=[(name, lambda value, hook: kept.update(there=value.clone()))])
    def overwrite(value, hook):
        value[:, position, :] = kept["there"][:, position, :]
        return value
    logits = model.run_with_hooks(base, fwd_hooks=[(name, overwrite)])
    return torch.stack([row[a] - row[w] for row, a, w in zip(logits[:, -1], pairs.answers, pairs.wrong_answers)])
""",
        "helper that warns, and torch.where": """
def patch_cell(model, pairs, layer, position, direction):
    import warnings
    runs = {"denoising": (pairs.corrupted, pairs.clean), "noising": (pairs.clean, pairs.corrupted)}
    base, source = runs[direction]
    _, cache = model.run_with_cache(source)
    there = cache["resid_pre", layer]
    def hook_function(value, hook):
        here = torch.arange(value.shape[1])[None, :, None] == position
        return torch.where(here, there, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = run_with_hooks(model, base, [(f"blocks.{layer}.hook_resid_pre", hook_function)])
    last, rows = logits[:, -1], torch.arange(len(base))
    return last[rows, pairs.answers] - last[rows, pairs.wrong_answers]
""",
    },
    "ex4-copying-score": {
        "values expanded": """
def copying_score(stream, names, W_V, W_O, W_U, head):
    W_V = W_V.repeat_interleave(W_O.shape[0] // W_V.shape[0], dim=0)
    among = stream @ (W_V[head] @ W_O[head]) @ W_U[:, names]
    own = torch.diag(among).unsqueeze(1)
    return float((own > among).float().sum() / (len(names) * (len(names) - 1)))
""",
        "loops": """
def copying_score(stream, names, W_V, W_O, W_U, head):
    group = W_O.shape[0] // W_V.shape[0]
    total = 0.0
    for i, name in enumerate(names.tolist()):
        out = (stream[i] @ W_V[head // group]) @ W_O[head]
        own = out @ W_U[:, name]
        others = [n for n in names.tolist() if n != name]
        total += sum((out @ W_U[:, n] < own).item() for n in others) / len(others)
    return total / len(names)
""",
    },
    "ex5-keep-only": {
        "from the means": """
def keep_only(z, means, heads):
    new = means.unsqueeze(0).repeat(len(z), 1, 1, 1)
    new[:, 0] = z[:, 0]
    for head in heads:
        new[:, :, head] = z[:, :, head]
    return new
""",
        "mask": """
def keep_only(z, means, heads):
    keep = torch.zeros(z.shape[1], z.shape[2], dtype=torch.bool)
    keep[0] = True
    keep[:, heads] = True
    return torch.where(keep[None, :, :, None], z, means[None])
""",
        "selected with where": """
def keep_only(z, means, heads):
    keep = torch.zeros(z.shape[1], z.shape[2], 1, dtype=torch.bool)
    keep[0] = True
    for head in heads:
        keep[:, head] = True
    return torch.where(keep, z, means.to(z.dtype))
""",
    },
    "ex6-held-out-faithfulness": {
        "lists": """
def held_out_faithfulness(circuit, full, found_on):
    kept = [(c, f) for c, f, used in zip(circuit.tolist(), full.tolist(), found_on.tolist()) if not used]
    if len(kept) == 0:
        raise ValueError("no held-out prompt")
    return sum(c for c, _ in kept) / sum(f for _, f in kept)
""",
        "sums": """
def held_out_faithfulness(circuit, full, found_on):
    if found_on.all():
        raise ValueError("nothing held out")
    return circuit[found_on == False].sum() / full[found_on == False].sum()
""",
    },
    "ex7-permutation-p-value": {
        "first row left as it is": """
def permutation_p_value(effects, n_shuffles, seed):
    torch.manual_seed(seed)
    observed, at_least = rank_agreement(effects), 1
    for _ in range(n_shuffles):
        rows = [effects[0]] + [row[torch.randperm(row.numel())] for row in effects[1:]]
        at_least += int(rank_agreement(torch.stack(rows)) >= observed)
    return at_least / (n_shuffles + 1)
""",
        "argsort of random numbers": """
def permutation_p_value(effects, n_shuffles, seed):
    generator = torch.Generator().manual_seed(seed + 100)
    agreements = [
        rank_agreement(effects.gather(1, torch.rand(effects.shape, generator=generator).argsort(dim=1)))
        for _ in range(n_shuffles)
    ]
    return (1 + sum(a >= rank_agreement(effects) for a in agreements)) / (n_shuffles + 1)
""",
        "the first prompt as it is": """
def permutation_p_value(effects, n_shuffles, seed):
    generator = torch.Generator().manual_seed(seed)
    count = 1
    for _ in range(n_shuffles):
        shuffled = [effects[0], *(row[torch.rand(len(row), generator=generator).argsort()] for row in effects[1:])]
        count += int(rank_agreement(torch.stack(shuffled)) >= rank_agreement(effects))
    return torch.tensor(count / (n_shuffles + 1))
""",
    },
}
