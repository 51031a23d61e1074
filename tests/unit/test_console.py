"""How a command line ends."""

import importlib

import pytest

from refsr.console import exit_status
from refsr.errors import RefsrError, StoppedError


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RefsrError("a.csv, line 3: no box"), 1, "refsr: error: a.csv, line 3: no box\n"),
        (PermissionError(13, "Permission denied", "a.csv"), 1, "refsr: error: a.csv: "),
        (MemoryError("3 GB"), 1, "refsr: error: there is not enough memory (3 GB); "),
        (KeyboardInterrupt(), 130, "refsr: interrupted\n"),
        (StoppedError("saved at step 3"), 75, "refsr: error: saved at step 3; run the same again"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(lambda: _raise(error)) == status
    assert capsys.readouterr().err.startswith(message)


def test_a_missing_library_is_named_with_the_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_status(lambda: _raise(_missing("no_such_library"))) == 1
    assert "has no no_such_library; run `make setup` once" in capsys.readouterr().err
    assert exit_status(lambda: _raise(_missing("kfp.no_such_module"))) == 1
    assert "pip install 'refsr[kfp]'" in capsys.readouterr().err


def _missing(name: str) -> ModuleNotFoundError:
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module(name)
    return raised.value


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError):
        exit_status(lambda: _raise(_missing("refsr.no_such_module")))
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (3, 3)])
def test_the_status_of_a_command_is_its_own(result: int | None, status: int) -> None:
    assert exit_status(lambda: result) == status
