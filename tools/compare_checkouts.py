"""Compare two checkouts byte for byte: `python -m tools.compare_checkouts OLD NEW`.

Each checkout runs every stage in a folder of its own, as its own dvc.yaml says. Then all files of
the outputs are compared, except for IGNORED and the speed of the trainings.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

IGNORED = (  # files that name the run, the time or the code itself
    ".refsr.json",  # which stage wrote the folder, with what code
    "reports/registration",
    "reports/validation",
)
FLOAT_32 = {"train_sisr": {"precision": "float32"}, "train_refsr": {"precision": "float32"}}


def run_stages(checkout: Path, folder: Path, params: Path) -> None:
    """Run every stage of `checkout`, with the sections of `params`, in `folder`.

    Raises CalledProcessError where a stage fails.
    """
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(_with_fixed_precision(params))
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    environment |= {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    stages = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        print(f"{folder.name}: {name}", file=sys.stderr, flush=True)
        command = stage["cmd"].replace("python ", f"{sys.executable} ", 1)
        subprocess.run(  # noqa: S603 - a command of the checkout's own dvc.yaml
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def _with_fixed_precision(params: Path) -> str:
    """The params file with float32 trainings: `auto` may choose otherwise on a busy machine."""
    document = yaml.safe_load(params.read_text())
    for section, fixed in FLOAT_32.items():
        document[section] = (document.get(section) or {}) | fixed
    return yaml.safe_dump(document)


def differences(old: Path, new: Path) -> Iterator[str]:
    """Each file of the outputs that only one folder has, or whose bytes differ."""
    for name in sorted(_outputs(old) | _outputs(new)):
        paths = [folder / name for folder in (old, new)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            yield f"{name}: not in {missing[0].relative_to(old.parent).parts[0]}"
        elif _content(paths[0]) != _content(paths[1]):
            yield f"{name}: bytes differ"


def _outputs(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)) for path in files}
    return {name for name in names if _is_compared(name)}


def _is_compared(name: str) -> bool:
    is_output = name.startswith(("data/", "models/", "reports/"))
    return is_output and not any(part in name for part in IGNORED)


def _content(path: Path) -> bytes:
    """The bytes of a file, without the speed of the run in curves and report."""
    data = path.read_bytes()
    if path.name == "history.csv":
        return b"\n".join(line.rpartition(b",")[0] for line in data.splitlines())
    if path.name == "report.html":
        return re.sub(rb'aria-label="images_per_second.*?</div></div>', b"", data, flags=re.DOTALL)
    return data


def main() -> int:
    """Run both checkouts and print what differs; the exit status is 1 where anything does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="the checkout to compare with it")
    parser.add_argument("--params", type=Path, default=Path("params/tiny.yaml"))
    parser.add_argument(
        "--keep", type=Path, help="a folder for both runs (default: a scratch folder)"
    )
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="refsr-compare-"))
    try:
        for name in ("old", "new"):
            checkout = getattr(options, name).resolve()
            run_stages(checkout, work / name, options.params.resolve())
        different = list(differences(work / "old", work / "new"))
    finally:
        if not options.keep:
            shutil.rmtree(work)
    print("\n".join(different) or "no byte differs")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
