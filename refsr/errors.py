"""The error for everything that a user can fix, and the end of a process that was stopped."""

from refsr.redaction import hide


class RefsrError(Exception):
    """An error whose message names the file, the line or the value, and what to do.

    The command line prints it as `refsr: error: ...` without a traceback, and exits with status 1.
    Any other exception is a bug, and keeps its traceback. Passwords in the message are masked.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(hide(part) if isinstance(part, str) else part for part in parts))


class StoppedError(KeyboardInterrupt):
    """SIGTERM stops this process: a cluster takes the machine back. Run the same again to go on.

    The command line exits with STATUS, the one that sysexits.h calls a temporary failure.
    """

    STATUS = 75
