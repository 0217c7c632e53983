"""Peak memory and time of one update: the full-vocabulary objectives against the surrogate.

    python benchmarks/full_vocabulary.py [--rows 32] [--tokens 64] [--vocabulary 150000] [--updates 1] [--smallest]

A random Qwen3-architecture model and random rows; all tokens of an update are in one micro-batch.  Every objective
trains for two steps in a process of its own, so that its peak is its own; the second step (the teacher's pass and the
updates) is timed, with AdamW's moments in memory.  On a CPU the peak is that of the resident set (``ru_maxrss``) and
the time is CPU time; on a GPU they are torch's count of allocated bytes and wall time.  ``loaded`` is what the process
held before the first step, and ``above loaded`` is measured from there, so that libraries and weights flatter no ratio.
``naive`` is reverse-kl from all logits at once: what the chunks save.

TRL's own log-probs take 4,096 tokens x 32,768 words at a time, of which its path without Triton holds several copies:
on a CPU most of every peak.  ``--tile 256`` makes that small and the objectives' own share visible.

Exits 1 where the peak of an objective other than ``naive`` is more than 1.5 times the surrogate's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from sdar_cli.algo.batch import TokenBatch
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.rollout.samples import Sample

ROOT = Path(__file__).resolve().parents[1]
TARGET = 1.5
NAIVE = "full_vocabulary:naive"
WAYS = ("surrogate", "reverse-kl", "forward-kl", "jsd", "naive")
PROMPT, SKILL, PER_GROUP = 8, 8, 4
SMALLEST = {
    "rows": 4, "tokens": 8, "vocabulary": 500, "layers": 1, "width": 16, "cpu": True,
    "objectives": ["reverse-kl", "naive"],
}  # fmt: skip


def naive(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * KL(student || teacher) as one would write it down: both softmaxes of every token at once."""
    from torch.nn.functional import linear

    def log_probs(head: Any) -> Tensor:
        logits = linear(head.hidden, head.weight.to(head.hidden.dtype), head.bias)
        return (logits.float() / head.temperature).log_softmax(-1)

    student, teacher = log_probs(batch.student_head), log_probs(batch.teacher_head).detach()
    return weight * (student.exp() * (student - teacher)).sum(-1)


naive.full_vocabulary = True  # type: ignore[attr-defined]


def random_samples(given: argparse.Namespace) -> list[Sample]:
    """Samples of equal length for every update of a step, advantages of both signs, every token of weight 1."""
    import torch

    from sdar_cli.rollout.samples import Sample

    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(3, given.vocabulary, (count,), generator=generator).tolist()

    samples = []
    for k in range(given.rows * given.updates):
        prompt, response = ids(PROMPT), ids(given.tokens)
        samples.append(
            Sample(
                prompt_ids=prompt,
                response_ids=response,
                mask=[True] * given.tokens,
                turn_of=[0] * given.tokens,
                trajectory=k,
                group=k // PER_GROUP,
                turn=0,
                sampler_logps=[math.nan] * given.tokens,
                success=False,
                advantage=[(-1.0) ** k] * given.tokens,
                weight=[1.0] * given.tokens,
                teacher_prompts=[[*ids(SKILL), *prompt]],
            )
        )
    return samples


def configuration(objective: str, given: argparse.Namespace) -> RunConfig:
    """Two steps of SDAR with an objective."""
    from sdar_cli.config.presets import resolve

    settings = {
        "algo.objective": NAIVE if objective == "naive" else objective,
        "model.max_response_tokens": given.tokens,
        "train.steps": 2,
        "train.updates_per_step": given.updates,
        "train.micro_batch": given.rows,
    }
    return resolve(method="sdar", sets=[f"{key}={value}" for key, value in settings.items()]).config


