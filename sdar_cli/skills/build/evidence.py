"""Enrichment of a pattern in won episodes over lost ones, and whether chance could explain it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """Of ``won_of`` won episodes ``won`` have the pattern, of ``lost_of`` lost ones ``lost``."""

    won: int
    won_of: int
    lost: int
    lost_of: int

    @property
    def won_share(self) -> float:
        """0 without won episodes."""
        return self.won / self.won_of if self.won_of else 0.0

    @property
    def lost_share(self) -> float:
        """0 without lost episodes."""
        return self.lost / self.lost_of if self.lost_of else 0.0

    def p_helps(self) -> float:
        """Fisher's exact one-sided p that the pattern is as frequent in lost episodes.  1 where one side is empty."""
        return fisher_tail(self.won, self.won_of, self.won + self.lost, self.won_of + self.lost_of)

    def p_harms(self) -> float:
        """The same for the other side."""
        return fisher_tail(self.lost, self.lost_of, self.won + self.lost, self.won_of + self.lost_of)

    def words(self) -> str:
        """``23 of 23 won, 12 of 43 lost``."""
        return f"{self.won} of {self.won_of} won, {self.lost} of {self.lost_of} lost"


def count(won: Collection[Collection[str]], lost: Collection[Collection[str]], pattern: str) -> Count:
    """In how many won and lost episodes, each a set of patterns, one pattern is."""
    return Count(sum(pattern in each for each in won), len(won), sum(pattern in each for each in lost), len(lost))


def fisher_tail(k: int, drawn: int, marked: int, total: int) -> float:
    """P(at least ``k`` marked among ``drawn``) when ``marked`` of ``total`` are marked: hypergeometric."""
    ways = sum(math.comb(marked, i) * math.comb(total - marked, drawn - i) for i in range(k, min(drawn, marked) + 1))
    return ways / math.comb(total, drawn)


def pooled_z(counts: Iterable[Count]) -> float:
    """Mantel and Haenszel's statistic over types: positive where the pattern goes with winning within the types.

    0 where no type has two episodes.
    """
    excess = variance = 0.0
    for c in counts:
        total, marked = c.won_of + c.lost_of, c.won + c.lost
        if total > 1:
            excess += c.won - c.won_of * marked / total
            variance += c.won_of * c.lost_of * marked * (total - marked) / (total * total * (total - 1))
    return excess / math.sqrt(variance) if variance else 0.0


def normal_tail(z: float) -> float:
    """P(Z >= z) of a standard normal."""
    return 0.5 * math.erfc(z / math.sqrt(2))
