"""`python -m pipelines`: the commands of pipelines.cli."""

from pipelines.cli import main
from refsr.console import run_as_process

if __name__ == "__main__":
    run_as_process(main)
