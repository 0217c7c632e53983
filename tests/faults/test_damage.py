"""Files damaged on the disk: every file of a checkpoint, an index and a run, by flipped bits and cuts at seeded places.

A documented error, or the same result as before; never another exception, never another result without a word.
``SDAR_FAULTS_PER_FILE`` is the number of faults per file in the slow tests (300).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT
from safetensors.torch import load_file, save_file

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import SdarError
from sdar_cli.config.schema import RunConfig
from sdar_cli.retrieval.open import open_retriever
from sdar_cli.runs.checkpoints import NEEDED, publish, refuse_damaged
from sdar_cli.runs.metrics import read_steps
from sdar_cli.runs.records import read_episodes
from sdar_cli.runs.results import read_report
from sdar_cli.runs.rundir import RunDir
from sdar_cli.runs.show import overview
from sdar_cli.train.resume import starting_point

from .hostile import SEED

FEW, MANY = 4, int(os.environ.get("SDAR_FAULTS_PER_FILE", "300"))
QUERIES = ["where is Velmora", "painter", "the river Tarn"]
LEVELS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]


def faults(folder: Path, number: int) -> Iterator[str]:
    """Damage one file of a folder at a time, ``number`` times each, and mend it again; yields what was done."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        whole = path.read_bytes()
        rng = random.Random(f"{SEED}/{path.relative_to(folder)}")
        for turn in range(number if whole else 0):
            at = rng.randrange(len(whole))
            flipped = turn % 4 != 3
            _put(path, whole[:at] + (bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]) * flipped)
            yield f"{path.relative_to(folder)}, {'bit flipped' if flipped else 'cut'} at byte {at} of {len(whole)}"
        _put(path, whole)


def _put(path: Path, content: bytes) -> None:
    """Another file under the same name: an open index may still have the old one mapped into memory."""
    path.unlink()
    path.write_bytes(content)


def inject(folder: Path, number: int, read: Callable[[], Any], detects_all: bool = True) -> None:
    """Read a folder after every fault.  detects_all: a fault without an error must leave the result as it was."""
    expected, done, refused = read(), 0, 0
    for fault in faults(folder, number):
        done += 1
        try:
            found = read()
        except SdarError as error:
            assert error.render(), fault
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{fault}: {type(error).__name__}: {error}") from error
        else:
            assert not detects_all or found == expected, f"{fault}: another result"
    assert read() == expected and refused > 0
    print(f"\n{folder.name}: {done} faults, {refused} refused, {done - refused} without effect")


@pytest.fixture
def checkpoints(tmp_path: Path) -> RunDir:
    """A run of one step with a checkpoint."""
    run = RunDir.create(tmp_path, RunConfig(name="a"))
    folder = run.checkpoints / "checkpoint-1"
    folder.mkdir()
    for name in NEEDED[:2]:
        torch.save({"state": torch.arange(50.0), "name": name}, folder / name)
    (folder / NEEDED[2]).write_text('{"global_step": 1}')
    (folder / "skills.json").write_text('{"bank": null}')
    save_file({"w": torch.arange(64.0)}, folder / "model.safetensors")
    publish(folder, 1, keep=1)
    run.metrics.write_text('{"step": 1}\n')
    return run


@pytest.mark.parametrize("number", LEVELS)
def test_a_checkpoint_to_resume_from(checkpoints: RunDir, number: int) -> None:
    def read() -> bytes:
        with Reporter(plain=True) as reporter:
            start = starting_point(checkpoints, RunConfig(name="a"), True, reporter)
        assert start is not None
        return b"".join((start / name).read_bytes() for name in (*NEEDED, "skills.json", "model.safetensors"))

    inject(checkpoints.checkpoints, number, read)


@pytest.mark.parametrize("number", LEVELS)
def test_a_checkpoint_to_evaluate(checkpoints: RunDir, number: int) -> None:
    folder = checkpoints.checkpoints / "step-000001"

    def read() -> list[float]:
        refuse_damaged(folder)
        return load_file(folder / "model.safetensors")["w"].tolist()

    inject(folder, number, read)


@pytest.mark.parametrize("number", LEVELS)
def test_an_index(tmp_path: Path, number: int) -> None:
    from sdar_cli.retrieval.index import build_index

    corpus = tmp_path / "c.tsv"
    rows = [
        ("Velmora", "a port on the river Tarn"),
        ("Ada", "a painter of Velmora"),
        ("Tarn", "a river of 90 miles"),
    ]
    corpus.write_text("".join(f"{number}\t{text}\t{title}\n" for number, (title, text) in enumerate(rows)))
    build_index(corpus, tmp_path / "index")

    def read() -> list[list[Any]]:
        retriever = open_retriever(tmp_path / "index")
        try:
            return retriever.search(QUERIES, 3)
        finally:
            retriever.close()

    inject(tmp_path / "index", number, read)


@pytest.mark.parametrize("number", LEVELS)
def test_the_records_of_a_run(tmp_path: Path, number: int) -> None:
    """Records hold no digests: a digit that became another is read as such.  What breaks their form is an error."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "tests" / "older" / "shop", folder)

    def read() -> object:
        run = RunDir(folder)
        row = overview(run)
        if "error" in row:
            raise SdarError(row["error"])
        run.config()
        files = [path for part in (run.episodes, run.eval) for path in sorted(part.glob("*.jsonl"))]
        records = [record for path in files for record in read_episodes(path)]
        return row, read_steps(run.metrics), records, [read_report(path) for path in sorted(run.eval.glob("*.json"))]

    inject(folder, number, read, detects_all=False)
