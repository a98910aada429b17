"""What every command has: options that variables and the settings file may give, and less or more to say."""

import time
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from cxr_edge.commands.settings import (
    Commands,
    SettingsFile,
    options_of,
    rank,
    read_settings,
    setting_of,
    variables,
)
from cxr_edge.errors import BundleError, ProviderError, UsageError
from cxr_edge.text import choose_level, printable, say

_DIAGNOSES = "doctor"  # reports what is wrong with the settings instead of ending with it


class Command(TyperCommand):
    """A command of `cxr-edge`.

    Args:
        name: Its name.
        attributes: What Typer gives to a command.
    """

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.params += [
            TyperOption(
                param_decls=["--quiet", "-q"],
                is_flag=True,
                default=False,
                help="Say no more than errors, refusals and warnings.",
            ),
            TyperOption(
                param_decls=["--verbose", "-v"],
                is_flag=True,
                default=False,
                help="Say also which settings are in force, what was loaded, and where a failure came from.",
            ),
        ]
        for option in options_of(self):
            option.envvar, option.show_envvar = variables(self, option), False

    def parse_args(self, context: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # Typer's own Context
        """Parse the command line, with what variables and file say in the place of defaults.

        Raises:
            UsageError: The file, or a value in it or in a variable, is wrong.
        """
        file = SettingsFile()
        if "--help" not in args:
            try:
                file = read_settings(all_commands(context))
            except UsageError:
                if self.name != _DIAGNOSES:
                    raise
        context.default_map = file.values(self)
        context.meta["settings"] = file
        try:
            return super().parse_args(context, args)
        except typer.BadParameter as error:
            option = error.param
            if not isinstance(option, TyperOption) or rank(context, option.name or "") == 0:
                raise
            setting = setting_of(self, option, file)
            if setting is None:
                raise
            cure = f"see cxr-edge {self.name} --help"
            raise UsageError(f"{setting}: {error.message.rstrip('.')}", cure=cure) from error

    def invoke(self, context: typer.Context) -> Any:  # type: ignore[override]
        """Run the command.

        Raises:
            UsageError: --quiet and --verbose are both asked for, or the command says so; an option that was not given
                on the command line is named with where it comes from.
        """
        quiet, verbose = context.params.pop("quiet"), context.params.pop("verbose")
        if quiet and verbose:
            ranks = rank(context, "quiet"), rank(context, "verbose")
            if ranks[0] == ranks[1]:
                raise UsageError("--quiet and --verbose were both asked for", cure="take one of them")
            quiet, verbose = ranks[0] < ranks[1], ranks[1] < ranks[0]
        choose_level("warning" if quiet else "debug" if verbose else "info")
        settings = [
            setting
            for option in options_of(self)
            if rank(context, option.name or "") in {1, 2}
            and (setting := setting_of(self, option, context.meta["settings"]))
        ]
        for setting in settings:
            say(printable(f"setting: {setting}"), "debug")
        start = time.perf_counter()
        try:
            return super().invoke(context)
        except (UsageError, ProviderError, BundleError) as error:
            named = [str(setting) for setting in settings if str(setting.value) in str(error)]
            if not named:
                raise
            cure = "; ".join([*([error.cure] if error.cure else []), *named])
            raise type(error)(error.problem, cure=cure, path=error.path) from error
        finally:
            say(f"{self.name} took {time.perf_counter() - start:.2f} s", "debug")


def all_commands(context: typer.Context) -> Commands:
    """Give all commands of the program, by name."""
    return cast("Commands", cast("TyperGroup", context.find_root().command).commands)
