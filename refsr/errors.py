"""What a user can mend is told in one message, without a traceback."""


class RefsrError(Exception):
    """An error whose text names the file, line or value at fault and the way out.

    The command line prints it as `refsr: error: ...` and exits with status 1; every other exception is a bug
    and keeps its traceback.
    """
