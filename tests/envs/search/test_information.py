"""The two forms of information, and reading them back."""

from __future__ import annotations

import json

import pytest
from search_material import PASSAGES

from sdar_cli.envs.search.information import FORMATS, documents, inside, sdar, search_r1, without_tags
from sdar_cli.retrieval.passages import Passage


def test_the_form_of_search_r1() -> None:
    assert search_r1(PASSAGES[:2]) == (
        '\n\n<information>Doc 1(Title: "Velmora") Velmora is a port town on the river Tarn.\n'
        'Doc 2(Title: "Ada Brindle") Ada Brindle was born in Velmora in 1931.</information>\n\n'
    )


def test_the_form_of_the_release_is_json_with_escapes() -> None:
    text = sdar([Passage("p", "Zoë", 'said "no"\nand left')])
    assert text == '<information>{"result": "Doc 1: \\"Zo\\u00eb\\"\\nsaid \\"no\\"\\nand left"}</information>'
    assert json.loads(inside(text)) == {"result": 'Doc 1: "Zoë"\nsaid "no"\nand left'}


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_passage_cannot_speak_in_another_voice(form: str) -> None:
    text = FORMATS[form](PASSAGES)
    assert text.count("<information>") == text.count("</information>") == 1
    assert "answer" not in text.lower()
    assert "Said Velmora" in text
    assert "<ANSWER>" in FORMATS[form](PASSAGES, str)  # as released, when asked for


def test_tags_that_come_out_of_removed_tags_are_removed() -> None:
    assert without_tags("<ans<answer>wer>x</search >y") == "xy"


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_documents_are_read_back(form: str) -> None:
    assert documents(FORMATS[form](PASSAGES[:2])) == [(p.title, p.text) for p in PASSAGES[:2]]
    assert documents(FORMATS[form]([])) == []
    assert "No search results found." in FORMATS[form]([])
    assert documents("") == []


def test_a_text_that_looks_like_the_head_of_a_document_is_text() -> None:
    passages = [Passage("p", "T", 'a\nDoc 7(Title: "x") b'), Passage("q", "U", "c")]
    assert documents(search_r1(passages)) == [("T", 'a\nDoc 7(Title: "x") b'), ("U", "c")]


def test_an_observation_that_was_cut_is_read_as_far_as_it_goes() -> None:
    text = search_r1(PASSAGES[:2])
    assert documents(text[: text.index("in 1931")]) == [
        ("Velmora", "Velmora is a port town on the river Tarn."),
        ("Ada Brindle", "Ada Brindle was born in Velmora"),
    ]
    assert documents(text[: text.index("dle")])[0][0] == "Velmora"
    assert documents(sdar(PASSAGES)[:60]) == []  # half a JSON text
    assert inside(text[:40]).startswith("Doc 1(")
