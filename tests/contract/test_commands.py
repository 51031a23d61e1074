"""The commands of `refsr`: their names, groups, examples, and the names they had before."""

import argparse
import re
import shlex

import pytest

from refsr import commands, steps
from refsr.__main__ import _parser, main
from refsr.commands.command import Command

# What users type. A name may be added; one that goes is kept as an old name for a release.
FROZEN = {
    "stages": "synthesize curate validate train-sisr train-refsr evaluate register",
    "data": "inspect calibrate merge fetch",
    "models": "describe import-caffe checkpoint seeds merge-evaluation export push pull",
    "registry": "versions compare drift approve promote rollback transfer",
    "pictures": "upscale upscale-video upscale-folder serve",
    "checks": "doctor show params",
}
OLD = {"train_sisr": "train-sisr", "train_refsr": "train-refsr", "upscale_folder": "upscale-folder"}


def test_names_are_frozen() -> None:
    groups = {
        group: " ".join(each.name for each in made) for group, made in commands.GROUPS.items()
    }
    assert groups == FROZEN
    assert {each.old_name: each.name for each in commands.every() if each.old_name} == OLD


def test_every_step_has_a_command() -> None:
    named = {each.stage for each in commands.every() if each.stage}
    assert named == {*steps.STEPS, *steps.SIDE_STEPS}


def test_the_help_lists_each_group_with_its_commands_and_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for group, names in FROZEN.items():
        match = re.search(rf"^{group}:\n((?:    \S.*\n)+)      \$ refsr (\S+)", text, re.MULTILINE)
        assert match, group
        assert re.findall(r"^    (\S+)  +\S", match[1], re.MULTILINE) == names.split()
        assert match[2] in names.split()
    assert not set(re.findall(r"[a-z_]+", text)) & {*OLD}


def _options(command: Command, arguments: list[str]) -> argparse.Namespace:
    return _parser(arguments).parse_args(arguments)


@pytest.mark.parametrize("command", commands.every(), ids=lambda each: each.name)
def test_an_example_is_a_command_line_that_is_understood(command: Command) -> None:
    words = shlex.split(command.example)
    assert words[0] == command.name
    options = _options(command, words)
    assert options.command is command.run
    assert len(command.example) <= 180


@pytest.mark.parametrize("old", OLD)
def test_an_old_name_does_the_same(old: str) -> None:
    (command,) = (each for each in commands.every() if each.old_name == old)
    words = shlex.split(command.example)[1:]
    new = _options(command, [command.name, *words])
    assert _options(command, [old, *words]) == new


@pytest.mark.parametrize("words", [["-v", "show"], ["show", "-v"]])
def test_log_options_stand_before_or_after_the_command(words: list[str]) -> None:
    assert _parser(words).parse_args(words).verbose is True
