"""A bank of many skills: how long it takes to read, lint and query, in CPU seconds of one thread.

    python benchmarks/skills.py [--skills 10000] [--categories 100] [--folder DIR] [--smallest]

The bank is written once (not timed): texts of 120 words drawn from 5,000, ten keywords per category; one text in a
hundred repeats an earlier one but for a word.  The panel is 66 goals of nine words.  ``elapsed`` also counts waiting
for the disk and for other processes.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import Skill, read_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.lint import Goal, lint_bank, lint_panel
from sdar_cli.skills.write import Draft, write_bank

GOALS = 66
SMALLEST = {"skills": 200, "categories": 10}


def main() -> None:
    """Print a line per piece of work, and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skills", type=int, default=10_000)
    parser.add_argument("--categories", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="keep the bank here")
    parser.add_argument("--smallest", action="store_true", help="a small bank: to see that it runs")
    given = parser.parse_args()
    if given.smallest:
        vars(given).update(SMALLEST)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "bank"
        rng = random.Random(0)
        words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(5000)]
        if not folder.exists():
            make_bank(folder, given.skills, given.categories, words, rng)
        measure(folder, words)


def make_bank(folder: Path, skills: int, categories: int, words: list[str], rng: random.Random) -> None:
    """Write the bank."""
    kinds = [f"type-{i}" for i in range(categories)]
    texts: list[str] = []
    for number in range(skills):
        drawn = rng.choices(words, k=120)
        if number % 100 == 99:
            drawn = texts[rng.randrange(number)].split()
            drawn[60] = rng.choice(words)
        texts.append(" ".join(drawn))
    made = [
        Skill(f"skill-{i}", kinds[i % categories], " ".join(rng.choices(words, k=6)), f"do {i}", text, "")
        for i, text in enumerate(texts)
    ]
    keywords = {kind: tuple(dict.fromkeys(rng.choices(words, k=10))) for kind in kinds}
    write_bank(Draft("large", "1", "alfworld", "CC0-1.0", keywords, made), folder)


def measure(folder: Path, words: list[str]) -> None:
    """Read, lint, lint on a panel, and choose skills for its goals by keyword, task type and bandit."""
    rng = random.Random(1)
    bank, read = timed(lambda: read_bank(folder))
    kinds = list(bank.categories)
    goals = [Goal(Task(f"t{i}", rng.choice(kinds), "eval"), " ".join(rng.choices(words, k=9))) for i in range(GOALS)]
    retriever = Retriever(bank, SkillsConfig())
    parts = {"read": read}
    _, parts["lint"] = timed(lambda: lint_bank(bank))
    _, parts["lint on a panel"] = timed(lambda: lint_panel(bank, goals))
    for strategy in ("keyword", "task-type", "ucb"):
        chosen = f"{GOALS} goals by {strategy}"
        _, parts[chosen] = timed(lambda s=strategy: [retriever.choose(s, g.task, g.text) for g in goals])
    for name, (cpu, elapsed) in parts.items():
        print(f"{name:<22} {cpu:6.3f} s CPU  {elapsed:6.3f} s elapsed")
    total = [sum(pair[i] for pair in parts.values()) for i in (0, 1)]
    print(f"{len(bank.skills):,} skills in all {total[0]:9.3f} s CPU  {total[1]:6.3f} s elapsed")


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """(result, (CPU seconds, elapsed seconds))"""
    cpu, began = time.process_time(), time.perf_counter()
    result = work()
    return result, (time.process_time() - cpu, time.perf_counter() - began)


if __name__ == "__main__":
    main()
