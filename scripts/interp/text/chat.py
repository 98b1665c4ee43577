"""Text as a conversation, in the words of a model's chat template, and which of the tokens are somebody's words.

A chat template surrounds each message with tokens of its own (roles, separators, often a system message). They are the
same in every conversation, so an autoencoder or a mean would mostly learn the template: they are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from scripts.interp.text.corpus import Document

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class ChatRows(NamedTuple):
    """Conversations cut to one length."""

    tokens: Int[Tensor, "n_rows context"]  # token ids; BOS first, if the template begins with it
    is_content: Bool[Tensor, "n_rows context"]  # tokens of the messages, not of the template
    n_short: int  # conversations left out because they have fewer tokens than context


def conversation(document: Document) -> list[dict[str, str]]:
    """A document as one exchange: the user says its first line or sentence, the assistant goes on."""
    text = document.text.strip()
    ends = [at for at in (text.find("\n"), *(text.find(sign) + 1 for sign in (". ", "! ", "? ", ": "))) if at > 0]
    cut = min(ends, default=len(text))
    return [{"role": "user", "content": text[:cut].strip()}, {"role": "assistant", "content": text[cut:].strip()}]


def chat_rows(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, context: int) -> ChatRows:
    """Each document as a conversation, cut after `context` tokens; shorter ones are left out.

    Raises ValueError for a tokenizer without chat template, for a text that spells one of its special tokens out, and
    where no conversation is long enough.
    """
    if not tokenizer.chat_template:
        raise ValueError("This model's tokenizer has no chat template: give an instruction-tuned model's.")
    rows, masks, n_short = [], [], 0
    for document in documents:
        messages = conversation(document)
        for message in messages:
            spelled = [token for token in tokenizer.all_special_tokens if token in message["content"]]
            if spelled:
                raise ValueError(
                    f"A text holds {spelled[0]!r}, which the template would take for its own: leave that text out."
                )
        text, spans = written_out(messages, tokenizer)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)  # the template has BOS itself
        if len(encoded.input_ids) < context:
            n_short += 1
            continue
        rows.append(encoded.input_ids[:context])
        masks.append(content_mask(encoded, spans)[:context])
    if not rows:
        raise ValueError(
            f"None of {len(documents)} conversations has {context} tokens: give longer texts, or a smaller context."
        )
    return ChatRows(torch.tensor(rows), torch.stack(masks), n_short)


def written_out(
    messages: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[str, list[tuple[int, int]]]:
    """A conversation as the chat template writes it, and where in that text each message begins and ends.

    The template is asked once more with marks in place of the messages: a message's words may stand in the template
    too. Raises ValueError for a template that does not write the messages as they are.
    """
    marks = [f"⟦{i}⟧" for i in range(len(messages))]
    rest = tokenizer.apply_chat_template(
        [{**message, "content": mark} for message, mark in zip(messages, marks)], tokenize=False
    )
    text, spans = "", []
    for message, mark in zip(messages, marks):
        before, _, rest = rest.partition(mark)
        text += before
        spans.append((len(text), len(text) + len(message["content"])))
        text += message["content"]
    text += rest
    if text != tokenizer.apply_chat_template(messages, tokenize=False):
        raise ValueError(
            "This model's chat template changes the messages' words, so that they can't be told from its own."
        )
    return text, spans


def content_mask(encoded: BatchEncoding, spans: Sequence[tuple[int, int]]) -> Bool[Tensor, " n_tokens"]:
    """Which tokens lie wholly inside one of the spans, none of them empty.

    encoded: what the tokenizer returns for the text, with offsets; spans: where each message begins and ends in it
    """
    first, last = torch.tensor(encoded.offset_mapping).T[..., None]  # [n_tokens, 1]
    begin, end = torch.tensor(spans).T  # [n_spans]
    return ((first >= begin) & (last <= end) & (first < last)).any(dim=1)
