"""The means of a training's numbers since they were last reported."""

from typing import Any

import torch


class Means:
    """Sums on the device, so that no step waits for a GPU; they are part of a saved state."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._names: list[str] = []
        self._sums = torch.zeros(0)
        self._count = 0
        self._bad = torch.zeros(0)  # the first step with a loss or gradient that is no number

    def add(self, parts: dict[str, torch.Tensor], step: int) -> None:
        """Add the numbers of a step: scalars, the same ones each time."""
        values = torch.stack([part.detach().float() for part in parts.values()]).double()
        if not self._count:
            self._names = list(parts)
            self._sums = torch.zeros_like(values)
            self._bad = values.new_zeros(())
        self._sums += values
        self._count += 1
        is_bad = ~torch.isfinite(parts["loss"] + parts["gradient_norm"])
        self._bad = torch.where(is_bad & (self._bad == 0), float(step), self._bad)

    def values(self) -> dict[str, float]:
        """The means by name."""
        means = (self._sums / max(1, self._count)).tolist()
        return dict(zip(self._names, means, strict=True))

    def bad_step(self) -> int:
        """The first step whose loss or gradient is no number; 0 where there is none."""
        return int(self._bad.sum())

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "names": self._names,
            "sums": self._sums,
            "count": self._count,
            "bad": self._bad,
        }

    def load(self, state: dict[str, Any], device: str) -> None:
        """Go on from what `state` returned."""
        self._names, self._count = list(state["names"]), int(state["count"])
        self._sums, self._bad = (state[key].to(device) for key in ("sums", "bad"))
