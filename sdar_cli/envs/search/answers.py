"""How an answer is judged: exact match and F1 after SQuAD's normalisation.

The released reward reads the last ``<answer>`` of the whole history, passages included; here the final action alone is
judged unless ``env.score_scope`` is set otherwise.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from sdar_cli.base.blocks import all_blocks

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROPPED = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus white space (Rajpurkar et al. 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROPPED)).split())


def exact_match(prediction: str, targets: Sequence[str]) -> bool:
    """Whether the prediction is one of the targets.  A prediction of which nothing is left matches none, although it
    would equal a target such as ``The``."""
    given = normalize(prediction)
    return bool(given) and any(given == normalize(target) for target in targets)


def f1(prediction: str, targets: Sequence[str]) -> float:
    """The best harmonic mean of word precision and recall against a target, from 0 to 1."""
    return max((_f1(normalize(prediction).split(), normalize(target).split()) for target in targets), default=0.0)


def _f1(given: list[str], wanted: list[str]) -> float:
    common = sum((Counter(given) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def last_answer(history: str) -> str:
    """The released scope: the last answer block anywhere in a text; empty where there is none."""
    found = all_blocks(history, "answer")
    return found[-1].strip() if found else ""
