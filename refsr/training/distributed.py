"""A training by several processes, as `torchrun` or a Kubeflow TrainJob starts them.

Each process takes its share of every batch, gradients are averaged, so that all keep the same
weights. The first does what is seen: the others run in `refsr.steps` with a tracker that keeps
nothing and a folder that is thrown away. The launcher says who is who (RANK, LOCAL_RANK,
WORLD_SIZE, MASTER_ADDR, MASTER_PORT); without it there is one process.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from refsr.training.pairs import Batch

T = TypeVar("T")


def rank() -> int:
    """This process's number; 0 is the first, or the only one."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Processes:
    """Who trains together. Alone, by default."""

    rank: int = 0
    count: int = 1
    on_cpu: Any = None  # their process group for what lies in the memory of the CPU

    def share(self, batch: "Batch") -> "Batch":
        """This process's images of a batch."""
        return batch.every(self.rank, self.count)

    def unsynchronised(self, parallel: "nn.Module") -> AbstractContextManager[Any]:
        """While it lasts, gradients are added up in each process alone."""
        return parallel.no_sync() if self.count > 1 else nullcontext()  # type: ignore[operator]

    def parallel(self, model: "nn.Module") -> "nn.Module":
        """The network to call in training, so that gradients are averaged.

        Its first weights become everybody's.
        """
        from torch.nn.parallel import DistributedDataParallel

        if self.count == 1:
            return model
        return DistributedDataParallel(
            model,
            find_unused_parameters=True,
        )  # a step without reference leaves some out

    def from_first(self, value: T) -> T:
        """The first process's value, in all."""
        import torch.distributed

        shared = [value]
        if self.count > 1:
            torch.distributed.broadcast_object_list(shared)
        return shared[0]

    def any(self, is_so: bool) -> bool:
        """Whether it is so in any process; all get the same answer. A GPU is not waited for."""
        return bool(self.largest(int(is_so)))

    def average(self, tensors: "list[torch.Tensor]") -> None:
        """Replace tensors by their means over the processes."""
        import torch.distributed

        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor.div_(self.count))

    def largest(self, value: int) -> int:
        """The largest value of all processes."""
        import torch.distributed

        if self.count == 1:
            return value
        answer = torch.tensor([value])
        torch.distributed.all_reduce(answer, torch.distributed.ReduceOp.MAX, self.on_cpu)
        return int(answer.item())


ALONE = Processes()


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """Join the others for the length of the block on "cuda" or "cpu".

    With one process there is nothing to join. A launcher's processes can meet once, so that several
    trainings of one process need a block around all of them.
    """
    import torch

    if count() == 1:
        yield ALONE
        return
    if torch.distributed.is_initialized():
        yield Processes(rank(), count(), torch.distributed.new_group(backend="gloo"))
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Processes(rank(), count(), torch.distributed.new_group(backend="gloo"))
    finally:
        torch.distributed.destroy_process_group()
