"""Exact match and F1 by hand, with SQuAD's normalisation."""

from __future__ import annotations

import pytest

from sdar_cli.envs.search.answers import exact_match, f1, last_answer, normalize


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Tide-Atlas!", "tideatlas"),
        ("an apple a day", "apple day"),
        ("Theatre, anthem", "theatre anthem"),
        ("U.S.A.", "usa"),
        ("Małgorzata", "małgorzata"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation goes
        ("The", ""),
        ("a\tb\n c", "b c"),
    ],
)
def test_normalisation(text: str, plain: str) -> None:
    assert normalize(text) == plain


@pytest.mark.parametrize(
    ("given", "wanted", "right"),
    [
        ("the Velmora.", ["Velmora"], True),
        ("Velmora", ["Oskill", "VELMORA"], True),
        ("in Velmora", ["Velmora"], False),
        ("", ["Velmora"], False),
        ("", ["The"], False),  # nothing is no answer, although both normalise to nothing
        ("a", ["the"], False),
        ("Velmora", [], False),
    ],
)
def test_exact_match(given: str, wanted: list[str], right: bool) -> None:
    assert exact_match(given, wanted) is right


def test_f1_by_hand() -> None:
    # 2 words in common; precision 2/3, recall 2/4: 2 * (2/3 * 1/2) / (2/3 + 1/2) = (2/3) / (7/6) = 4/7
    assert f1("Ada Brindle painter", ["Ada Brindle the great botanist"]) == pytest.approx(4 / 7)
    # a word that is given twice counts as often as it is wanted: 1 in common of 2 given and 1 wanted
    assert f1("tarn tarn", ["Tarn"]) == pytest.approx(2 / 3)
    assert f1("tarn", ["river", "The Tarn"]) == 1.0
    assert f1("", ["Tarn"]) == f1("tarn", []) == f1("the", ["a"]) == 0.0


def test_the_last_answer_of_a_text() -> None:
    assert last_answer("<answer>a</answer> <ANSWER> b </answer>") == "b"
    assert last_answer("<answer>a") == ""
