"""Everything that was released is still there: public names, options, exit codes and the keys of all JSON.

``tests/data/public_surface.json`` says what was released. After a release it is written anew, from a checkout of it:

    python tests/edge/test_public_surface.py CHECKOUT

New commands and options are added to it as they come, with ``--add`` instead of a checkout. What
is taken away, or changes its type, fails here, unless `MOVED` or `EXCEPTIONS` states it.
"""

import io
import json
import re
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

RELEASED = Path(__file__).parents[1] / "data" / "public_surface.json"
# Record schema 2 has one shape for explain and scan: what explain had at the top lies below "explanation", as in scan.
MOVED = {
    "explain": {key: f"explanation.{key}" for key in ("evidence", "files", "target")} | {"explanations": "explanation"}
}
EXCEPTIONS = {
    "JSON explain explanation.files: array, now object": "schema 2 gives each file its hash, as scan does",
    "JSON explain explanation.files[]": "the same",
    "JSON scan, answered explanation.files.figure.png": "the page has layers; --annotated draws it",
    "commands explain --superpixels default: None, now 30": "the same default, stated",
    **dict.fromkeys(
        (
            f"commands {command} --precision {what}"
            for command in ("predict", "explain", "scan")
            for what in ("default: fp32, now auto", "metavar: fp32|int8, now auto|fp32|int8|bf16")
        ),
        "auto is fp32 until cxr-edge tune has measured, and keeps the labels of fp32",
    ),
    "commands predict argument paths required: True, now False": "names may come from --files-from instead",
}
# Objects whose keys are data: a package, a provider, an instruction set, a name in a bundle.
OPEN = {"facts", "packages"}


def collect(*, tiny: Path, gated: Path, lungs: Path, radiographs: Path, scratch: Path) -> dict[str, object]:
    """Ask the package that is imported for its public surface.

    Args:
        tiny: A bundle.
        gated: One that refuses nearly black pictures.
        lungs: One that finds lungs.
        radiographs: The folder of sample radiographs.
        scratch: An empty folder.
    """
    import cv2
    import numpy as np

    dicom, picture, black = radiographs / "nih_dx_chest.dcm", radiographs / "cr_chest_pa_16bit.png", scratch / "0.png"
    cv2.imwrite(str(black), np.zeros((64, 64), np.uint8))
    damaged = scratch / "damaged.png"
    damaged.write_bytes(b"no picture")
    quick = ("--threads", "1", "--window", "0.001", "--max-windows", "3", "--task", "predict", "--provider", "cpu")
    before, now = scratch / "before.json", scratch / "now.json"
    _run("bench", dicom, *quick, "--out", before, bundle=tiny)
    _run("bench", picture, *quick, "--out", now, "--compare", before, bundle=tiny)
    doctor = json.loads(_run("doctor", "--json", "--provider", "cpu", bundle=tiny))
    both = ("--method", "both", "--samples", "50", "--force")
    _run("explain", picture, *both, "--out", scratch / "explained", bundle=lungs)
    (explanation,) = (scratch / "explained").rglob("explanation.json")
    _run("scan", picture, damaged, "--out", scratch / "scanned", "--explain", "gradcam", bundle=lungs)
    scanned = [json.loads(line) for line in (scratch / "scanned" / "results.jsonl").read_text("ascii").splitlines()]
    return {
        "names": sorted(import_module("cxr_edge").__all__),
        "exit codes": _exit_codes(),
        "commands": _commands(),
        "JSON": {
            "predict, answered": _keys(_run("predict", "--json", "--tta", dicom, bundle=tiny)),
            "predict, refused": _keys(_run("predict", "--json", black, bundle=gated)),
            "predict, error": _keys(_run("predict", "--json", damaged, bundle=tiny)),
            "explain": _keys(explanation.read_text("utf-8")),
            "scan, answered": _keys(json.dumps(next(each for each in scanned if each["status"] == "ok"))),
            "scan, error": _keys(json.dumps(next(each for each in scanned if each["status"] == "error"))),
            "scan.json": _keys((scratch / "scanned" / "scan.json").read_text("utf-8")),
            "bench": _keys(now.read_text("utf-8")),
            "doctor": _keys(json.dumps(doctor)),
            **{
                f"doctor, {each['area']} {each['name']}": dict.fromkeys(each["facts"], "any")
                for each in doctor["checks"]
                if each["area"] != "DICOM"  # the facts of a decoder are keyed by transfer syntaxes
            },
            "verify": _keys(_run("verify", bundle=tiny)),
        },
    }


def _run(command: str, *arguments: object, bundle: Path) -> str:
    """Run a command line in this process; give what it prints to standard output."""
    from cxr_edge import cli

    sys.argv = ["cxr-edge", command, *map(str, arguments), "--bundle", str(bundle)]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
        cli.run()
    return printed.getvalue()


def _exit_codes() -> dict[str, int]:
    errors = import_module("cxr_edge.errors")
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value.exit_code for name, value in sorted(classes.items()) if issubclass(value, Exception)}


