"""Answers to extension 8's exercises: wrong ones, each with the hint it must get, and right ones, written differently.

An answer is either a pair of texts (replace the first by the second in the solution) or the whole source of a cell.
"""

NOTEBOOK = "08-selfie-adapters.ipynb"

INSERTED = "return torch.where(is_placeholder[None, :, None], soft[:, None, :], prompt_embeddings)"
DIRECTION = "direction = x / x.norm(dim=-1, keepdim=True)"
ADAPTED = "return log_scale.exp() * direction + direction @ U @ V.T + bias"
SAID = "said = logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)"
PLACE = "place = torch.arange(1, ids.shape[1], device=ids.device)"
IS_LABEL = "is_label = (place >= n_prompt) & (place < n_prompt + n_label[:, None])"
LOSS = "return -(said * is_label).sum(dim=1) / n_label"
BEGUN = "group, first = list(range(len(labels))), {}"
MINE = "for label in mine:"
OTHER = 'other = first.setdefault(" ".join(label.lower().split()), feature)'
TEXT = '" ".join(label.lower().split())'
MEET = "kept, gone = group[other], group[feature]"
MOVED = "group = [kept if each == gone else each for each in group]"
ORDER = "order = list(dict.fromkeys(group))"
NUMBERS = "return [order.index(each) for each in group]"
DIFFERENCE = "difference = active[..., :, None] - silent[..., None, :]"
AUROC = "auroc = ((difference.sign() + 1) / 2).mean(dim=(-2, -1))"
OWN = "own = auroc.diagonal()"
SCORES = "return own, (auroc.sum(dim=0) - own) / (len(auroc) - 1)"


def where(condition: str) -> str:
    """An answer to exercise 1 that replaces other positions."""
    return INSERTED.replace("is_placeholder[None, :, None]", condition)


def parents(join: str, at_end: str = "parent") -> str:
    """An answer to exercise 4 that hangs roots below roots, and numbers what `at_end` says."""
    return (
        "def groups_of(labels):\n"
        "    parent, first = list(range(len(labels))), {}\n"
        "    def root(i):\n        return i if parent[i] == i else root(parent[i])\n"
        "    for feature, mine in enumerate(labels):\n        for label in mine:\n"
        f"            other = first.setdefault({TEXT}, feature)\n            {join}\n"
        f"    found = {at_end}\n    order = list(dict.fromkeys(found))\n"
        "    return [order.index(each) for each in found]\n"
    )


def mixed(difference: str) -> str:
    """The end of an answer to exercise 5 whose control compares other contexts."""
    return (
        "own_active, own_silent = active.diagonal().T, silent.diagonal().T\n"
        f"    auroc = ((({difference}).sign() + 1) / 2).mean(dim=(-2, -1))\n    {SCORES}"
    )


