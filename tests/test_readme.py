"""The README's examples, run as they stand."""

import subprocess
import sys

import pytest

from examples import ROOT, blocks, examples, prepare, run

README = ROOT / "README.md"
EXAMPLES = examples(README)


def test_there_are_examples_of_every_command():
    assert {each.command.split()[1] for each in EXAMPLES if each.command.startswith("cxr-edge ")} >= {
        *("predict", "explain", "scan", "verify", "doctor", "bench", "schema")
    }


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(each, marks=[pytest.mark.skip(each.left_out)] if each.left_out else [], id=each.command)
        for each in EXAMPLES
    ],
)
def test_command(example, tmp_path):
    run(example, prepare(tmp_path))


@pytest.mark.parametrize("block", blocks(README, "python"))
def test_python(block, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=prepare(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
