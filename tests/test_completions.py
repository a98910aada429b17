"""The completion scripts: made from the present commands, shipped with the package, and understood by the shells."""

import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from cxr_edge.commands.completion import FILES, FOLDER

ROOT = Path(__file__).parents[1]
ASKED = {  # what is typed → what is offered among other things
    "cxr-edge pre": {"predict"},
    "cxr-edge predict --prov": {"--provider"},
    "cxr-edge predict --provider c": {"cpu", "cuda"},
    "cxr-edge explain --method b": {"both"},
    "cxr-edge completion z": {"zsh"},
}


def needed(shell):
    return shutil.which(shell) or pytest.skip(f"{shell} is not installed")


def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_they_are_those_of_the_present_commands():
    spec = spec_from_file_location("completions", ROOT / "scripts" / "completions.py")
    module = module_from_spec(spec)
    sys.modules["completions"] = module  # its dataclasses look it up
    spec.loader.exec_module(module)
    scripts = module.make_scripts()
    assert {path.name for path in FOLDER.iterdir()} == set(scripts) == set(FILES.values())
    for name, text in scripts.items():
        assert (FOLDER / name).read_text("utf-8") == text, "run python scripts/completions.py"


@pytest.mark.parametrize("shell", FILES)
def test_the_command_prints_the_file(shell):
    done = subprocess.run([sys.executable, "-m", "cxr_edge", "completion", shell], capture_output=True, check=True)
    assert done.stdout == (FOLDER / FILES[shell]).read_bytes()


@pytest.mark.parametrize("typed", ASKED)
def test_bash_completes(typed):
    words = typed.split()
    program = f"""source '{FOLDER / FILES["bash"]}'
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
_cxr_edge
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p cxr-edge >&2"""
    offered = set(told(needed("bash"), "--norc", "-c", program).split())
    assert offered >= ASKED[typed]
    assert all(each.startswith(words[-1]) for each in offered)


@pytest.mark.parametrize("typed", ASKED)
def test_fish_completes(typed):
    program = f"source '{FOLDER / FILES['fish']}'; complete -C '{typed}'"
    offered = {line.partition("\t")[0] for line in told(needed("fish"), "--no-config", "-c", program).splitlines()}
    assert offered >= ASKED[typed]


@pytest.mark.parametrize("typed", ASKED)
def test_zsh_completes(typed, tmp_path):
    # A shell in a shell: completion only runs where somebody types.
    (tmp_path / "_cxr-edge").write_bytes((FOLDER / FILES["zsh"]).read_bytes())
    program = f"""zmodload zsh/zpty
wait_for() {{
  for _ in {{1..300}}; do
    while zpty -rt inner part; do said+=$part; done
    [[ $said == *$1* ]] && return
    sleep 0.1
  done
}}
zpty -b inner zsh -f -i
zpty -w inner "fpath=({tmp_path} \\$fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump; PROMPT='re''ady>'"
wait_for 'ready>'
said=
zpty -w -n inner $'{typed}\\t'
wait_for '{max(ASKED[typed])}'
print -r -- "$said"
zpty -d inner"""
    said = told(needed("zsh"), "-f", "-c", program)
    for each in ASKED[typed]:
        assert each in said, said
