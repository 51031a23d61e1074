"""The commands of `refsr`, by group. Help, tests and the command line read GROUPS.

To add a command, add a `Command` to `COMMANDS` of its group's module. Heavy libraries are imported
in the function that runs a command, never at the top of these modules.
"""

from refsr.commands import checks, data, models, pictures, registry, serving, stages
from refsr.commands.command import Command

GROUPS: dict[str, tuple[Command, ...]] = {
    "stages": stages.COMMANDS,
    "data": data.COMMANDS,
    "models": models.COMMANDS,
    "registry": registry.COMMANDS,
    "pictures": (*pictures.COMMANDS, *serving.COMMANDS),
    "checks": checks.COMMANDS,
}


def every() -> tuple[Command, ...]:
    """All commands, in the order of the help."""
    return tuple(command for group in GROUPS.values() for command in group)


def overview() -> str:
    """The commands as `refsr --help` lists them: by group, an example to each group."""
    width = max(len(command.name) for command in every())
    lines = []
    for group, commands in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"    {each.name:<{width}}  {each.help}" for each in commands]
        lines += [f"      $ refsr {commands[0].example}", ""]
    return "\n".join([*lines, "`refsr COMMAND --help` lists its options, with an example."])
