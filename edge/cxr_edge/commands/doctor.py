"""``cxr-edge doctor`` and ``cxr-edge verify``: is this machine set up right, is the bundle what was made?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperOption

from cxr_edge.commands import options
from cxr_edge.commands.command import all_commands
from cxr_edge.commands.settings import (
    ENVIRONMENT,
    OTHERS,
    PREFIX,
    Commands,
    Setting,
    SettingsFile,
    options_of,
    read_settings,
    setting_of,
    settings_path,
    variables,
)
from cxr_edge.errors import UsageError
from cxr_edge.runtime.providers import Provider
from cxr_edge.text import open_console, printable

if TYPE_CHECKING:
    from rich.console import Console

    from cxr_edge.doctor.finding import Examination, Finding

_SETTINGS = "settings"
_STYLES = {"ok": "green", "note": "yellow", "fault": "bold red"}
_WIDE = 100  # columns from which on a summary beside its heading is easier to read than below it


def doctor(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    bundle: options.BundleOption = None,
    provider: Annotated[
        Provider,
        typer.Option(help="What has to start: auto all that this ONNX Runtime has, else the CPU and the one named."),
    ] = "auto",
) -> None:
    """Check versions, ONNX Runtime, processor, providers, bundle and DICOM decoders, and say what mends each fault.

    Exits with 0 if all is well, 2 if a setting is wrong, 4 if the installation or a provider is at fault, 5 if the
    bundle is; with several, with what the first one gives, since the others may come from it. Notes, such as a missing
    decoder, are no faults.
    """
    from cxr_edge.doctor import examine
    from cxr_edge.doctor.finding import Examination

    settings = tuple(examine_settings(all_commands(context)))
    examination = Examination((*settings, *examine(bundle=bundle, provider=provider).findings))
    if json:
        from json import dumps

        typer.echo(dumps(examination.to_json(), allow_nan=False))
    else:
        console = open_console()
        if not console.is_terminal:
            console.width = 160  # lines in a file may be long
        show_examination(examination, console)
    if examination.exit_code:
        raise typer.Exit(examination.exit_code)


def show_examination(examination: Examination, console: Console) -> None:
    """Print one line for each finding, the lines to type, and what it all comes to.

    Words, not symbols or colors alone, say how it stands: it has to be read in a log and in a mail, too. A narrow
    terminal gets each summary below its heading, so that nothing is cut off.
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    wide = console.width >= _WIDE
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    area = ""
    for finding in examination.findings:
        heading = "" if finding.area == area else finding.area
        area = finding.area
        status = Text(finding.status.upper() if finding.status == "fault" else finding.status, _STYLES[finding.status])
        summary = Text(printable(finding.summary), overflow="fold")
        if wide:
            table.add_row(Text(heading, "bold"), status, finding.name, summary)
        else:
            console.print(Text.assemble(status, " ", (finding.area, "bold"), " ", finding.name, overflow="fold"))
            console.print(Padding(summary, (0, 0, 0, 2)))
    if wide:
        console.print(table)
    cures: dict[tuple[str, ...], list[str]] = {}
    for finding in examination.findings:
        if finding.cure:
            cures.setdefault(finding.cure, []).append(f"{finding.area} {finding.name}")
    for cure, names in cures.items():
        console.print(Text(f"\nFor {', '.join(names)}:", "bold"))
        for line in cure:  # whole lines, so that they can be copied
            console.print(Text(f"  {printable(line)}"), soft_wrap=True)
    count = len(examination.faults)
    verdict = ("Healthy.", "bold green") if not count else (f"{count} fault{'s' if count > 1 else ''}.", "bold red")
    console.print(Text(f"\n{verdict[0]}", verdict[1]))


def examine_settings(commands: Commands) -> Iterator[Finding]:
    """Look at the file and the variables: what they set, and what is wrong with it.

    Args:
        commands: All commands, by name.
    """
    from cxr_edge.doctor.finding import Finding

    path = settings_path()
    try:
        file = read_settings(commands)
    except UsageError as error:
        yield Finding.of(error, area=_SETTINGS, name="file")
        file = SettingsFile()
    else:
        where = "none is looked for" if path is None else f"{path}{'' if file.path else ' is not there'}"
        yield Finding(_SETTINGS, "file", "ok", where, {"path": path and str(path), "read": file.path is not None})
    found: dict[str, tuple[str, str, str | None]] = {}
    for command in commands.values():
        for option in options_of(command):
            if (setting := setting_of(command, option, file)) is not None:
                fault = _fault(command, option, setting)
                if setting.key not in found or fault:
                    found[setting.key] = (str(setting.value), setting.origin, fault)
    for key, (value, origin, fault) in found.items():
        facts = {"value": value, "from": origin}
        summary = f"{value} (from {origin})" + (f": {fault}" if fault else "")
        code = UsageError.exit_code if fault else 0
        yield Finding(_SETTINGS, key, "fault" if fault else "ok", summary, facts, (), code)
    options = ((command, option) for command in commands.values() for option in options_of(command))
    known = {name for command, option in options for name in variables(command, option)} | OTHERS
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        near = get_close_matches(name, known, n=1)
        cure = (f"did you mean {near[0]}?",) if near else ()
        yield Finding(_SETTINGS, name, "note", "sets nothing: no option has this variable", {}, cure)


def _fault(command: TyperCommand, option: TyperOption, setting: Setting) -> str | None:
    """Say what Click has against a value; what only the command can judge, such as a name in a bundle, passes."""
    context = typer.Context(command, info_name=command.name)
    try:
        value = option.value_from_envvar(context) if setting.origin == ENVIRONMENT else setting.value
        option.process_value(context, value)
    except typer.BadParameter as error:
        return f"cxr-edge {command.name}: {error.message}"
    return None


def verify(
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "cpu",
    require_signature: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="The public key (PEM) whose owner must have signed it.", show_default=False),
    ] = None,
) -> None:
    """Check the bundle's hashes, and what every network of it gives on this machine against what it gave when made.

    Prints one JSON object. Exits with 5 if the bundle was changed, answers differently, or is not signed as asked.
    """
    from cxr_edge.bundle.bundle import Bundle
    from cxr_edge.errors import BundleError
    from cxr_edge.results.record import to_line
    from cxr_edge.runtime.self_test import self_test

    opened = Bundle.open(bundle)
    if require_signature:
        from cxr_edge.bundle.signature import check_signature

        check_signature(opened, require_signature)
    report = self_test(opened, provider=provider)
    if report.faults:
        cure = "reinstall ONNX Runtime or export it again"
        raise BundleError("; ".join(report.faults), cure=cure, path=opened.folder)
    typer.echo(to_line({"schema": 1, "bundle": opened.to_json(), **report.to_json()}))
