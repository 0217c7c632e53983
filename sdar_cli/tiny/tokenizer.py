"""The tiny policy's own tokenizer: byte-level BPE whose units are the environment's units.

Ordinary tokenizers give three to five times as many tokens for these texts; short sequences are what makes
training on a CPU quick.  Any text can be encoded (bytes are the fallback).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|im_end|>"
START = "<|im_start|>"
PAD = "<|pad|>"
TAGS = ("<think>", "</think>", "<action>", "</action>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
UNITS = (
    r"\n?(?:go to|take|move|open|close|examine|use|heat|clean|cool|look|inventory)(?= |\n|<|$)",
    r" ?[a-z]+ \d+",
    r" ?[A-Za-z]+",
    r"\n?[A-Z][a-z]+:",
    r"\d",
    r"[^\sA-Za-z0-9]",
    r"\s",
)
"""Pre-token patterns, tried in this order: commands, ``apple 1``, words, headings, digits, signs, space."""
WEBSHOP_UNITS = (
    r"back to search|buy now| \$",
    r" ?[A-Za-z]+",
    r"\n?[A-Z][a-z]+:",
    r"\d",
    r"[^\sA-Za-z0-9]",
    r"\s",
)
"""The same for WebShop."""
WEBSHOP_CODES = tuple(f"bsy{number:07d}" for number in range(1000))
"""The codes of a generated catalogue's products, each one token to copy."""
SEARCH_UNITS = (
    r"\n?[A-Z][a-z]+:",
    r" ?[A-Za-z]+",
    r" \d{4}",
    r"\d",
    r"[^\sA-Za-z0-9]",
    r"\s",
)
"""The same for Search-QA; a year is one token to copy."""
SEARCH_TAGS = ("<search>", "</search>", "<answer>", "</answer>")


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, units: Sequence[str] = UNITS, words: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``vocabulary`` entries trained on ``texts`` (prompts, responses), cut into ``units``.

    words: texts that are one token each wherever they occur, in addition to the vocabulary.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(units)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([*TAGS, *words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