def _commands() -> dict[str, dict[str, dict[str, object]]]:
    """Describe every option and argument of every command by what a caller sees of it."""
    import typer

    from cxr_edge import cli

    return {
        name: {
            " ".join(sorted(each.opts)) if each.param_type_name == "option" else f"argument {each.name}": {
                "type": sorted(getattr(each.type, "choices", ())) or each.type.name,
                "metavar": each.metavar,
                "flag": bool(getattr(each, "is_flag", False)),
                "several": bool(each.multiple or each.nargs != 1),
                "required": each.required,
                "default": None if each.default is None else str(each.default),
            }
            for each in command.params
        }
        for name, command in sorted(typer.main.get_command(cli.app).commands.items())
    }


def _keys(text: str) -> dict[str, str]:
    """Give the path of each value in a JSON text, with the type of the value."""
    found: dict[str, set[str]] = {}

    def visit(value: object, path: str) -> None:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
        if path and value is not None:  # a value may be unknown on one machine and known on the next
            found.setdefault(path, set()).add(kinds[type(value)])
        found.setdefault(path, set())
        if isinstance(value, dict) and path.rpartition(".")[2] not in OPEN:
            for key, each in value.items():
                visit(each, f"{path}.{key}" if path else key)
        for each in value if isinstance(value, list) else ():
            visit(each, f"{path}[]")

    visit(json.loads(text), "")
    return {path: " or ".join(sorted(kinds)) or "any" for path, kinds in sorted(found.items()) if path}


def missing(released: object, now: object, path: str = "") -> list[str]:
    """List what was released and is not there any more; a type of ``any`` is like every other."""
    if isinstance(released, dict) and isinstance(now, dict):
        gone = [f"{path} {key}" for key in released if key not in now]
        return gone + [
            each for key in released if key in now for each in missing(released[key], now[key], f"{path} {key}")
        ]
    if isinstance(released, list) and isinstance(now, list):
        return [f"{path} {each}" for each in released if each not in now]
    return [] if released == now or "any" in {released, now} else [f"{path}: {released}, now {now}"]


def moved(released: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Put the released keys of each kind of JSON where they are now."""

    def place(path: str, places: dict[str, str]) -> str:
        key = re.match(r"[^.\[]*", path)[0]
        return places.get(key, key) + path[len(key) :]

    return {
        name: {place(path, MOVED.get(name, {})): kind for path, kind in keys.items()} for name, keys in released.items()
    }


def test_what_was_released_is_still_there(tiny_bundle, gated_bundle, lung_bundle, radiographs, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    now = collect(tiny=tiny_bundle, gated=gated_bundle, lungs=lung_bundle, radiographs=radiographs, scratch=tmp_path)
    released = json.loads(RELEASED.read_text(encoding="ascii"))
    gone = {each.strip() for each in missing(released | {"JSON": moved(released["JSON"])}, now)}
    assert gone - set(EXCEPTIONS) == set()
    assert set(EXCEPTIONS) - gone == set()


def test_every_option_of_every_command_is_listed():
    listed = json.loads(RELEASED.read_text(encoding="ascii"))["commands"]
    assert new_options(listed) == {}, "run python tests/edge/test_public_surface.py --add"


def new_options(listed: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Give the commands and options that the list lacks."""
    now = {
        name: {key: value for key, value in options.items() if key not in listed.get(name, {})}
        for name, options in _commands().items()
    }
    return {name: options for name, options in now.items() if options or name not in listed}


def test_what_a_caller_needs_is_public():
    needed, public = {"Explanation", "LimeOptions", "OutputError", "draw"}, set(import_module("cxr_edge").__all__)
    if needed.isdisjoint(public):
        pytest.skip("these names are not public yet")
    assert needed <= public


def test_what_is_missing_is_found():
    old = {"names": ["a", "b"], "JSON": {"predict": {"path": "string", "gate": "any"}}, "exit codes": {"E": 3}}
    new = {"names": ["b", "c"], "JSON": {"predict": {"gate": "object"}}, "exit codes": {"E": 4}}
    assert [each.strip() for each in missing(old, new)] == ["names a", "JSON predict path", "exit codes E: 3, now 4"]
    assert missing(old, old) == []


def _main() -> None:
    """Write what a checkout of a release offers, or add the options that came since."""
    if sys.argv[1] == "--add":
        surface = json.loads(RELEASED.read_text(encoding="ascii"))
        for name, options in new_options(surface["commands"]).items():
            surface["commands"].setdefault(name, {}).update(options)
        RELEASED.write_text(json.dumps(surface, indent=1, sort_keys=True) + "\n", encoding="ascii")
        return
    checkout = Path(sys.argv[1]).resolve()
    sys.path[:0] = [str(checkout / "edge"), str(checkout / "tests")]
    tiny = import_module("tiny")
    assert Path(import_module("cxr_edge").__file__).is_relative_to(checkout)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        surface = collect(
            tiny=tiny.write_tiny_bundle(root / "tiny"),
            gated=tiny.write_tiny_bundle(root / "gated", gate=True),
            lungs=tiny.add_tiny_lungs(tiny.write_tiny_bundle(root / "lungs")),
            radiographs=checkout / "tests" / "data" / "radiographs",
            scratch=Path(tempfile.mkdtemp(dir=root)),
        )
    RELEASED.write_text(json.dumps(surface, indent=1, sort_keys=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    _main()