def random_model(given: argparse.Namespace) -> Any:
    """A Qwen3-architecture model of the sizes asked for."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=given.vocabulary,
            hidden_size=given.width,
            intermediate_size=2 * given.width,
            num_hidden_layers=given.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=given.width // 4,
            tie_word_embeddings=True,
            dtype="float32",
        )
    )


def measure(objective: str, given: argparse.Namespace) -> dict[str, Any]:
    """Two steps in this process: what was held before them, the peak, and the seconds of the second."""
    import torch

    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.train.trainer import SDARTrainer, StepData

    if given.tile:
        from trl.kernels import chunked_logprob

        chunked_logprob.TOKEN_CHUNK_SIZE = given.tile
    on_gpu = torch.cuda.is_available() and not given.cpu
    config = configuration(objective, given)
    torch.manual_seed(0)
    model = random_model(given).to("cuda" if on_gpu else "cpu")
    samples = random_samples(given)
    clock = time.perf_counter if on_gpu else time.process_time
    marks: list[float] = []
    finished: list[dict[str, Any]] = []

    def rollout(trainer: SDARTrainer, step: int) -> StepData:
        marks.append(clock())
        return StepData(samples, float(len(samples) * given.tokens))

    def after_step(trainer: SDARTrainer, step: int, metrics: dict[str, Any]) -> bool:
        finished.append(metrics | {"seconds": clock() - marks[-1]})
        return False

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer(config.model)  # any: the rows are made of ids
        trainer = SDARTrainer(config, model, tokenizer, Path(folder), rollout, after_step)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        loaded = torch.cuda.memory_allocated() / 2**20 if on_gpu else resident()
        trainer.train()
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "loaded": loaded,
        "peak": peak / 2**20,
        "distill_loss": finished[-1]["distill_loss"],
        "seconds": finished[-1]["seconds"],
    }


def resident() -> float:
    """MiB this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_fresh_process(objective: str, words: list[str]) -> dict[str, Any]:
    """``measure`` in a process of its own.  This one stays small: a child inherits its parent's ``ru_maxrss``."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, *words, "--measure", objective],
        env={"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{objective}: {found}", file=sys.stderr, flush=True)
    return found


def report(given: argparse.Namespace, found: dict[str, dict[str, Any]]) -> bool:
    """Print the table; whether every objective but the naive one keeps to the target."""
    base = found["surrogate"]
    print(
        f"{base['device']}, {platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', '1')}, load {os.getloadavg()[0]:.1f}, torch {base['torch']}\n"
        f"{given.rows} rows x {given.tokens} tokens = {given.rows * given.tokens} per update, updates per step "
        f"{given.updates}, vocabulary {given.vocabulary}, {given.layers} layers of width {given.width}, "
        f"tile {given.tile or 'as TRL has it'}\n"
    )
    print("| objective | loaded MiB | peak MiB | ratio | above loaded MiB | ratio | step s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, one in found.items():
        above, base_above = one["peak"] - one["loaded"], base["peak"] - base["loaded"]
        print(
            f"| {name} | {one['loaded']:.0f} | {one['peak']:.0f} "
            f"| {one['peak'] / base['peak']:.2f} | {above:.0f} | {above / base_above:.2f} "
            f"| {one['seconds']:.1f} | {one['seconds'] / base['seconds']:.2f} |"
        )
    worst = max(one["peak"] / base["peak"] for name, one in found.items() if name != "naive")
    if {"naive", "reverse-kl"} <= found.keys():
        losses = [found[name]["distill_loss"] for name in ("reverse-kl", "naive")]
        print(f"\nreverse-kl and naive, loss of the second step: {losses[0]:.6g} and {losses[1]:.6g}")
    print(f"\nat most {TARGET:g} times the surrogate's peak: {'yes' if worst <= TARGET else 'NO'} ({worst:.2f})")
    return worst <= TARGET


def main() -> None:
    """Measure every objective and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("rows", 32),
        ("tokens", 64),
        ("vocabulary", 150_000),
        ("updates", 1),
        ("layers", 2),
        ("width", 256),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tile", type=int, help="tokens per tile of TRL's log-probs; default TRL's own")
    parser.add_argument("--objectives", nargs="+", default=list(WAYS[1:]), choices=WAYS, help="besides the surrogate")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--smallest", action="store_true", help="a toy model and two objectives: to see that it runs")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.smallest:
        vars(given).update(SMALLEST)
    if given.measure:
        print(json.dumps(measure(given.measure, given)))
        return
    names = ["surrogate", *(name for name in given.objectives if name != "surrogate")]
    words = sys.argv[1:]
    sys.exit(0 if report(given, {name: in_fresh_process(name, words) for name in names}) else 1)


if __name__ == "__main__":
    main()
