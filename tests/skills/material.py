"""A tokenizer whose tokens are words, so that every count in a test can be made by eye, and its chat templates."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sdar_cli.envs.base import TurnView

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EMPTY_THOUGHT = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n{% endif %}"
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n" + EMPTY_THOUGHT + "{% endif %}")
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
DROPS_SYSTEM = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
BROKEN = "{{ raise_exception('never works') }}"


def word_tokenizer(template: str = CHATML) -> PreTrainedTokenizerFast:
    """One token per word between white space (all unknown, which does not matter for counting).

    With special tokens it puts one in front, as many tokenizers do: a prompt must not have it twice.
    """
    special = ["<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(special)
    core.post_processor = processors.TemplateProcessing(single="<|im_end|> $A", special_tokens=[("<|im_end|>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="?", eos_token=special[1], chat_template=template)


def view(history: int = 0, words: int = 4) -> TurnView:
    """A turn with two-word actions and, per past pair, ``Obs: saw<i> Act: did<i>``: four tokens in compact wording."""
    return TurnView(
        goal="put some pencil on dresser",
        observation=" ".join(f"o{i}" for i in range(words)),
        admissible=("go far", "help", "look around"),
        history=tuple((f"saw{i}", f"did{i}") for i in range(history)),
        turn=history,
    )
