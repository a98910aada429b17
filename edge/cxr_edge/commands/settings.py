"""Where the value of an option comes from: the command line, else a variable, else the settings file, else its default.

The file is ``cxr-edge.toml``. Its first lines set an option for every command that has it; a table sets the options of
one command. The variables are ``CXR_EDGE_OPTION`` and ``CXR_EDGE_COMMAND_OPTION``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from cxr_edge.errors import UsageError

PREFIX = "CXR_EDGE_"
FILE_VARIABLE = f"{PREFIX}CONFIG"
FILE_NAME = "cxr-edge.toml"
CACHE = "cache"
"""A key that is no option: the folder that the variable ``CXR_EDGE_CACHE`` names."""
SHARED = frozenset(
    {
        *("bundle", "provider", "threads", "precision", "operating_point", "no_unsure", "prevalence"),
        *("test_time_augmentation", "no_gate", "mode", "quiet", "verbose"),
    }
)
"""The options that mean the same in every command; only these are set for all commands at once."""
ENVIRONMENT = "the environment"
OTHERS = {FILE_VARIABLE, f"{PREFIX}CACHE"}
_ORIGINS = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")  # Click's names, the strongest first

Commands = Mapping[str, TyperCommand]


@dataclass(frozen=True)
class Setting:
    """A value that a variable or the file gives to an option.

    Attributes:
        key: Its key in the file, with the table before a dot.
        value: The value.
        origin: The variable or the file.
    """

    key: str
    value: Any
    origin: str

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.key} = {value} comes from {self.origin}"


@dataclass(frozen=True)
class SettingsFile:
    """What the file says.

    Attributes:
        path: The file; None where there is none.
        shared: Option → value, for every command that has it.
        tables: Command → option → value.
    """

    path: Path | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values(self, command: TyperCommand) -> dict[str, Any]:
        """Give what it says about the options of a command."""
        own = {option.name or "" for option in options_of(command) if takes_shared(option)}
        return {name: value for name, value in self.shared.items() if name in own} | self.tables.get(
            command.name or "", {}
        )


def options_of(command: TyperCommand) -> Iterator[TyperOption]:
    """Give the options of a command that can be set."""
    for each in command.params:
        if isinstance(each, TyperOption) and each.name != "help":
            yield each


def takes_shared(option: TyperOption) -> bool:
    """Whether an option follows what is set for all commands; a list, as `bench` takes, is set for its command."""
    return option.name in SHARED and option.metavar != "LIST"


def variables(command: TyperCommand, option: TyperOption) -> list[str]:
    """Give the names of the variables that set an option, the stronger one first."""
    name = (option.name or "").upper()
    own = f"{PREFIX}{(command.name or '').upper()}_{name}"
    return [own, f"{PREFIX}{name}"] if takes_shared(option) else [own]


def settings_path() -> Path | None:
    """Give where the file is looked for; None if ``CXR_EDGE_CONFIG`` is empty."""
    named = os.environ.get(FILE_VARIABLE)
    if named is None:
        return Path(typer.get_app_dir("cxr-edge")) / FILE_NAME
    return Path(named) if named else None


def read_settings(commands: Commands) -> SettingsFile:
    """Read the file.

    Args:
        commands: All commands, by name.

    Raises:
        UsageError: It cannot be read, is no TOML, or has a key or a kind of value that no command knows.
    """
    path = settings_path()
    if path is None or (FILE_VARIABLE not in os.environ and not path.exists()):
        return SettingsFile()
    from tomllib import TOMLDecodeError, loads

    try:
        found = loads(path.read_text("utf-8-sig"))  # an editor on Windows may begin it with a mark
    except OSError as error:
        cure = f"mend that, or let {FILE_VARIABLE} name another file; an empty {FILE_VARIABLE} means none"
        raise UsageError(f"the settings cannot be read ({error.strerror})", cure=cure, path=path) from error
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        cure = 'write lines such as: provider = "cpu"'
        raise UsageError(f"is no TOML file ({error})", cure=cure, path=path) from error
    shared: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            if key not in commands:
                raise _unknown(path, f"[{key}]", key, commands, what="command")
            options = {option.name or "": option for option in options_of(commands[key])}
            tables[key] = dict(_checked(path, f"{key}.", value, options))
        elif key == CACHE and isinstance(value, str):
            os.environ.setdefault(f"{PREFIX}CACHE", value and str(path.parent / Path(value).expanduser()))
        else:
            options = {
                option.name or "": option
                for command in commands.values()
                for option in options_of(command)
                if takes_shared(option)
            }
            shared |= _checked(path, "", {key: value}, options)
    return SettingsFile(path, shared, tables)


def _checked(
    path: Path, above: str, values: Mapping[str, Any], options: Mapping[str, TyperOption]
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in options:
            raise _unknown(path, f"{above}{key}", name, options, what="option" if above else "option of all commands")
        option = options[name]
        several = bool(option.multiple)
        if several and isinstance(value, list):
            fits = all(isinstance(each, str) for each in value)
        else:
            fits = isinstance(value, bool) if option.is_flag else type(value) in {str, int, float} and not several
        if not fits:
            expected = "true or false" if option.is_flag else "a list of texts" if several else "a text or a number"
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            problem = f"{above}{key} is {shown}; expected {expected}"
            raise UsageError(problem, cure=f"see cxr-edge {above.rstrip('.') or 'COMMAND'} --help", path=path)
        # A path is meant as seen from the file: the folder that a command is started in changes.
        yield name, str(path.parent / Path(value).expanduser()) if option.type.name == "path" and value else value


def _unknown(path: Path, place: str, name: str, known: Mapping[str, Any], *, what: str) -> UsageError:
    near = get_close_matches(name, known, n=1)
    choice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
    return UsageError(f"{place} is no {what}", cure=choice.replace("_", "-"), path=path)


def rank(context: typer.Context, name: str) -> int:
    """Say how strong the origin of an option's value is: 0 the command line, 3 the default."""
    source = context.get_parameter_source(name)
    return _ORIGINS.index(source.name) if source is not None else len(_ORIGINS) - 1


def setting_of(command: TyperCommand, option: TyperOption, file: SettingsFile) -> Setting | None:
    """Say what sets an option beside the command line; None where nothing does."""
    name = option.name or ""
    for variable in variables(command, option):
        if value := os.environ.get(variable):
            return Setting(variable, value, ENVIRONMENT)
    values = file.values(command)
    if name not in values:
        return None
    table = f"{command.name}." if name in file.tables.get(command.name or "", {}) else ""
    return Setting(f"{table}{name.replace('_', '-')}", values[name], str(file.path))
