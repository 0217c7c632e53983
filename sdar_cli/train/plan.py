"""Which rows go into which micro-batch of which process: a pure function, computed alike by every process.

Under engines that shard weights each forward and backward pass is a meeting of all processes.  So every process must
make the same number of passes, and those made at the same time should cost the same.  Both follow from the lengths
alone: nothing has to be agreed on by messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Size(NamedTuple):
    """Tokens of a row: its prompt is padded on the left, its response on the right."""

    prompt: int
    response: int


def padded_tokens(sizes: Sequence[Size]) -> int:
    """Tokens of a micro-batch of these rows, padding included: what a pass over it costs.  0 without rows."""
    return len(sizes) * (max(s.prompt for s in sizes) + max(s.response for s in sizes)) if sizes else 0


def plan_rows(sizes: Sequence[Size], processes: int, rows: int, tokens: int = 0) -> list[list[list[int]]]:
    """Per process its micro-batches, as indices into ``sizes``; each index occurs once.

    Every process has the same number of them, and the k-th of all processes are as equal in cost as the rows allow.
    The costliest come first, so that a lack of memory shows at once.  An empty micro-batch stands for a filler: a pass
    that counts for nothing.  There is one only where there are fewer rows than passes.

    rows: most rows of a micro-batch.  tokens: most padded tokens of one; 0 is no bound; a row that is longer is alone.
    Raises ValueError where ``processes`` or ``rows`` is not positive.
    """
    if processes < 1 or rows < 1:
        raise ValueError(f"processes and rows must be positive, got {processes} and {rows}")
    batches = _packed(sizes, rows, tokens)

    def cost(batch: Sequence[int]) -> int:
        return padded_tokens([sizes[i] for i in batch])

    while len(batches) % processes:
        batches.sort(key=cost, reverse=True)
        widest = next((k for k, batch in enumerate(batches) if len(batch) > 1), None)
        if widest is None:
            batches.append([])
            continue
        batch = batches.pop(widest)
        batches += [batch[: (len(batch) + 1) // 2], batch[(len(batch) + 1) // 2 :]]
    batches.sort(key=cost, reverse=True)
    return [batches[process::processes] for process in range(processes)]


def _packed(sizes: Sequence[Size], rows: int, tokens: int) -> list[list[int]]:
    """Rows from the longest to the shortest (padding is the waste to avoid), cut where a bound would be passed."""
    batches: list[list[int]] = []
    prompt = response = 0
    for index in sorted(range(len(sizes)), key=lambda i: (-sum(sizes[i]), i)):
        wider = Size(max(prompt, sizes[index].prompt), max(response, sizes[index].response))
        fits = batches and len(batches[-1]) < rows and not (tokens and (len(batches[-1]) + 1) * sum(wider) > tokens)
        if fits:
            batches[-1].append(index)
            prompt, response = wider
        else:
            batches.append([index])
            prompt, response = sizes[index]
    return batches
