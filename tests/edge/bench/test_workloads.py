import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.bench.cases import Case, Selection
from cxr_edge.bench.workloads import Workloads
from cxr_edge.errors import CxrEdgeError, UsageError

CASE = Case("predict", "session", "cpu", "fp32", 1, 1)


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return load(tiny_bundle, provider="cpu", threads=1)


@pytest.fixture
def files(radiographs):
    return tuple(sorted(radiographs.glob("*.jpeg")) + sorted(radiographs.glob("*.png")))


@pytest.fixture
def workloads(model, files, tiny_bundle):
    return Workloads(model, files, bundle=tiny_bundle, provider="cpu")


def test_each_file_is_predicted_as_the_model_does(workloads, model, files):
    runs = workloads.runs(CASE)
    assert [run()[0].logodds for run in runs] == [model.predict(file).prediction.logodds for file in files]


def test_batches_go_through_all_files_and_start_over(workloads, model, files):
    runs = workloads.runs(replace(CASE, batch_size=3))
    expected = [model.predict(files[index]).prediction.logodds for index in (0, 1, 2, 3, 0, 1)]
    assert len(files) == 4
    assert [each.logodds for run in runs for each in run()] == pytest.approx(expected, rel=1e-5)


def test_from_a_file_means_to_its_record(workloads, model, files):
    (line,) = workloads.runs(replace(CASE, scope="file"))[0]()
    assert json.loads(line) == model.predict(files[0]).to_json()
    (first, second) = workloads.runs(replace(CASE, scope="file", batch_size=2))[0]()
    assert [json.loads(first)["path"], json.loads(second)["path"]] == [str(file) for file in files[:2]]


def test_explanations_speak_for_the_positive_label(workloads, model, files):
    expected = model.explain(files[0], method="both", target="PNEUMONIA")
    for scope in ("session", "file"):
        gradcam = workloads.runs(replace(CASE, task="gradcam", scope=scope))[0]()
        lime = workloads.runs(replace(CASE, task="lime", scope=scope))[0]()
        if scope == "session":
            assert np.array_equal(gradcam.raw, expected.saliency.raw)
            assert np.array_equal(lime.coefficients, expected.lime.coefficients)
        else:
            assert json.loads(gradcam)["gradcam"] == json.loads(json.dumps(expected.saliency.to_json()))
            assert json.loads(lime)["lime"] == json.loads(json.dumps(expected.lime.to_json()))


def test_a_process_is_started_once_a_run(workloads):
    runs = workloads.runs(replace(CASE, task="start", scope="process"))
    assert len(runs) == 1
    runs[0]()


def test_a_process_that_fails_is_no_measurement(model, files, tiny_bundle, tmp_path):
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / "golden.npz").unlink()
    (run,) = Workloads(model, files, bundle=broken, provider="cpu").runs(replace(CASE, task="start", scope="process"))
    with pytest.raises(CxrEdgeError, match=r"ended with 5: error: .*golden\.npz"):
        run()


def test_batch_sizes_are_of_predict_alone():
    selection = Selection(("start", "predict", "lime"), ("file", "session"), (1, 8))
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
        Selection(*values)


def test_a_case_survives_json():
    assert Case.from_json(json.loads(json.dumps(CASE.to_json()))) == CASE
    assert str(replace(CASE, batch_size=8, threads=2)) == "predict, session, fp32, batch 8, 2 threads on cpu"
