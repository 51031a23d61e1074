"""Processes of this machine."""

import os


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists, of any user; a zombie counts."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
