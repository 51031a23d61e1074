"""What a user can mend is told in one message, without a traceback."""

from refsr.redaction import hide


class RefsrError(Exception):
    """An error whose text names the file, line or value at fault and the way out.

    The command line prints it as `refsr: error: ...` and exits with status 1; every other exception is a bug
    and keeps its traceback. Passwords are masked in its text.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(hide(part) if isinstance(part, str) else part for part in parts))
