import json
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.bench import suite
from cxr_edge.bench.cases import Case, CaseSelection, SessionChoice, open_inputs
from cxr_edge.bench.measure import Rule
from cxr_edge.bench.suite import Suite, file_run, input_run, process_run
from cxr_edge.errors import CxrEdgeError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.runtime import machine
from cxr_edge.runtime.machine import read_machine

CASE = Case("predict", "session", "cpu", "fp32", 1, 1)


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return load(tiny_bundle, provider="cpu", threads=1)


@pytest.fixture
def files(radiographs):
    return tuple(sorted(radiographs.glob("*.jpeg")) + sorted(radiographs.glob("*.png")))


@pytest.fixture
def measured(tiny_bundle, files, monkeypatch):
    """Run each case of a selection once; give what each of its runs gave."""

    def measured(*selection):
        given = []

        def once(runs, **_):
            given.append([run() for run in runs])

        monkeypatch.setattr(suite, "measure", once)
        sessions = SessionChoice(("cpu",), ("fp32",), (1,))
        opened = Suite(sessions, CaseSelection(*selection), bundle=tiny_bundle)
        with open_inputs(files) as inputs:
            opened.run(inputs, read_machine(), rule=Rule(), before_case=lambda *_: None)
        return dict(zip(opened.cases, given, strict=True))

    return measured


def inputs_of(model, *files):
    spec = model.bundle.manifest.input
    return np.stack([to_input(read_radiograph(file), height=spec.height, width=spec.width) for file in files])


def test_each_file_is_predicted_as_the_model_does(measured, model, files):
    (runs,) = measured(("predict",), ("session",), (1,)).values()
    assert [run[0].logodds for run in runs] == [model.predict(file).prediction.logodds for file in files]


def test_batches_go_through_all_files_and_start_over(measured, model, files):
    (runs,) = measured(("predict",), ("session",), (3,)).values()
    expected = [model.predict(files[index]).prediction.logodds for index in (0, 1, 2, 3, 0, 1)]
    assert len(files) == 4
    assert [each.logodds for run in runs for each in run] == pytest.approx(expected, rel=1e-5)


def test_the_input_of_the_network_is_made_once_for_all_cases(measured, files, monkeypatch):
    made = []

    def make(*arguments, **options):
        made.append(arguments)
        return to_input(*arguments, **options)

    monkeypatch.setattr(suite, "to_input", make)
    assert len(measured(("predict", "gradcam", "lime"), ("session",), (1, 2, 3))) == 5
    assert len(made) == len(files)


def test_from_a_file_means_to_its_record(measured, model, files):
    single, both = measured(("predict",), ("file",), (1, 2)).values()
    assert [json.loads(line) for (line,) in single] == [model.predict(file).to_json() for file in files]
    assert [json.loads(line)["path"] for line in both[0]] == [str(file) for file in files[:2]]


def test_explanations_speak_for_the_positive_label(model, files):
    expected = model.explain(files[0], method="both", target="PNEUMONIA")
    inputs = inputs_of(model, files[0])
    assert np.array_equal(input_run(model, "gradcam", inputs)().raw, expected.saliency.raw)
    assert np.array_equal(input_run(model, "lime", inputs)().coefficients, expected.lime.coefficients)
    for task, of in (("gradcam", expected.saliency), ("lime", expected.lime)):
        assert json.loads(file_run(model, task, files[:1])())[task] == json.loads(json.dumps(of.to_json()))


def test_a_process_is_started_for_the_first_file_alone(measured, monkeypatch):
    started = []
    monkeypatch.setattr(suite, "process_run", lambda _, file, **__: lambda: started.append(file.name))
    measured(("start",), ("file",), (1,))
    assert len(started) == 1


def test_a_process_that_fails_is_no_measurement(files, tiny_bundle, tmp_path):
    case = replace(CASE, task="start", scope="process")
    process_run(case, files[0], bundle=tiny_bundle, provider="cpu")()
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / "golden.npz").unlink()
    with pytest.raises(CxrEdgeError, match=r"ended with 5: error: .*golden\.npz"):
        process_run(case, files[0], bundle=broken, provider="cpu")()


def test_what_the_machine_cannot_do_is_refused_with_the_number(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(machine, "usable_memory", lambda: 2**30)
    SessionChoice(threads=(None, 1, 4))
    CaseSelection(("predict",), ("file",), (1, 51))
    with pytest.raises(UsageError, match="5 threads; expected 1 to 4, the cores"):
        SessionChoice(threads=(1, 5))
    with pytest.raises(UsageError, match="a batch of 52 radiographs; expected 1 to 51, which half of the usable"):
        CaseSelection(("predict",), ("file",), (1, 52))


def test_batch_sizes_are_of_predict_alone():
    selection = CaseSelection(("start", "predict", "lime"), ("file", "session"), (1, 8))
    cases = list(selection.cases(provider="cpu", precision="fp32", threads=2))
    assert [(case.task, case.scope, case.batch_size) for case in cases] == [
        ("predict", "file", 1),
        ("predict", "file", 8),
        ("predict", "session", 1),
        ("predict", "session", 8),
        ("lime", "file", 1),
        ("lime", "session", 1),
        ("start", "process", 1),
    ]


@pytest.mark.parametrize(
    "values",
    [(("fly",), ("file",), (1,)), ((), ("file",), (1,)), (("lime",), ("process",), (1,)), (("lime",), ("file",), (0,))],
)
def test_a_selection_that_makes_no_sense_is_refused(values):
    with pytest.raises(UsageError, match="expected"):
        CaseSelection(*values)


def test_a_case_survives_json():
    assert msgspec.convert(json.loads(json.dumps(CASE.to_json())), Case) == CASE
    assert str(replace(CASE, batch_size=8, threads=2)) == "predict, session, fp32, batch 8, 2 threads on cpu"
