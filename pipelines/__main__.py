"""`python -m pipelines`: the commands of pipelines.cli."""

import sys

from pipelines.cli import main
from refsr.redaction import print_exception

if __name__ == "__main__":
    sys.excepthook = print_exception
    sys.exit(main())
