"""Writes the completion scripts of cxr-edge for bash, zsh, fish and PowerShell: python scripts/completions.py.

They are made from the commands and lie in the package as files. A shell reads them; the program is not started when
somebody presses Tab, and its own start-up does not know of them.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cxr_edge import cli
from cxr_edge.commands.completion import FILES, FOLDER

_MADE = "Completion of cxr-edge. Made by scripts/completions.py; changes are lost."


@dataclass(frozen=True)
class Choice:
    """An option of a command.

    Attributes:
        names: All of its names, such as ``--quiet`` and ``-q``.
        about: What it is for.
        flag: Whether it takes no value.
        values: What may follow; empty where that is free.
        path: Whether a file or folder follows.
    """

    names: tuple[str, ...]
    about: str
    flag: bool
    values: tuple[str, ...]
    path: bool


@dataclass(frozen=True)
class Entry:
    """A command.

    Attributes:
        name: Its name.
        about: What it does.
        options: Its options.
        values: What its argument may be, where that is one of a few words.
    """

    name: str
    about: str
    options: tuple[Choice, ...]
    values: tuple[str, ...]


def read_commands() -> list[Entry]:
    """Read the commands of the program."""
    program = typer.main.get_command(cli.app)
    assert isinstance(program, TyperGroup)  # noqa: S101  # for mypy
    return [_entry(name, command) for name, command in sorted(program.commands.items())]


def _entry(name: str, command: TyperCommand) -> Entry:
    options = [
        Choice(
            (*each.opts, *each.secondary_opts), _sentence(each.help), bool(each.is_flag), _values(each), _is_path(each)
        )
        for each in command.params
        if isinstance(each, TyperOption)
    ]
    options.append(Choice(("--help",), "Show what it takes and stop.", True, (), False))
    values = [value for each in command.params if isinstance(each, TyperArgument) for value in _values(each)]
    return Entry(name, _sentence(command.help), tuple(options), tuple(values))


def _values(parameter: TyperOption | TyperArgument) -> tuple[str, ...]:
    if choices := getattr(parameter.type, "choices", None):
        return tuple(map(str, choices))
    listed = re.fullmatch(r"[a-z0-9]+(\|[a-z0-9]+)+", parameter.metavar or "")
    return tuple(listed[0].split("|")) if listed else ()


def _is_path(option: TyperOption) -> bool:
    return option.type.name == "path"


def _sentence(text: str | None) -> str:
    """Give the first sentence of a text, on one line and without its end."""
    return re.split(r"[.;:] ", " ".join((text or "").split()) + " ")[0].rstrip(". ")


def bash(entries: list[Entry]) -> Iterator[str]:
    """Give the lines of the script for bash; where it finds nothing, bash completes file names."""
    names = " ".join([*(each.name for each in entries), "--help", "--version"])
    yield from (f"# {_MADE}", "_cxr_edge() {")
    yield from ("  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=", "  COMPREPLY=()")
    yield from ("  if ((COMP_CWORD == 1)); then", f'    words="{names}"', '  else case "${COMP_WORDS[1]} $before" in')
    for entry in entries:
        for option in entry.options:
            if not option.flag:
                words = f"words={shlex.quote(' '.join(option.values))}" if option.values else "return"
                yield f"    {'|'.join(shlex.quote(f'{entry.name} {name}') for name in option.names)}) {words} ;;"
    yield from ('    *) case "${COMP_WORDS[1]} $word" in',)
    for entry in entries:
        listed = " ".join(name for option in entry.options for name in option.names)
        yield f'      "{entry.name} -"*) words="{listed}" ;;'
        if entry.values:
            yield f'      "{entry.name} "*) words="{" ".join(entry.values)}" ;;'
    yield from ("    esac ;;", "  esac; fi", '  COMPREPLY=($(compgen -W "$words" -- "$word"))', "}")
    yield "complete -o default -F _cxr_edge cxr-edge"


def zsh(entries: list[Entry]) -> Iterator[str]:
    """Give the lines of the script for zsh."""

    def plain(text: str) -> str:
        return re.sub(r"([\\\[\]:])", r"\\\1", text)

    yield from ("#compdef cxr-edge", f"# {_MADE}", "_cxr-edge() {")
    yield from ("  if (( CURRENT == 2 )); then", "    local -a commands", "    commands=(")
    yield from (f"      {shlex.quote(f'{each.name}:{plain(each.about)}')}" for each in entries)
    yield from ("    )", "    _describe command commands", "    return", "  fi", "  local command=$words[2]")
    yield from ("  shift words", "  (( CURRENT-- ))", "  case $command in")
    for entry in entries:
        yield f"    {entry.name}) _arguments \\"
        for option in entry.options:
            after = "" if option.flag else f":value:({' '.join(plain(each) for each in option.values)})"
            after = ":path:_files" if option.path else after
            for name in option.names:
                yield f"      {shlex.quote(f'*{name}[{plain(option.about)}]{after}')} \\"
        after = f"*:value:({' '.join(entry.values)})" if entry.values else "*:file:_files"
        yield f"      {shlex.quote(after)} ;;"
    yield from ("  esac", "}")
    yield 'if [ "$funcstack[1]" = _cxr-edge ]; then _cxr-edge "$@"; else compdef _cxr-edge cxr-edge; fi'


def fish(entries: list[Entry]) -> Iterator[str]:
    """Give the lines of the script for fish."""

    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    yield f"# {_MADE}"
    for entry in entries:
        yield f"complete -c cxr-edge -n __fish_use_subcommand -f -a {entry.name} -d {quoted(entry.about)}"
        chosen = f"complete -c cxr-edge -n {quoted(f'__fish_seen_subcommand_from {entry.name}')}"
        if entry.values:
            yield f"{chosen} -f -a {quoted(' '.join(entry.values))}"
        for option in entry.options:
            names = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names)
            takes = "" if option.flag else " -r -F" if option.path else " -x"
            takes += f" -a {quoted(' '.join(option.values))}" if option.values else ""
            yield f"{chosen} {names}{takes} -d {quoted(option.about)}"


def powershell(entries: list[Entry]) -> Iterator[str]:
    """Give the lines of the script for PowerShell; where it finds nothing, PowerShell completes file names."""

    def listed(words: tuple[str, ...]) -> str:
        return "@(" + ", ".join(f"'{each}'" for each in words) + ")"

    yield from (f"# {_MADE}", "Register-ArgumentCompleter -Native -CommandName cxr-edge -ScriptBlock {")
    yield from ("  param($word, $line, $place)", "  $options = @{")
    yield from (f"    '{each.name}' = {listed(tuple(n for o in each.options for n in o.names))}" for each in entries)
    yield from ("  }", "  $values = @{")
    for entry in entries:
        for option in entry.options:
            for name in option.names if option.values else ():
                yield f"    '{entry.name} {name}' = {listed(option.values)}"
        if entry.values:
            yield f"    '{entry.name}' = {listed(entry.values)}"
    yield from (
        "  }",
        "  $typed = @($line.CommandElements | ForEach-Object { $_.ToString() })",
        "  if ($word -ne '') { $typed = @($typed | Select-Object -SkipLast 1) }",
        '  $asked = "$($typed[1]) $($typed[-1])"',
        "  $found = @()",
        "  if ($typed.Count -eq 1) { $found = @($options.Keys | Sort-Object) + @('--help', '--version') }",
        "  elseif ($values.ContainsKey($asked)) { $found = $values[$asked] }",
        "  elseif ($word.StartsWith('-')) { $found = $options[$typed[1]] }",
        "  elseif ($values.ContainsKey($typed[1])) { $found = $values[$typed[1]] }",
        '  $found | Where-Object { $_ -like "$word*" } | ForEach-Object {',
        "    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)",
        "  }",
        "}",
    )


def make_scripts() -> dict[str, str]:
    """Give the scripts: name of a file → its text."""
    entries = read_commands()
    return {FILES[make.__name__]: "\n".join(make(entries)) + "\n" for make in (bash, zsh, fish, powershell)}


def main() -> None:
    """Write the scripts into the package."""
    Path(FOLDER).mkdir(exist_ok=True)
    for name, text in make_scripts().items():
        (Path(FOLDER) / name).write_text(text, encoding="utf-8", newline="\n")
        sys.stdout.write(f"{Path(FOLDER) / name}\n")


if __name__ == "__main__":
    main()
