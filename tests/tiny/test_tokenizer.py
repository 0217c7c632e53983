"""The tiny policy's tokenizer: whole commands and names as units, every text possible, nothing lost on disk."""

from __future__ import annotations

import pytest
import toy
from transformers import AutoTokenizer

from sdar_cli.tiny.tokenizer import END, PAD, SEARCH_TAGS, SEARCH_UNITS, START, TAGS, train_tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "Task: put some apple on shelf\nNow: You stand in a corridor.\nActions:\ngo on\ntake apple 1",
        toy.say("go to shelf 12"),
        "  two  spaces,\ttab and\n\nlines \n",
        "Zürich 東京 🙂 \x00 <notatag> 1234567890",
        "",
    ],
)
def test_any_text_comes_back(tokenizer, text: str) -> None:
    """Bytes are the fallback: a character never seen in training is not lost."""
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_names_commands_and_tags_are_single_tokens() -> None:
    """That is what makes sequences short; a name is not glued to its command."""
    texts = ["Task: put apple 1\nActions:\ngo to shelf 1\ntake apple 1 from shelf 1", toy.say("take apple 1")] * 5
    tokenizer = train_tokenizer(texts, 400)

    def pieces(text: str) -> list[str]:
        return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]

    assert pieces("take apple 1 from shelf 1") == ["take", " apple 1", " from", " shelf 1"]
    assert pieces("\ngo to shelf 1") == ["\ngo to", " shelf 1"]
    assert pieces("<action>take apple 1</action>") == ["<action>", "take", " apple 1", "</action>"]


def test_a_name_is_the_same_tokens_in_a_passage_and_in_an_answer() -> None:
    """What is copied must not change: a word with its space, a year whole, tags single."""
    passage, answer = "\n- Ada Holt, born 1910.", "<answer> Ada Holt</answer>"
    tokenizer = train_tokenizer([passage, "<search> Ada Holt 1910</search>"] * 5, 400, SEARCH_UNITS, SEARCH_TAGS)

    def pieces(text: str) -> list[str]:
        return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]

    assert pieces(passage) == ["\n", "-", " Ada", " Holt", ",", " born", " 1910", "."]
    assert pieces(answer) == ["<answer>", " Ada", " Holt", "</answer>"]


def test_special_tokens_have_their_places(tokenizer) -> None:
    assert [tokenizer.convert_tokens_to_ids(t) for t in (PAD, START, END)] == [0, 1, 2]
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == (PAD, END, "left")
    assert all(len(tokenizer(tag, add_special_tokens=False)["input_ids"]) == 1 for tag in TAGS)
    # The model writes the tags: they are text, and not removed with the special tokens.
    ids = tokenizer(toy.say("go on") + END, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == toy.say("go on")


def test_the_vocabulary_has_the_wanted_size() -> None:
    texts = [f"{word} {number}" for word in ("apple", "pear", "shelf", "drawer") for number in range(30)] * 3
    assert len(train_tokenizer(texts, 300)) == 300 + len(TAGS)


def test_messages_end_with_the_end_token(tokenizer) -> None:
    chat = [{"role": "user", "content": "look"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nlook<|im_end|>\n<|im_start|>assistant\n"
    answered = [*chat, {"role": "assistant", "content": "ok"}]
    assert tokenizer.apply_chat_template(answered, tokenize=False).startswith(text + "ok<|im_end|>")


def test_it_is_the_same_after_saving(tokenizer, model_folder) -> None:
    """Loaded by the name of a folder, as a user's model is: ids, template and special tokens."""
    loaded = AutoTokenizer.from_pretrained(model_folder)
    for text in ("Task: put some apple on shelf\n", toy.say("take apple 1") + END, "Zürich\n\n 12"):
        assert loaded(text, add_special_tokens=False) == tokenizer(text, add_special_tokens=False)
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.eos_token_id, loaded.pad_token_id, len(loaded)) == (2, 0, len(tokenizer))


def test_the_same_texts_give_the_same_tokenizer() -> None:
    one, two = toy.make_tokenizer(), toy.make_tokenizer()
    assert one.get_vocab() == two.get_vocab()
