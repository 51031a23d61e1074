"""What each node of a TrainJob runs: `torchrun -m components.trainjob.entrypoint FOLDER`, the stage of that folder.

All processes train; the first tells the waiting task (components.trainjob.controller) what came of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from components.shell import ending_as_the_command_line_does
from components.trainjob.controller import ERROR, NUMBERS, read_order
from refsr import steps
from refsr.errors import RefsrError
from refsr.params import parse_section
from refsr.training import distributed


def main(folder: Path) -> None:
    """Run the stage. Its outputs are in place before NUMBERS is, so NUMBERS says that all is there."""
    first = distributed.rank() == 0
    with ending_as_the_command_line_does():
        try:
            order = read_order(folder)
            paths: dict[str, Any] = {key: Path(path) for key, path in order["paths"].items()}
            section = parse_section(order["stage"], order["params"])
            numbers = steps.run(
                order["stage"],
                section,
                tracking_uri=order["tracking_uri"],
                state=Path(order["state"]),
                pipeline=order["pipeline"],
                **paths,
            )
        except RefsrError as error:
            if first:
                (folder / ERROR).write_text(str(error), encoding="utf-8")
            raise
    if first:
        partial = folder / f"{NUMBERS}.partial"
        partial.write_text(json.dumps(numbers), encoding="utf-8")
        partial.rename(folder / NUMBERS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
