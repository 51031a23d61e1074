"""Where an installed package keeps a file of weights."""

from importlib.util import find_spec
from pathlib import Path

from refsr.errors import RefsrError


def package_file(package: str, name: str) -> Path:
    """The path of a data file inside an installed package, without importing the package.

    Importing would run code that is not needed and may not even run (one of them imports
    TensorFlow). Raises RefsrError where the package or the file is missing.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, name)
        if path.is_file():
            return path
    raise RefsrError(
        f"{package}/{name}: pretrained weights are not installed; "
        "run `make setup` (weights.txt names the packages)"
    )
