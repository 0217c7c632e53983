"""Chat templates: one of the user's, a fixed date in place of the clock, and the token that ends a turn."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLOCK = "strftime_now"
"""The function by which a template asks for the time."""
LONGEST = 1024 * 1024
"""Bytes of a template file."""
_CALL = re.compile(rf"{CLOCK}\(\s*('[^'\n]*'|\"[^\"\n]*\")\s*\)")
_MARK = "\u241estub\u241e"


def read_template(path: str) -> str:
    """The template in a file.  Raises ConfigError where it cannot be read."""
    file = Path(path).expanduser()
    try:
        if not file.is_file():
            raise ConfigError(
                f"no chat template at {path} (model.chat_template)", fix="give the path of a text file in Jinja"
            )
        data = file.read_bytes()[: LONGEST + 1]
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the chat template {path} cannot be read (model.chat_template)",
            why=str(error),
            fix="give a text file in UTF-8",
        ) from error
    if len(data) > LONGEST or not text.strip():
        raise ConfigError(
            f"{path} is no chat template (model.chat_template)",
            why="it is empty" if data[:1] == b"" or not text.strip() else f"it has more than {LONGEST} bytes",
            fix="give the path of a text file in Jinja",
        )
    return text


def reads_clock(template: str) -> bool:
    """Whether prompts of this template would hold the time at which they are made."""
    return f"{CLOCK}(" in re.sub(rf"{CLOCK}\s*\(", f"{CLOCK}(", template)


def fix_date(template: str, day: date) -> str:
    """The template with ``day``, at midnight, wherever it asks the clock, so that a prompt is the same tomorrow.

    Raises ConfigError where it asks in a way that cannot be replaced.
    """
    fixed = _CALL.sub(lambda call: call[1][0] + day.strftime(call[1][1:-1]) + call[1][0], template)
    if reads_clock(fixed):
        raise ConfigError(
            "the chat template writes the date or the time of the clock into the prompt",
            why=f"its call of {CLOCK} has no constant format, so the date cannot be fixed",
            fix="--set model.chat_template=FILE, a copy of the template with a fixed date",
        )
    return fixed


def use_template(tokenizer: PreTrainedTokenizerBase, name: str, own: str | None, day: date) -> bool:
    """Give a tokenizer the template that prompts are made with: the file ``own``, else the model's; the date fixed.

    name: of the model, for errors.  Returns whether the template asked the clock.
    Raises ConfigError where there is none, or it cannot be used.
    """
    if own is not None:
        tokenizer.chat_template = read_template(own)
    if not tokenizer.chat_template:
        raise ConfigError(
            f"{name} has no chat template",
            why="it is a base model, or its tokenizer_config.json lacks the entry",
            fix="choose an instruction-tuned model, or --set model.chat_template=FILE",
        )
    template = tokenizer.get_chat_template()
    dated = reads_clock(template)
    if dated:
        tokenizer.chat_template = fix_date(template, day)
    return dated


def turn_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes behind an assistant's turn.  Raises ConfigError where it cannot be rendered."""
    chat = [{"role": "user", "content": "stub"}, {"role": "assistant", "content": _MARK}]
    try:
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except Exception as error:  # Jinja's errors, and whatever the template's own expressions raise
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        fix = "choose another model, or --set model.chat_template=FILE"
        raise ConfigError("the chat template cannot be rendered", why=first, fix=fix) from error
    if _MARK not in text:
        raise ConfigError(
            "the chat template does not write what the assistant said",
            why="a chat of one user and one assistant turn was rendered",
            fix="choose another model, or --set model.chat_template=FILE",
        )
    return text.rpartition(_MARK)[2]


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the token with which the template ends an assistant's turn; None where that is no token of its own."""
    ids = tokenizer(turn_text(tokenizer).lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None
