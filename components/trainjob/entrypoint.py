"""The program of each node of a TrainJob: `torchrun -m components.trainjob.entrypoint FOLDER`.

All processes train the stage that FOLDER requests. The process of rank 0 writes the result for
the waiting task (components.trainjob.controller).
"""

import json
import sys
from pathlib import Path
from typing import Any

from components.shell import exit_with_message
from components.trainjob.controller import ERROR, RESULT
from components.trainjob.request import read_request
from refsr import steps
from refsr.errors import RefsrError
from refsr.params import parse_section
from refsr.training import distributed


def main(folder: Path) -> None:
    """Run the stage. The file RESULT is written last: if it exists, all outputs are complete."""
    is_first = distributed.rank() == 0
    with exit_with_message():
        try:
            metrics = _run(read_request(folder))
        except RefsrError as error:
            if is_first:
                (folder / ERROR).write_text(str(error), encoding="utf-8")
            raise
    if is_first:
        partial = folder / f"{RESULT}.partial"
        partial.write_text(json.dumps(metrics), encoding="utf-8")
        partial.rename(folder / RESULT)


def _run(request: dict[str, Any]) -> dict[str, float]:
    paths: dict[str, Any] = {key: Path(path) for key, path in request["paths"].items()}
    return steps.run(
        request["stage"],
        parse_section(request["stage"], request["params"]),
        tracking_uri=request["tracking_uri"],
        state=Path(request["state"]),
        pipeline=request["pipeline"],
        **paths,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
