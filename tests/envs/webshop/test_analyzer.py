"""The words of a text: Lucene's on the golden texts, rule by rule, and on any text at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED

from sdar_cli.envs.webshop.lucene.analyzer import CLASS_OF, MAX_TOKEN, STOP_WORDS, analyze, tokenize
from sdar_cli.envs.webshop.lucene.analyzer_tables import CLASSES
from sdar_cli.envs.webshop.lucene.porter import stem

GOLDEN = SHARED / "data" / "webshop" / "golden_analyzer.jsonl"
PARTY, TONE, WOMAN, LAPTOP, JOIN, STYLE = "🎉", "🏽", "👩", "💻", "\u200d", "\ufe0f"


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"no golden texts at {GOLDEN}; set SDAR_SHARED to their folder")
def test_golden_texts() -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert len(rows) == 1500
    assert [row["text"] for row in rows if analyze(row["text"]) != row["tokens"]] == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("can't o'neil’s", ["can't", "o'neil’s"]),
        ("'quoted' rock'", ["quoted", "rock"]),
        ("7.5 1,000 1;2 1.a a.b a:b a,b", ["7.5", "1,000", "1;2", "1", "a", "a.b", "a:b", "a", "b"]),
        ("3.5. a..b 1.,2", ["3.5", "a", "b", "1", "2"]),
        ("512gb 5x7 a16", ["512gb", "5x7", "a16"]),
        ("foo_bar __x__ _ ___", ["foo_bar", "__x__"]),
        ("hand-crafted 7/8 a+b c&d 50% $5", ["hand", "crafted", "7", "8", "a", "b", "c", "d", "50", "5"]),
        ("café cafe\u0301 naïve", ["café", "cafe\u0301", "naïve"]),
        ("日本 ひら カタカナ 한국어 ไทยไทย", ["日", "本", "ひ", "ら", "カタカナ", "한국어", "ไทยไทย"]),
        ('צ"ה א\' א"', ['צ"ה', "א'", "א"]),
        ("½ ° × • – “a” ¡b", ["a", "b"]),
    ],
)
def test_words(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("brand™ brand® ©2", ["brand", "™", "brand", "®", "©", "2"]),
        ("★☆♥", ["★", "♥"]),
        (f"{PARTY}{PARTY}a", [PARTY, PARTY, "a"]),
        (f"❤{STYLE}❤\ufe0e❤", [f"❤{STYLE}", "❤", "❤"]),
        (f"👍{TONE}{PARTY}{TONE}", [f"👍{TONE}", PARTY, TONE]),
        (f"{WOMAN}{TONE}{JOIN}{LAPTOP} {WOMAN}{JOIN}", [f"{WOMAN}{TONE}{JOIN}{LAPTOP}", f"{WOMAN}{JOIN}"]),
        ("🇩🇪🇫🇷🇫", ["🇩🇪", "🇫🇷"]),
        (f"1{STYLE}\u20e3 #{STYLE}\u20e3 # *", [f"1{STYLE}\u20e3", f"#{STYLE}\u20e3"]),
        (f"ℹ{JOIN}{PARTY} ℹa", [f"ℹ{JOIN}{PARTY}", "ℹa"]),  # an emoji that is a letter: the longer of the two
    ],
)
def test_emoji(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 255, [255]),
        ("a" * 600, [255, 255, 90]),
        ("a" * 254 + "'b", [254, 1]),  # the apostrophe is the 255th: what it binds is out of sight
        ("_" * 300 + "a", [255]),  # 46 joiners hold no word within 255 units, then 254 and the letter do
        ("\U0001d400" * 128, [127, 1]),  # two UTF-16 units each
        ("word " + "1" * 256 + " word", [4, 255, 1, 4]),
    ],
)
def test_long_tokens_are_cut(text: str, lengths: list[int]) -> None:
    assert MAX_TOKEN == 255
    assert [len(token) for token in tokenize(text)] == lengths


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("women's WOMEN’S boss＇s James' s", ["women", "women", "boss", "jame", "s"]),
        ("'s it's", ["s"]),  # 's alone is the word s; it's loses its possessive, then is a stop word
        ("The ART of AND", ["art"]),
        ("İSTANBUL ΣΟΦΟΣ", ["istanbul", "σοφοσ"]),  # no final sigma, no dotted i of two characters
        ("", []),
        ("the of – !", []),
    ],
)
def test_possessive_case_and_stop_words(text: str, terms: list[str]) -> None:
    assert len(STOP_WORDS) == 33
    assert analyze(text) == terms


# From Porter's paper (1980), step by step, with the two later rules; the last row is Lucene's on short words.
STEMS = """
caresses>caress ponies>poni ties>ti caress>caress cats>cat gas>ga
feed>feed agreed>agre plastered>plaster bled>bled motoring>motor sing>sing
conflated>conflat troubled>troubl sized>size hopping>hop tanned>tan falling>fall hissing>hiss fizzed>fizz
failing>fail filing>file happy>happi sky>sky enjoy>enjoi
relational>relat conditional>condit rational>ration valenci>valenc digitizer>digit possibly>possibl
radically>radic differently>differ vilely>vile analogously>analog vietnamization>vietnam predication>predic
operator>oper feudalism>feudal decisiveness>decis hopefulness>hope callousness>callous formality>formal
sensitivity>sensit sensibility>sensibl analogi>analog
triplicate>triplic formative>form formalize>formal electrical>electr hopeful>hope goodness>good
revival>reviv allowance>allow inference>infer airliner>airlin adjustable>adjust defensible>defens irritant>irrit
replacement>replac adjustment>adjust dependent>depend adoption>adopt communism>commun activate>activ
homologous>homolog effective>effect bowdlerize>bowdler champion>champion
probate>probat rate>rate cease>ceas controll>control roll>roll
a>a is>is as>as ies>i sses>ss ion>ion 512gb>512gb cafés>café
"""


@pytest.mark.parametrize("case", STEMS.split())
def test_stems(case: str) -> None:
    word, _, expected = case.partition(">")
    assert stem(word) == expected


def test_stems_count_utf16_units() -> None:
    """Two characters, three units: long enough to lose its s."""
    assert stem("\U0001d41as") == "\U0001d41a"
    assert stem("és") == "és"


def test_every_class_is_found_where_it_is_listed() -> None:
    for name, listed in CLASSES.items():
        for part in listed.split():
            first, _, last = part.partition("-")
            assert {CLASS_OF[int(first, 16)], CLASS_OF[int(last or first, 16)]} == {name}
    assert {CLASS_OF[ord(letter)] for letter in " \n-/%–\ud800\U0010ffff"} == {" "}


def test_long_runs_of_marks_and_joiners_take_no_time() -> None:
    """The patterns must not try every way to divide a run: this test would not end."""
    for unit in (
        "_",
        "👍" + JOIN * 3,
        JOIN,
        "a" + "\u0301" * 5,
        "❤" + STYLE + JOIN + JOIN,
        "_" + JOIN,
        "#" + JOIN,
        'א"',
    ):
        tokenize(unit * 3000)


@given(st.text(max_size=60) | st.text("ab1_.':\"é™ℹ★👍🏽🇩\u200d\ufe0f\ufe0e\u20e3\u0301#אカไ日 ", max_size=40))
def test_any_text(text: str) -> None:
    """Tokens are pieces of the text in their order; terms are in lower case and never empty."""
    place = 0
    for token in tokenize(text):
        place = text.index(token, place) + len(token)
    terms = analyze(text)
    assert all(terms)
    assert not STOP_WORDS & {word for word in tokenize(text.lower()) if analyze(word)}
    assert analyze(" ".join(tokenize(text))) == terms