WRONG = {
    "ex1-insert": {
        "first only": (
            (
                INSERTED,
                "first = is_placeholder & (is_placeholder.cumsum(0) == 1)\n    " + where("first[None, :, None]"),
            ),
            "Only the first placeholder",
        ),
        "by argmax": (
            (
                INSERTED,
                "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n"
                "    rows[:, is_placeholder.int().argmax()] = soft\n    return rows",
            ),
            "Only the first placeholder",
        ),
        "last only": (
            (
                INSERTED,
                "last = is_placeholder & (is_placeholder.cumsum(0) == is_placeholder.sum())\n    "
                + where("last[None, :, None]"),
            ),
            "Only the last placeholder",
        ),
        "two only": (
            (
                INSERTED,
                "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n"
                "    for place in is_placeholder.nonzero()[:2, 0]:\n        rows[:, place] = soft\n    return rows",
            ),
            "Only two placeholders",
        ),
        "added": (
            (INSERTED, "return prompt_embeddings + is_placeholder[None, :, None] * soft[:, None, :]"),
            "is added to the placeholder",
        ),
        "exchanged": ((INSERTED, where("~is_placeholder[None, :, None]")), "the wrong way round"),
        "arguments of where exchanged": (
            (INSERTED, "return torch.where(is_placeholder[None, :, None], prompt_embeddings, soft[:, None, :])"),
            "the wrong way round",
        ),
        "in place": (
            (
                INSERTED,
                "rows = []\n    for each in soft:\n        prompt_embeddings[is_placeholder] = each\n"
                "        rows.append(prompt_embeddings.clone())\n    return torch.stack(rows)",
            ),
            "changed its input",
        ),
        "one tensor many times": (
            (
                INSERTED,
                "rows, prompt = [], prompt_embeddings.clone()\n    for each in soft:\n"
                "        prompt[is_placeholder] = each\n        rows.append(prompt)\n    return torch.stack(rows)",
            ),
            "Every copy gets the last soft token",
        ),
        "first for all": (
            (INSERTED, INSERTED.replace("soft[:, None, :]", "soft[:1, None, :].expand(len(soft), 1, -1)")),
            "Every copy gets the first soft token",
        ),
        "mean": (
            (INSERTED, INSERTED.replace("soft[:, None, :]", "soft.mean(dim=0).expand(len(soft), 1, -1)")),
            "mean of the soft tokens",
        ),
        "dealt": (
            (
                INSERTED,
                "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n"
                "    for k, place in enumerate(is_placeholder.nonzero()[:, 0]):\n"
                "        rows[:, place] = soft[k % len(soft)]\n    return rows",
            ),
            "one after another",
        ),
        "broadcast by assignment": (
            (
                INSERTED,
                "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n    rows[:, is_placeholder] = soft\n    return rows",
            ),
            "your function stops",
        ),
        "zeros elsewhere": ((INSERTED, "return is_placeholder[None, :, None] * soft[:, None, :]"), "zeros stand"),
        "everything replaced": (
            (INSERTED, "return soft[:, None, :].expand(-1, len(prompt_embeddings), -1)"),
            "Every position is replaced",
        ),
        "nothing replaced": ((INSERTED, "return prompt_embeddings.repeat(len(soft), 1, 1)"), "Nothing is replaced"),
        "copies second": ((INSERTED, INSERTED + ".transpose(0, 1)"), "Copies come first"),
        "squeezed": ((INSERTED, INSERTED + ".squeeze()"), "bare `.squeeze()`"),
        "at the end": (
            (
                INSERTED,
                "rows = prompt_embeddings[~is_placeholder].expand(len(soft), -1, -1)\n"
                "    return torch.cat([rows, soft[:, None].expand(-1, int(is_placeholder.sum()), -1)], dim=1)",
            ),
            "stand at the end",
        ),
        "indexed in the first dimension": (
            (
                INSERTED,
                "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n    rows[is_placeholder] = soft\n    return rows",
            ),
            "your function stops",
        ),
        "one copy": ((INSERTED, INSERTED + "[0]"), "one copy here for all"),
        "placeholders along copies": ((INSERTED, where("is_placeholder[:, None, None]")), "your function stops"),
        "placeholders along dimensions": ((INSERTED, where("is_placeholder")), "your function stops"),
        "a token for each position": (
            (
                INSERTED,
                INSERTED.replace("soft[:, None, :]", "soft[None]").replace(
                    "prompt_embeddings)", "prompt_embeddings.expand(len(soft), -1, -1))"
                ),
            ),
            "your function stops",
        ),
        "all in one copy": (
            (INSERTED, "return torch.where(is_placeholder[:, None], soft, prompt_embeddings)"),
            "your function stops",
        ),
        "soft tokens as columns": ((INSERTED, INSERTED.replace("[:, None, :]", "[:, :, None]")), "your function stops"),
        "a list": (
            (INSERTED, "return list(torch.where(is_placeholder[None, :, None], soft[:, None], prompt_embeddings))"),
            "should be a tensor, not list",
        ),
        "detached": ((INSERTED, INSERTED.replace("soft[:", "soft.detach()[:")), "No gradient flows"),
        "without gradients": ((INSERTED, "with torch.no_grad():\n        " + INSERTED), "No gradient flows"),
    },
    "ex2-adapt": {
        "not normalised": ((DIRECTION, "direction = x"), "not normalised"),
        "over the batch": ((DIRECTION, DIRECTION.replace("dim=-1", "dim=0")), "over dimension 0"),
        "dimension 1": ((DIRECTION, "direction = torch.nn.functional.normalize(x)"), "for [7] your function stops"),
        "dimension 1 or 0": (
            (DIRECTION, "direction = x / x.norm(dim=min(1, x.dim() - 1), keepdim=True)"),
            "over dimension 1",
        ),
        "all together": ((DIRECTION, "direction = x / x.norm()"), "all of them together"),
        "no keepdim": ((DIRECTION, "direction = x / x.norm(dim=-1)"), "Each column"),
        "squared": ((DIRECTION, DIRECTION + "**2"), "|x| squared"),
        "multiplied": ((DIRECTION, DIRECTION.replace("/", "*")), "multiplies by |x|"),
        "sum of absolute values": ((DIRECTION, DIRECTION.replace("norm(", "norm(1, ")), "sum of absolute values"),
        "largest number": (
            (DIRECTION, "direction = x / x.abs().amax(dim=-1, keepdim=True)"),
            "largest number of each vector",
        ),
        "root mean square": (
            (DIRECTION, "direction = x / x.square().mean(dim=-1, keepdim=True).sqrt()"),
            "root of the mean square",
        ),
        "layer norm": ((DIRECTION, "direction = torch.nn.functional.layer_norm(x, x.shape[-1:])"), "no layer norm"),
        "columns": ((ADAPTED, "return log_scale.exp() * direction + U @ V.T @ direction + bias"), "left of x̂"),
        "base 10": ((ADAPTED, ADAPTED.replace("log_scale.exp()", "10**log_scale")), "not 10 to its power"),
        "clamped": ((DIRECTION, DIRECTION + ".clamp(min=1)"), "shorter than 1"),
        "log scale": ((ADAPTED, ADAPTED.replace("log_scale.exp()", "log_scale")), "not log_scale itself"),
        "no scale": ((ADAPTED, ADAPTED.replace("log_scale.exp() * ", "")), "s is missing"),
        "scale added": ((ADAPTED, ADAPTED.replace("log_scale.exp() *", "log_scale.exp() +")), "s is added"),
        "scale of x": ((ADAPTED, ADAPTED.replace("exp() * direction", "exp() * x")), "The scale multiplies x"),
        "low rank of x": ((ADAPTED, ADAPTED.replace("direction @", "x @")), "U and V get x as it is"),
        "scale of both": (
            (ADAPTED, "return log_scale.exp() * (direction + direction @ U @ V.T) + bias"),
            "low-rank part as well",
        ),
        "scale first": (
            (DIRECTION, DIRECTION + " * log_scale.exp()\n    return direction + direction @ U @ V.T + bias"),
            "low-rank part as well",
        ),
        "scale of everything": (
            (ADAPTED, "return log_scale.exp() * (direction + direction @ U @ V.T + bias)"),
            "s multiplies everything",
        ),
        "scaled bias": (
            (ADAPTED, "return log_scale.exp() * (direction + bias) + direction @ U @ V.T"),
            "the bias as well",
        ),
        "no low rank": ((ADAPTED, "return log_scale.exp() * direction + bias"), "low-rank part is missing"),
        "low rank only": ((ADAPTED, "return direction @ U @ V.T + bias"), "The scale is missing"),
        "divided by the rank": ((ADAPTED, ADAPTED.replace("V.T", "V.T / U.shape[1]")), "divided by the rank"),
        "exchanged": ((ADAPTED, ADAPTED.replace("U @ V.T", "V @ U.T")), "U and V are exchanged."),
        "not transposed": ((ADAPTED, ADAPTED.replace("V.T", "V")), "V is not transposed"),
        "wrong one transposed": ((ADAPTED, ADAPTED.replace("U @ V.T", "U.T @ V")), "U is transposed, and V is not"),
        "both transposed": ((ADAPTED, ADAPTED.replace("U @ V.T", "U.T @ V.T")), "U is transposed as well"),
        "number by number": ((ADAPTED, ADAPTED.replace("U @ V.T", "(U * V)")), "number by number"),
        "no bias": ((ADAPTED, ADAPTED.replace(" + bias", "")), "The bias is missing"),
        "bias twice": ((ADAPTED, ADAPTED + " + bias"), "added twice"),
        "bias first": ((DIRECTION, "x = x + bias\n    bias = 0\n    " + DIRECTION), "before it is normalised"),
        "bias on the direction": ((DIRECTION, DIRECTION + " + bias\n    bias = 0"), "added to x̂ first"),
        "x added": ((ADAPTED, ADAPTED + " + x"), "x is added"),
        "direction added": ((ADAPTED, ADAPTED + " + direction"), "x̂ is added"),
        "normalised result": (
            (ADAPTED, "return torch.nn.functional.normalize(" + ADAPTED.removeprefix("return ") + ", dim=-1)"),
            "The result is normalised",
        ),
        "direction alone": ((ADAPTED, "return direction"), "x̂ alone"),
        "in place": ((DIRECTION, "direction = x.div_(x.norm(dim=-1, keepdim=True))"), "changed its input"),
        "rows only": (
            (ADAPTED, ADAPTED.replace("direction @ U @ V.T", "torch.einsum('nd,dr,er->ne', direction, U, V)")),
            "any number of dimensions",
        ),
        "scale as a number": (
            (ADAPTED, ADAPTED.replace("log_scale.exp()", "torch.exp(log_scale).item()")),
            "No gradient reaches log_scale",
        ),
        "detached": ((ADAPTED, "return (" + ADAPTED.removeprefix("return ") + ").detach()"), "No gradient flows"),
        "direction detached": (
            (DIRECTION, DIRECTION + "\n    direction = direction.detach()"),
            "No gradient reaches x",
        ),
        "length detached": ((DIRECTION, DIRECTION + ".detach()"), "The gradient at x"),
        "bias detached": ((ADAPTED, ADAPTED + ".data"), "No gradient reaches bias"),
    },
    "ex3-label-loss": {
        "own position": ((SAID, SAID.replace("logits[:, :-1]", "logits[:, 1:]")), "the logits of its own position"),
        "not shifted": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    losses = []\n    for row, mine, n in zip(logits, ids, n_label.tolist()):\n"
            "        part = slice(n_prompt, n_prompt + n)\n"
            "        losses.append(torch.nn.functional.cross_entropy(row[part], mine[part]))\n"
            "    return torch.stack(losses)\n",
            "the logits of its own position",
        ),
        "shifted back": (
            (
                SAID,
                "said = torch.zeros(ids.shape[0], ids.shape[1] - 1)\n"
                "    said[:, :-1] = logits[:, 2:].log_softmax(dim=-1).gather(-1, ids[:, 1:-1, None]).squeeze(-1)",
            ),
            "not about the one before",
        ),
        "two ahead": (
            (
                SAID,
                "said = torch.zeros(ids.shape[0], ids.shape[1] - 1)\n"
                "    said[:, 1:] = logits[:, :-2].log_softmax(dim=-1).gather(-1, ids[:, 2:, None]).squeeze(-1)",
            ),
            "not about the one after it",
        ),
        "not shifted, with padding": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    said = logits[:, n_prompt:].log_softmax(dim=-1).gather(-1, ids[:, n_prompt:, None])\n"
            "    return -said[..., 0].mean(dim=1)\n",
            "own position, and padding",
        ),
        "not shifted, everything": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    return -logits.log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0].mean(dim=1)\n",
            "own position, and prompt and padding",
        ),
        "flattened": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    said, target = logits[:, n_prompt - 1 : -1].flatten(0, 1), ids[:, n_prompt:].flatten()\n"
            "    return torch.nn.functional.cross_entropy(said, target)\n",
            "one number for all labels, padding among them",
        ),
        "mask of positions": ((PLACE, PLACE.replace("1, ids.shape[1]", "ids.shape[1] - 1")), "one token too late"),
        "mask too early": ((PLACE, PLACE.replace("1, ids.shape[1]", "2, ids.shape[1] + 1")), "one token too early"),
        "prompt too": (
            (IS_LABEL, "is_label = place < n_prompt + n_label[:, None]"),
            "The prompt counts as well; only the label does. (The sum",
        ),
        "prompt too, mean": (
            (IS_LABEL, "is_label = place < n_prompt + n_label[:, None]\n    n_label = is_label.sum(dim=1)"),
            "The prompt counts as well",
        ),
        "padding too": (
            (IS_LABEL, "is_label = (place >= n_prompt).expand(said.shape)"),
            "Padding counts as well; only the label does. (The sum",
        ),
        "padding too, mean": (
            (IS_LABEL, "is_label = (place >= n_prompt).expand(said.shape)\n    n_label = is_label.sum(dim=1)"),
            "Padding counts as well",
        ),
        "all": ((LOSS, "return -said.mean(dim=1)"), "Prompt and padding count"),
        "no quotation mark": (
            (IS_LABEL, IS_LABEL.replace("n_label[:", "n_label[:").replace("n_prompt + n", "n_prompt - 1 + n")),
            "quotation mark is left out; it counts. (It",
        ),
        "no quotation mark, fewer": ((PLACE, "n_label = n_label - 1\n    " + PLACE), "quotation mark is left out"),
        "no first token": (
            (IS_LABEL, IS_LABEL.replace(">= n_prompt", "> n_prompt")),
            "first token of the label is left out",
        ),
        "prompt's last token": (
            (IS_LABEL, IS_LABEL.replace(">= n_prompt", ">= n_prompt - 1")),
            "The prompt's last token counts",
        ),
        "one too many": ((IS_LABEL, IS_LABEL.replace("place < n", "place <= n")), "The token after the label counts"),
        "one too many, mean": (
            (IS_LABEL, IS_LABEL.replace("place < n", "place <= n") + "\n    n_label = is_label.sum(dim=1)"),
            "quotation mark. (The sum",
        ),
        "prompt's last token, mean": (
            (IS_LABEL, IS_LABEL.replace(">= n_prompt", ">= n_prompt - 1") + "\n    n_label = is_label.sum(dim=1)"),
            "the label's first. (The sum",
        ),
        "sum": ((LOSS, LOSS.removesuffix(" / n_label")), "This is the sum"),
        "longest": ((LOSS, LOSS.replace("/ n_label", "/ n_label.max()")), "longest label's tokens"),
        "all positions": ((LOSS, "return -(said * is_label).mean(dim=1)"), "number of all positions"),
        "all tokens": ((LOSS, LOSS.replace("/ n_label", "/ ids.shape[1]")), "number of all tokens"),
        "tokens of all labels": ((LOSS, LOSS.replace("/ n_label", "/ n_label.sum()")), "tokens of all labels"),
        "as long as the first": (
            (PLACE, "n_label = n_label[:1].expand(len(ids))\n    " + PLACE),
            "as long as the first",
        ),
        "id 0 is padding": (
            (IS_LABEL, "is_label = (place >= n_prompt) & (ids[:, 1:] != 0)"),
            "Padding is told by id 0",
        ),
        "id 0 is padding, mean": (
            (IS_LABEL, "is_label = (place >= n_prompt) & (ids[:, 1:] != 0)\n    n_label = is_label.sum(dim=1)"),
            "all other tokens",
        ),
        "id 0 left out": ((IS_LABEL, IS_LABEL + " & (ids[:, 1:] != 0)"), "with id 0 are left out"),
        "no minus": ((LOSS, LOSS.replace("-(", "(")), "Minus is missing"),
        "probabilities": ((SAID, SAID.replace("log_softmax", "softmax")), "These are probabilities"),
        "base 2": ((LOSS, LOSS + " / 0.6931471805599453"), "base 2"),
        "perplexity": ((LOSS, "return (-(said * is_label).sum(dim=1) / n_label).exp()"), "the exponential of the loss"),
        "logits": ((SAID, SAID.replace(".log_softmax(dim=-1)", "")), "`log_softmax` is missing"),
        "softmax twice": (
            (SAID, SAID.replace(".log_softmax(dim=-1)", ".softmax(dim=-1).log_softmax(dim=-1)")),
            "Softmax is taken twice",
        ),
        "softmax over labels": ((SAID, SAID.replace("softmax(dim=-1)", "softmax(dim=0)")), "runs over labels"),
        "softmax over positions": (
            (SAID, "said = logits.log_softmax(dim=1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)"),
            "runs over positions",
        ),
        "softmax over positions, cut": ((SAID, SAID.replace("softmax(dim=-1)", "softmax(dim=1)")), "all but the last"),
        "softmax over positions of labels": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    said = logits[:, n_prompt - 1 : -1].log_softmax(dim=1).gather(-1, ids[:, n_prompt:, None])[..., 0]\n"
            "    return -(said * (torch.arange(said.shape[1]) < n_label[:, None])).sum(dim=1) / n_label\n",
            "predict label or padding",
        ),
        "the mean for each": (
            (LOSS, "return (-(said * is_label).sum(dim=1) / n_label).mean().expand(len(ids))"),
            "mean over all labels;",
        ),
        "the mean by tokens for each": (
            (LOSS, "return -((said * is_label).sum() / n_label.sum()).repeat(len(ids))"),
            "mean over the tokens of all labels",
        ),
        "one number": (
            (LOSS, "return (-(said * is_label).sum(dim=1) / n_label).mean()"),
            "one number for all labels; ",
        ),
        "one number by tokens": (
            (LOSS, "return -(said * is_label).sum() / n_label.sum()"),
            "one number for all labels, by tokens",
        ),
        "lengths along positions": ((IS_LABEL, IS_LABEL.replace("n_label[:, None]", "n_label")), "your function stops"),
        "in place": ((SAID, "logits -= logits.logsumexp(dim=-1, keepdim=True)\n    " + SAID), "changed its input"),
    },
    "ex4-groups": {
        "first label": ((MINE, "for label in mine[:1]:"), "Only the first label"),
        "last label": ((MINE, "for label in mine[-1:]:"), "Only the last label"),
        "two labels": ((MINE, "for label in mine[:2]:"), "Only the first two labels"),
        "the same labels": (
            (
                MINE,
                'for label in [" / ".join(sorted(" ".join(each.lower().split()) for each in mine))] if mine else []:',
            ),
            "the very same labels",
        ),
        "nobody else moves": ((MOVED, "group[feature] = kept"), "joins the last group that it comes upon"),
        "the first that fits": (
            "def groups_of(labels):\n"
            "    texts = [{' '.join(label.lower().split()) for label in mine} for mine in labels]\n"
            "    group = []\n    for i, mine in enumerate(texts):\n"
            "        group.append(next((group[j] for j in range(i) if mine & texts[j]), max(group, default=-1) + 1))\n"
            "    return group\n",
            "the first feature with which it shares a label",
        ),
        "the smallest": (
            "def groups_of(labels):\n"
            "    texts = [{' '.join(label.lower().split()) for label in mine} for mine in labels]\n"
            "    group = []\n    for i, mine in enumerate(texts):\n"
            "        group.append(min([group[j] for j in range(i) if mine & texts[j]], default=i))\n"
            "    order = list(dict.fromkeys(group))\n    return [order.index(each) for each in group]\n",
            "the first of the groups with which it shares labels",
        ),
        "the first holder moves": ((MOVED, "group[other] = gone"), "joins the one at hand"),
        "direct only": (
            "def groups_of(labels):\n"
            "    texts = [{' '.join(label.lower().split()) for label in mine} for mine in labels]\n"
            "    group = [next((j for j, e in enumerate(texts) if mine & e), i) for i, mine in enumerate(texts)]\n"
            "    order = list(dict.fromkeys(group))\n    return [order.index(each) for each in group]\n",
            "only with the first one that shares a label",
        ),
        "capital letters": ((OTHER, OTHER.replace(".lower()", "")), "Capital letters count"),
        "spaces": ((OTHER, OTHER.replace(TEXT, "label.lower()")), "Spaces count; neither"),
        "strip only": ((OTHER, OTHER.replace(TEXT, "label.lower().strip()")), "between words counts"),
        "inner spaces only": (
            (OTHER, OTHER.replace(TEXT, '__import__("re").sub(r"\\s+", " ", label.lower())')),
            "Spaces at the ends",
        ),
        "tabs": ((OTHER, OTHER.replace(TEXT, '" ".join(filter(None, label.lower().split(" ")))')), "Tabs count"),
        "as they are": ((OTHER, OTHER.replace(TEXT, "label")), "Capital letters and spaces count"),
        "no spaces": ((OTHER, OTHER.replace('" ".join', '"".join')), "All spaces are taken out"),
        "words": ((MINE, 'for label in " ".join(mine).split():'), "with a word in common"),
        "order of words": (
            (OTHER, OTHER.replace("label.lower().split()", "sorted(label.lower().split())")),
            "order of words",
        ),
        "letters": ((MINE, 'for label in "".join(mine):'), "with the same letters"),
        "without labels together": ((MINE, 'for label in mine or [""]:'), "are taken for one group"),
        "without labels with the first": (
            (NUMBERS, "return [order.index(each) if mine else 0 for each, mine in zip(group, labels)]"),
            "put into the first group",
        ),
        "without labels -1": (
            (
                ORDER,
                "order = list(dict.fromkeys(each for each, mine in zip(group, labels) if mine))\n"
                "    return [order.index(each) if mine else -1 for each, mine in zip(group, labels)]",
            ),
            "gets -1",
        ),
        "without labels left out": (
            (NUMBERS, "return [order.index(each) for each, mine in zip(group, labels) if mine]"),
            "for each of the 7 features",
        ),
        "gaps": ((NUMBERS, "return group"), "numbers that merging has left: "),
        "from 1": ((NUMBERS, NUMBERS.replace("order.index(each)", "order.index(each) + 1")), "counted from 1"),
        "sorted": ((ORDER, "order = sorted(set(group))"), "that merging has left are sorted"),
        "sorted last features": (
            (
                ORDER,
                "last = [max(j for j, other in enumerate(group) if other == each) for each in group]\n"
                "    return [sorted(set(last)).index(each) for each in last]",
            ),
            "Groups are not numbered as they first appear",
        ),
        "last features": (
            (MOVED, "group = [gone if each == kept else each for each in group]\n    return group"),
            "numbers of features",
        ),
        "smallest features": ((NUMBERS, "return [group.index(each) for each in group]"), "There are gaps"),
        "double spaces": (
            (OTHER, OTHER.replace(TEXT, 'label.lower().strip().replace("  ", " ")')),
            "Only two spaces become one",
        ),
        "no spaces, tabs": ((OTHER, OTHER.replace(TEXT, 'label.lower().replace(" ", "")')), "and tabs are not"),
        "without labels -1, numbers left out": (
            (NUMBERS, "return [order.index(each) if mine else -1 for each, mine in zip(group, labels)]"),
            "a number is left out",
        ),
        "last first": ((ORDER, "order = list(dict.fromkeys(group[::-1]))"), "from the last feature on"),
        "backwards": ((ORDER, "order = list(dict.fromkeys(group))[::-1]"), "numbered backwards"),
        "by size": ((ORDER, ORDER + "\n    order.sort(key=lambda each: -group.count(each))"), "numbered by size"),
        "sizes": ((NUMBERS, "return [group.count(each) for each in group]"), "groups' sizes"),
        "alone": ((NUMBERS, "return list(range(len(labels)))"), "Everybody is alone"),
        "one group": ((NUMBERS, "return [0] * len(labels)"), "Everybody is in one group"),
        "a tensor": (
            (NUMBERS, "return torch.tensor([order.index(each) for each in group])"),
            "should be int, not Tensor",
        ),
        "an array": (
            (NUMBERS, "import numpy\n    return numpy.array([order.index(each) for each in group])"),
            "Return a list of whole numbers",
        ),
        "a list of tensors": (
            (NUMBERS, "return [torch.tensor(order.index(each)) for each in group]"),
            "should be int, not Tensor",
        ),
        "parents": (parents("parent[root(feature)] = root(other)"), "which has moved on since"),
        "parents, the earlier one": (
            parents("kept, gone = sorted((root(feature), root(other)))\n            parent[gone] = kept"),
            "joined to an earlier one since",
        ),
        "groups as lists": (
            (NUMBERS, "return [[i for i, each in enumerate(group) if each == one] for one in order]"),
            "one number for each",
        ),
        "in place": ((BEGUN, "labels.append([])\n    labels.pop(0)\n    " + BEGUN), "changed its input"),
    },
    "ex5-score": {
        "no ties": ((AUROC, "auroc = (difference > 0).float().mean(dim=(-2, -1))"), "The score: ties count nothing"),
        "ties are wins": (
            (AUROC, "auroc = (difference >= 0).float().mean(dim=(-2, -1))"),
            "The score: ties count as much as a win",
        ),
        "reversed": (
            (DIFFERENCE, DIFFERENCE + "\n    difference = -difference"),
            "how often a silent context gets more",
        ),
        "from -1 to 1": ((AUROC, "auroc = difference.sign().mean(dim=(-2, -1))"), "from -1 to 1"),
        "differences of means": ((AUROC, "auroc = difference.mean(dim=(-2, -1))"), "differences of means"),
        "mean of the silent": (
            (DIFFERENCE, "difference = (active - silent.mean(dim=-1, keepdim=True))[..., None]"),
            "with the mean of the silent ones",
        ),
        "mean of the active": (
            (DIFFERENCE, "difference = (active.mean(dim=-1, keepdim=True) - silent)[..., None]"),
            "The score: the mean of the active contexts is compared with the silent",
        ),
        "both means": (
            (DIFFERENCE, "difference = (active.mean(dim=-1) - silent.mean(dim=-1))[..., None, None]"),
            "compared with that of the silent",
        ),
        "counted": ((AUROC, AUROC.replace("mean", "sum")), "Wins are counted".lower()),
        "divided by k": ((AUROC, AUROC.replace("mean", "sum") + " / active.shape[-1]"), "k or m alone"),
        "in pairs": ((DIFFERENCE, "difference = (active - silent)[..., None]"), "compared with one silent context"),
        "ties in pairs": (
            (
                AUROC,
                "auroc = (difference > 0).float().mean(dim=(-2, -1)) + (active == silent).float().mean(dim=-1) / 2",
            ),
            "Ties are looked for in pairs".lower(),
        ),
        "ties in pairs, counted": (
            (
                AUROC,
                "auroc = (difference > 0).float().sum(dim=(-2, -1)) + (active == silent).float().sum(dim=-1) / 2\n"
                "    auroc = auroc / difference[0, 0].numel()",
            ),
            "divided by k · m; compare",
        ),
        "a view": (
            (SCORES, "auroc.fill_diagonal_(0)\n    return own, auroc.sum(dim=0) / (len(auroc) - 1)"),
            "the diagonal is a view",
        ),
        "active contexts of the description's vector": (
            (SCORES, mixed("own_active[:, None, :, None] - silent[..., None, :]")),
            "a vector's silent contexts with the active ones",
        ),
        "silent contexts of the description's vector": (
            (SCORES, mixed("active[..., None] - own_silent[:, None, None]")),
            "a vector's active contexts with the silent ones",
        ),
        "silent contexts transposed": (
            (SCORES, mixed("active[..., None] - silent.transpose(0, 1)[..., None, :]")),
            "exchanged in the silent contexts",
        ),
        "control with itself": ((SCORES, "return own, auroc.mean(dim=0)"), "own description in it"),
        "control of the row": ((SCORES, SCORES.replace("dim=0", "dim=1")), "a mean over other vectors"),
        "mean of the row": ((SCORES, "return own, auroc.mean(dim=1)"), "a mean over all vectors"),
        "cut wrongly": (
            (SCORES, "return own, auroc[~torch.eye(len(own)).bool()].view(-1, len(own)).mean(dim=0)"),
            "rows that do not belong together",
        ),
        "means": (
            (SCORES, "return active.mean(dim=-1).diagonal(), silent.mean(dim=-1).diagonal()"),
            "means of the active contexts",
        ),
        "divided by n": ((SCORES, SCORES.replace("(len(auroc) - 1)", "len(auroc)")), "there are n - 1"),
        "sum": ((SCORES, SCORES.removesuffix(" / (len(auroc) - 1)")), "The control is a sum"),
        "exchanged": (
            (SCORES, "own, other = own, (auroc.sum(dim=0) - own) / (len(auroc) - 1)\n    return other, own"),
            "Score and control are exchanged",
        ),
        "mean score": ((OWN, "own = auroc.mean(dim=1)"), "mean of a description over all vectors"),
        "all pairs": ((SCORES, "return auroc, own"), "The score has all pairs"),
        "one number each": (
            (
                SCORES,
                "own, other = own, (auroc.sum(dim=0) - own) / (len(auroc) - 1)\n    return own.mean(), other.mean()",
            ),
            "The score is one number",
        ),
        "one control": (
            (SCORES, "return own, ((auroc.sum(dim=0) - own) / (len(auroc) - 1)).mean().expand(len(own))"),
            "the same for all vectors",
        ),
        "mean of all pairs": ((SCORES, "return own, auroc.mean().expand(len(own))"), "the mean of all pairs"),
        "largest": ((SCORES, "return own, (auroc - 9 * torch.eye(len(own))).amax(dim=0)"), "largest of the others"),
        "next description": ((SCORES, "return own, auroc.roll(-1, 0).diagonal()"), "takes one other description;"),
        "averaged before": (
            (
                SCORES,
                "other = ~torch.eye(len(own), dtype=torch.bool)[..., None]\n"
                "    left, right = ((each * other).sum(dim=0) / (len(own) - 1) for each in (active, silent))\n"
                "    return own, ((left[:, :, None] - right[:, None]).sign() / 2 + 0.5).mean(dim=(-2, -1))",
            ),
            "how well contexts fit the others",
        ),
        "difference": (
            (SCORES, "return own, own - (auroc.sum(dim=0) - own) / (len(auroc) - 1)"),
            "The difference of score and control",
        ),
        "score alone": ((SCORES, "return own"), "Return two tensors"),
        "squeezed": (
            (DIFFERENCE, "difference = (active.squeeze()[..., :, None] - silent.squeeze()[..., None, :])"),
            "With one context",
        ),
    },
}

