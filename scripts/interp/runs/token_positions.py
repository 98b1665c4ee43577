"""Find a token's position by what it is, never by counting: BOS moves every position by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.interp.base.words import mentions
from scripts.interp.runs.prompts import Prompt, single_prompt_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def token_positions(model: TransformerBridge, prompt: Prompt, word: str) -> list[int]:
    """Positions of all mentions of a word in one prompt, counted as the model counts (BOS is position 0).

    word: "Mary" finds " Mary" and, where a text begins with it, "Mary"

    In scripts without spaces between words, such as Chinese, every occurrence is a mention.

    Raises ValueError if the word does not occur, if one of its mentions is more than one token, or if it is a
    token that is part of another word.
    """
    tokens = single_prompt_tokens(model, prompt)
    if model.tokenizer is None:
        raise ValueError(f"{model.cfg.model_name} has no tokenizer, so its tokens are no words.")
    word = word.strip()
    if not word:
        raise ValueError("The word is empty: say which word to look for.")
    pieces = model.to_str_tokens(tokens)
    found = [position for position, piece in enumerate(pieces) if piece.strip() == word]
    text = prompt if isinstance(prompt, str) else model.to_string(tokens)
    n_mentions = len(mentions(text, word))
    if not found and not n_mentions:
        raise ValueError(f"{word!r} does not occur in {text!r}.")
    if len(found) != n_mentions:
        raise ValueError(
            f"{word!r} occurs {n_mentions} times in {text!r}, but {len(found)} of its tokens are that word: "
            f"the tokens are {pieces}; choose a word that is a single token for this model."
        )
    return found


def role_positions(model: TransformerBridge, prompt: Prompt, *, io: str, s: str) -> dict[str, int]:
    """Positions of the roles in an indirect-object prompt like "When John and Mary …, John gave a book to".

    io: the name that is mentioned once, the indirect object; s: the name that is mentioned twice, the subject
    Returns {"IO": …, "S1": …, "S2": …, "end": …}; "end" is the last position. A corrupted prompt of the same
    length has the same positions: ask for those of the clean one.

    Raises ValueError if the names are not mentioned once and twice, or are several tokens.
    """
    io_mentions, s_mentions = token_positions(model, prompt, io), token_positions(model, prompt, s)
    if len(io_mentions) != 1 or len(s_mentions) != 2:
        raise ValueError(
            f"{io!r} occurs {len(io_mentions)} times and {s!r} {len(s_mentions)} times: the indirect object "
            "is mentioned once and the subject twice; is this the clean prompt, and are the names the right "
            "way round?"
        )
    end = len(single_prompt_tokens(model, prompt)) - 1
    return {"IO": io_mentions[0], "S1": s_mentions[0], "S2": s_mentions[1], "end": end}
