"""The numbers of the parts of a stage, as the option --shard takes them."""


def numbers(total: int) -> list[str]:
    """1/N ... N/N: texts of the package (docs/decisions/0003-kubeflow-loops.md)."""
    return [f"{number}/{total}" for number in range(1, total + 1)]
