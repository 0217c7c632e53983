"""Porter's stemmer of 1980 as Lucene runs it: with his later rules bli → ble and logi → log.

Characters outside a–z are consonants; a word of one or two UTF-16 units is left alone.
"""

from __future__ import annotations

VOWELS = frozenset("aeiou")


def _by_ending(rules: str) -> dict[str, list[tuple[str, str]]]:
    """``"ational>ate …"`` grouped by the letter before the last, longer endings first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for rule in rules.split():
        old, _, new = rule.partition(">")
        groups.setdefault(old[-2], []).append((old, new))
    return {letter: sorted(group, key=lambda rule: -len(rule[0])) for letter, group in groups.items()}


DOUBLE_SUFFIXES = _by_ending(
    "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e ousli>ous ization>ize "
    "ation>ate ator>ate alism>al iveness>ive fulness>ful ousness>ous aliti>al iviti>ive biliti>ble logi>log"
)
ADJECTIVES = _by_ending("icate>ic ative> alize>al iciti>ic ical>ic ful> ness>")
RESIDUES = _by_ending(
    "al> ance> ence> er> ic> able> ible> ant> ement> ment> ent> ion> ou> ism> ate> iti> ous> ive> ize>"
)


def stem(word: str) -> str:
    """The stem of a lower-case word; at most as long as the word."""
    if max(word, default="") > "\uffff":  # Lucene counts UTF-16 units
        return _from_units(_stem(_to_units(word)))
    return _stem(word)


def _stem(word: str) -> str:
    if len(word) <= 2:
        return word
    word = _past_and_gerund(_plural(word))
    if word[-1] == "y" and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    if len(word) > 1:
        word = _replace(word, DOUBLE_SUFFIXES)
        word = _replace(word, ADJECTIVES)
        word = _drop_residue(word)
    return _final_e_and_l(word)


def _plural(word: str) -> str:
    if not word.endswith("s"):
        return word
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word if word[-2] == "s" else word[:-1]


def _past_and_gerund(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    base = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
    if not base or not _has_vowel(base):
        return word
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if len(base) > 1 and base[-1] == base[-2] and _shape(base)[-1] == "c":
        return base if base[-1] in "lsz" else base[:-1]
    return base + "e" if _measure(base) == 1 and _is_short(base) else base


def _replace(word: str, rules: dict[str, list[tuple[str, str]]]) -> str:
    """Replace the ending that a rule names when a measure above 0 is left of it."""
    for old, new in rules.get(word[-2:-1], ()):
        if word.endswith(old):
            base = word[: -len(old)]
            return base + new if _measure(base) > 0 else word
    return word


def _drop_residue(word: str) -> str:
    """Drop the ending that is left when a measure above 1 is left of it; ion only after s or t."""
    for old, _ in RESIDUES.get(word[-2:-1], ()):
        base = word[: -len(old)]
        if word.endswith(old) and (old != "ion" or base.endswith(("s", "t"))):
            return base if _measure(base) > 1 else word
    return word


def _final_e_and_l(word: str) -> str:
    if word[-1] == "e":
        measure = _measure(word)
        if measure > 1 or (measure == 1 and not _is_short(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


def _shape(word: str) -> str:
    """``c`` or ``v`` for each character: y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        vowel = letter in VOWELS or (letter == "y" and shape[-1:] == "c")
        shape += "v" if vowel else "c"
    return shape


def _measure(word: str) -> int:
    """Porter's m: how often a vowel is followed by a consonant."""
    return _shape(word).count("vc")


def _has_vowel(word: str) -> bool:
    return "v" in _shape(word)


def _is_short(word: str) -> bool:
    """Ends consonant, vowel, consonant, the last not w, x or y."""
    return _shape(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _to_units(word: str) -> str:
    """Each UTF-16 unit as a character of its own."""
    units = word.encode("utf-16-le")
    return "".join(chr(units[i] | units[i + 1] << 8) for i in range(0, len(units), 2))


def _from_units(units: str) -> str:
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
