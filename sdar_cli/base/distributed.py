"""Several processes of one run, started by torchrun: who does what, and how they agree.

Every process holds the whole model.  Each plays and scores a part of the groups and samples of a step; episodes are
gathered, so that each process knows all samples of the step; gradients are added up.  Only the first process writes.
TRL and accelerate see one process, and the loss's normaliser is that of the whole batch.

Without torchrun all of this is the identity.  Sharding of the weights (FSDP, ZeRO) is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sdar_cli.base.errors import PrerequisiteError

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
TIMEOUT = timedelta(hours=4)
"""How long a process waits for the slowest one: an evaluation of a large panel."""


@dataclass
class _Group:
    rank: int = 0
    world_size: int = 1


_group = _Group()


def rank() -> int:
    """This process's number, from 0."""
    return _group.rank


def world_size() -> int:
    """The number of processes."""
    return _group.world_size


def is_main() -> bool:
    """Whether this is the process that writes and reports."""
    return _group.rank == 0


def launched_world_size() -> int:
    """Processes that torchrun started, before ``process_group`` joins them; 1 otherwise."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes of torchrun, each with a GPU of its own unless ``device`` is ``cpu``; leave them at the end.

    torchrun's variables are removed from the environment: a library that reads them would start a second group.
    Raises PrerequisiteError where there are fewer GPUs than processes.
    """
    if launched_world_size() == 1:
        yield
        return
    import torch
    from torch import distributed

    number, size, local = (int(os.environ[name]) for name in VARIABLES[:3])
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        if local >= gpus:
            raise PrerequisiteError(f"process {local} has no GPU: {gpus} are visible", fix=f"--nproc_per_node {gpus}")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[local]  # before CUDA starts: to this process it is the only one
    distributed.init_process_group("nccl" if gpus else "gloo", rank=number, world_size=size, timeout=TIMEOUT)
    for name in VARIABLES:
        os.environ.pop(name, None)
    _group.rank, _group.world_size = number, size
    try:
        yield
    finally:
        _group.rank, _group.world_size = 0, 1
        distributed.destroy_process_group()


def gather(item: T) -> list[T]:
    """The items of all processes, in order of rank; every process must call it."""
    if _group.world_size == 1:
        return [item]
    from torch import distributed

    items: list[Any] = [None] * _group.world_size
    distributed.all_gather_object(items, item)
    return items


def from_main(item: T) -> T:
    """The first process's item; the others' is ignored."""
    return gather(item)[0]


@contextmanager
def main_first() -> Iterator[None]:
    """The first process runs the block before the others do, so that they find what it prepared."""
    if not is_main():
        gather(None)
    yield
    if is_main():
        gather(None)


def local_part(items: Sequence[T]) -> list[T]:
    """This process's part of a list: every ``world_size``-th item, the first at index ``rank``."""
    return list(items[_group.rank :: _group.world_size])


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """The list again, from the ``local_part`` of every process, in order of rank."""
    total = sum(map(len, parts))
    return [parts[i % len(parts)][i // len(parts)] for i in range(total)]


def add_gradients(model: nn.Module) -> None:
    """Replace every gradient by its sum over the processes.  A parameter with no gradient anywhere keeps None."""
    if _group.world_size == 1:
        return
    import torch
    from torch import distributed

    parameters = [p for p in model.parameters() if p.requires_grad]
    known = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    distributed.all_reduce(known)
    for p, count in zip(parameters, known.tolist(), strict=True):
        if count:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            distributed.all_reduce(p.grad)
