"""A discriminator that learns beside a network, in the generative phase of its training."""

from typing import Any, NamedTuple

import torch
from torch import nn

from refsr.config import Sharpen
from refsr.models.discriminator import Discriminator
from refsr.training.distributed import ALONE, Processes

EVERY = 8  # steps from one penalty on the gradient to the next, which counts as much as all between
RATE = 5  # learning rate over the network's: two time scales (Heusel et al., NeurIPS 2017)


class Seen(NamedTuple):
    """A batch, or a part of one, (B, 3, ..., ...) each."""

    sr: torch.Tensor
    hr: torch.Tensor
    lr: torch.Tensor


class Adversary:
    """Tells true images from restored ones, by the hinge loss (Lim and Ye, 2017).

    R1 (Mescheder et al., ICML 2018) keeps its gradient at true images small. From step to step it
    looks from another of four neighbouring pixels on: its strides would else favour every second
    pixel, and the network would learn a pattern of that period.
    """

    def __init__(self, params: Sharpen, scale: int, device: str, seed: int) -> None:
        self.params = params
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Discriminator(scale)
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), RATE * params.learning_rate, betas=(0.5, 0.99), fused=True
        )
        self._seen: list[Seen] = []
        self._updates = 0

    def term(self, sr: torch.Tensor, hr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        """What the restored images are to minimise, (). The images are kept for `learn`."""
        self._seen.append(Seen(sr.detach(), hr, lr))
        self.network.requires_grad_(False)
        judged: torch.Tensor = self.network(sr, lr, self._start)
        self.network.requires_grad_(True)
        return -judged.float().mean()

    def learn(self, step: int, processes: Processes = ALONE) -> dict[str, torch.Tensor]:
        """One update from the images that were judged since the last."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(seen, len(self._seen), step) for seen in self._seen]
        self._seen.clear()
        processes.average([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimizer.step()
        self._updates += 1
        return {"discriminator": torch.stack(losses).mean()}

    @property
    def _start(self) -> tuple[int, int]:
        return divmod(self._updates % 4, 2)

    def _backward(self, seen: Seen, parts: int, step: int) -> torch.Tensor:
        is_penalised = step % EVERY == 0 and self.params.r1_weight > 0
        hr = seen.hr.detach().requires_grad_(is_penalised)
        true, restored = (self.network(each, seen.lr, self._start) for each in (hr, seen.sr))
        loss: torch.Tensor = (1 - true).relu().mean() + (1 + restored).relu().mean()
        total = loss
        if is_penalised:
            (slope,) = torch.autograd.grad(true.sum(), hr, create_graph=True)
            total = loss + EVERY * self.params.r1_weight / 2 * slope.square().sum((1, 2, 3)).mean()
        torch.autograd.backward(total / parts)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self._updates,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._updates = state["updates"]
