"""Skills by the similarity of their ``when`` and ``brief`` to a goal, as a sentence encoder sees it.

The encoder is the passage retriever's (``retrieval/dense.py``, with its prefixes for E5).  It must be there: nothing
is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.models.hub import missing_encoder
from sdar_cli.retrieval.passages import Passage
from sdar_cli.skills.bank import Skill

if TYPE_CHECKING:
    import numpy as np


class Similarity:
    """Cosines of goals and skills; every text is encoded once.

    model: a folder, or the id of a model in the Hugging Face cache.  Raises PrerequisiteError where it, or
    sentence-transformers, is not there.
    """

    def __init__(self, model: str) -> None:
        for item in missing_encoder(model):
            raise PrerequisiteError(f"missing: {item.what}", fix=item.fix)
        folder = Path(model).expanduser()
        from sdar_cli.retrieval.dense import DenseParameters, Encoder

        self._encoder = Encoder(DenseParameters.of(str(folder) if folder.is_dir() else model), device="cpu")
        self._goals: dict[str, np.ndarray] = {}
        self._skills: dict[Passage, np.ndarray] = {}

    def scores(self, goal: str, skills: Sequence[Skill]) -> dict[str, float]:
        """Cosine of every skill with the goal, by id, rounded to six decimals."""
        texts = {skill.id: Passage("", skill.when, skill.brief) for skill in skills}
        new = [text for text in dict.fromkeys(texts.values()) if text not in self._skills]
        if new:
            self._skills |= dict(zip(new, self._encoder.passages(new), strict=True))
        if goal not in self._goals:
            self._goals[goal] = self._encoder.queries([goal])[0]
        return {each: round(float(self._skills[text] @ self._goals[goal]), 6) for each, text in texts.items()}