RIGHT = {
    "ex1-insert": {
        "loop": (
            INSERTED,
            "rows = []\n    for each in soft:\n        copy = prompt_embeddings.clone()\n"
            "        copy[is_placeholder] = each\n        rows.append(copy)\n    return torch.stack(rows)",
        ),
        "assigned": (
            INSERTED,
            "rows = prompt_embeddings.repeat(len(soft), 1, 1)\n    rows[:, is_placeholder] = soft[:, None]\n"
            "    return rows",
        ),
        "by arithmetic": (
            INSERTED,
            "gap = is_placeholder[:, None].float()\n    return (1 - gap) * prompt_embeddings + gap * soft[:, None]",
        ),
        "masked": (INSERTED, "return prompt_embeddings.where(~is_placeholder[:, None], soft.unsqueeze(1))"),
    },
    "ex2-adapt": {
        "normalize": (DIRECTION, "direction = torch.nn.functional.normalize(x, dim=-1)"),
        "one matrix": (ADAPTED, "W = U @ V.T + log_scale.exp() * torch.eye(len(U))\n    return direction @ W + bias"),
        "a little more than the length": (DIRECTION, "direction = x / (x.norm(dim=-1, keepdim=True) + 1e-8)"),
        "linear": (ADAPTED, "return torch.nn.functional.linear(direction @ U, V, bias) + log_scale.exp() * direction"),
    },
    "ex3-label-loss": {
        "slices": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    losses = []\n    for row, mine, n in zip(logits, ids, n_label):\n"
            "        said, target = row[n_prompt - 1 : n_prompt + n - 1], mine[n_prompt : n_prompt + n]\n"
            "        losses.append(torch.nn.functional.cross_entropy(said, target))\n"
            "    return torch.stack(losses)\n"
        ),
        "cross_entropy of all": (
            SAID,
            "said = -torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction='none')",
        ),
        "ignored": (
            "def label_loss(logits, ids, n_prompt, n_label):\n"
            "    place = torch.arange(ids.shape[1])\n"
            "    counts = (place >= n_prompt) & (place < n_prompt + n_label[:, None])\n"
            "    target = ids.masked_fill(~counts, -100)[:, 1:]\n"
            "    loss = torch.nn.functional.cross_entropy(logits[:, :-1].mT, target, reduction='none')\n"
            "    return loss.sum(dim=1) / n_label\n"
        ),
        "where": (LOSS, "return -torch.where(is_label, said, 0).sum(dim=1) / is_label.sum(dim=1)"),
        "logarithm of softmax": (SAID, SAID.replace("log_softmax(dim=-1)", "softmax(dim=-1).log()")),
    },
    "ex4-groups": {
        "walks": (
            "def groups_of(labels):\n"
            "    texts = [{' '.join(label.split()).casefold() for label in mine} for mine in labels]\n"
            "    group, number = [None] * len(labels), 0\n"
            "    for start in range(len(labels)):\n"
            "        if group[start] is not None:\n            continue\n"
            "        to_visit = [start]\n"
            "        while to_visit:\n"
            "            i = to_visit.pop()\n"
            "            if group[i] is None:\n"
            "                group[i] = number\n"
            "                to_visit += [j for j in range(len(labels)) if texts[i] & texts[j]]\n"
            "        number += 1\n"
            "    return group\n"
        ),
        "kept the other way round": (MEET, "gone, kept = group[other], group[feature]"),
        "sets": (
            "import re\n\n"
            "def groups_of(labels):\n"
            "    found = []\n"
            "    for i, mine in enumerate(labels):\n"
            "        texts, members = {re.sub(r'\\s+', ' ', label.strip().lower()) for label in mine}, {i}\n"
            "        for others, theirs in [each for each in found if each[0] & texts]:\n"
            "            found.remove((others, theirs))\n"
            "            texts, members = texts | others, members | theirs\n"
            "        found.append((texts, members))\n"
            "    found.sort(key=lambda each: min(each[1]))\n"
            "    return [next(n for n, each in enumerate(found) if i in each[1]) for i in range(len(labels))]\n"
        ),
        "parents and roots": parents("parent[root(feature)] = root(other)", "list(map(root, parent))"),
        "NumPy's numbers": (NUMBERS, "import numpy\n    return [numpy.int64(order.index(each)) for each in group]"),
    },
    "ex5-score": {
        "comparisons": (
            AUROC,
            "auroc = (difference > 0).float().mean(dim=(2, 3)) + (difference == 0).float().mean(dim=(2, 3)) / 2",
        ),
        "masked": (
            SCORES,
            "others = auroc.masked_fill(torch.eye(len(own), dtype=torch.bool), torch.nan)\n"
            "    return own, others.nanmean(dim=0)",
        ),
        "loops": (
            "def score_and_control(active, silent):\n"
            "    def auroc(i, j):\n"
            "        wins = [(a > s) + 0.5 * (a == s) for a in active[i, j].tolist() for s in silent[i, j].tolist()]\n"
            "        return sum(wins) / len(wins)\n"
            "    n = len(active)\n"
            "    control = [sum(auroc(i, j) for i in range(n) if i != j) / (n - 1) for j in range(n)]\n"
            "    return torch.tensor([auroc(i, i) for i in range(n)]), torch.tensor(control)\n"
        ),
        "a list": (SCORES, SCORES.replace("return ", "return [") + "]"),
        "a view, cloned": (
            SCORES,
            "own = own.clone()\n    auroc.fill_diagonal_(0)\n    return own, auroc.sum(dim=0) / (len(auroc) - 1)",
        ),
        "heaviside": (AUROC, "auroc = torch.heaviside(difference, torch.tensor(0.5)).mean(dim=(-2, -1))"),
    },
}
