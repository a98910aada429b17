import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.bench.tune import tune
from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.commands.tune import tune as tune_command
from cxr_edge.errors import UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime import machine, tuning
from cxr_edge.runtime.tuning import Bounds, TunedEngine, Tuning, choose, read_tuning, stated_bounds, write_tuning
from tiny import BIAS, SCALE, TinyNetwork, write_tiny_bundle

ERROR = 0.3  # log-odds by which the other network of these bundles is off
LOSS = {"max_logodds_error": ERROR + 0.01, "max_gate_error": 0.0, "max_scope_error": 0.0}


def describe_bundle(folder, *, loss=LOSS, threshold=None):
    values = Bundle.open(folder).manifest.to_json()
    values["precisions"]["int8"]["loss"] = loss
    if threshold is not None:
        values["operating_points"]["points"][values["operating_points"]["default"]]["threshold"] = threshold
    network = TinyNetwork()
    network.logits_bias = network.logits_bias + np.array([0, ERROR], np.float32)
    (folder / "classifier.int8.onnx").write_bytes(network.classifier().SerializeToString())
    write_manifest(folder, values)
    return Bundle.open(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def other_bundle(tmp_path):
    """A bundle whose int8 calls the first reference input PNEUMONIA, and fp32 does not."""
    folder = write_tiny_bundle(tmp_path / "bundle")
    logodds = np.load(folder / "golden.npz")["logodds"][0] + ERROR / 2
    return describe_bundle(folder, threshold=float(1 / (1 + np.exp(-(SCALE * logodds + BIAS)))))


def store(bundle, changes=()):
    engine = TunedEngine("cpu", "int8", 1, 1, 1.0, 1.0)
    setting = tuning.describe_setting(bundle)
    write_tuning(bundle, Tuning({**setting, **dict(changes)}, "now", dict.fromkeys(("single", "scan", "lime"), engine)))


def test_without_a_stored_choice_auto_is_fp32(other_bundle):
    choice = choose(other_bundle, use="single")
    assert (choice.provider, choice.precision, choice.reason) == ("auto", "fp32", None)
    assert read_tuning(other_bundle).reason == "nothing was measured on this machine"


def test_a_stored_choice_is_what_auto_takes_and_what_is_asked_for_goes_before(other_bundle):
    store(other_bundle)
    choice = choose(other_bundle, use="single")
    assert (choice.provider, choice.precision, choice.threads, choice.exact_labels) == ("cpu", "int8", 1, True)
    assert choose(other_bundle, precision="fp32", use="single").precision == "fp32"
    assert not choose(other_bundle, precision="int8", use="single").exact_labels
    assert choose(other_bundle, provider="cuda", use="single").precision == "fp32"


def test_a_slow_start_pays_only_for_many_radiographs(other_bundle):
    engines = {
        "once": TunedEngine("cpu", "fp32", 1, 1, 100.0, 0.1),
        "single": TunedEngine("cpu", "int8", 1, 1, 200.0, 0.3),
    }
    write_tuning(other_bundle, Tuning(tuning.describe_setting(other_bundle), "now", engines))
    precisions = [choose(other_bundle, use="single", count=count).precision for count in (1, 39, 41, None)]
    assert precisions == ["fp32", "fp32", "int8", "int8"]
    engines["once"] = TunedEngine("openvino", "fp32", 1, 1, 100.0, 0.1)
    write_tuning(other_bundle, Tuning(tuning.describe_setting(other_bundle), "now", engines))
    assert choose(other_bundle, use="single", count=1, provider="cpu").precision == "int8"


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"cores": 99}, "another cores"), ({"versions": {}}, "another versions"), ({"bundle": "0"}, "another bundle")],
)
def test_a_choice_of_another_setting_is_not_used_and_the_reason_is_said(other_bundle, changes, said):
    store(other_bundle, changes)
    choice = choose(other_bundle, use="single")
    assert choice.precision == "fp32"
    assert said in choice.reason
    assert said in load(other_bundle.folder).classifier.session.reason


def test_another_processor_is_another_setting(other_bundle, monkeypatch):
    store(other_bundle)
    changed = replace(machine.read_processor(), instruction_sets=("AVX2",))
    monkeypatch.setattr(tuning, "read_processor", lambda: changed)
    assert "another processor" in read_tuning(other_bundle).reason


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b'{"about": {}, "created": "", "engines": 1}'])
def test_a_damaged_choice_is_not_used(other_bundle, content):
    store(other_bundle)
    (path,) = (tuning.find_cache().folder / "tuning").iterdir()
    path.write_bytes(content)
    assert "cannot be read" in read_tuning(other_bundle).reason
    assert choose(other_bundle, use="single").precision == "fp32"


def test_the_label_is_always_that_of_fp32(other_bundle):
    inputs = np.load(other_bundle.path("golden.npz"))["inputs"]
    fp32, int8, exact = (
        Classifier(other_bundle, provider="cpu", precision=precision, exact_labels=exact).predict(inputs)
        for precision, exact in (("fp32", False), ("int8", False), ("int8", True))
    )
    assert (fp32[0].label, int8[0].label) == ("NORMAL", "PNEUMONIA")
    assert [each.label for each in exact] == [each.label for each in fp32]
    assert exact[0].precision == "fp32"
    assert exact[0].logodds == pytest.approx(fp32[0].logodds, rel=1e-5)
    assert {each.precision for each in exact} == {"fp32", "int8"}  # what is far from the threshold is not done again


def test_a_tuned_model_says_so_and_its_records_carry_what_ran(other_bundle, radiographs):
    store(other_bundle)
    model = load(other_bundle.folder)
    assert model.classifier.session.reason == "chosen by tune"
    records = [model.predict(path).to_json() for path in sorted(radiographs.iterdir())]
    plain = load(other_bundle.folder, precision="fp32")
    assert [each["label"] for each in records] == [plain.predict(path).label for path in sorted(radiographs.iterdir())]
    assert {each["precision"] for each in records} <= {"fp32", "int8"}


def test_a_refusal_near_its_threshold_is_decided_by_fp32(tmp_path):
    folder = write_tiny_bundle(tmp_path / "bundle", gate=True)
    bundle = describe_bundle(folder, loss={"max_logodds_error": 0.0, "max_gate_error": 20.0})
    inputs = np.full((3, 224, 224), 128, np.float32)
    inputs[1:] += np.array([95, 30], np.float32)[:, None, None]  # 5 and 70 from the gate's threshold of 100
    found = Classifier(bundle, provider="cpu", precision="int8", exact_labels=True).predict(inputs)
    assert [each.precision for each in found[1:]] == ["fp32", "int8"]


def test_a_precision_of_unknown_loss_gives_no_exact_labels(tmp_path):
    bundle = describe_bundle(write_tiny_bundle(tmp_path / "bundle"), loss={})
    with pytest.raises(UsageError, match="does not state how far int8 is from fp32"):
        Classifier(bundle, precision="int8", exact_labels=True)
    assert not tune(bundle, seconds=0.1).discarded.keys() & {"fp32 on cpu"}
    assert "does not state" in tune(bundle, seconds=0.1).discarded["int8 on cpu"]


def test_the_gate_s_loss_has_to_be_stated_where_there_is_a_gate(gated_bundle, tiny_bundle):
    without = Bounds(0.1, None, None)
    assert without.cover(Bundle.open(tiny_bundle).manifest)
    assert not without.cover(Bundle.open(gated_bundle).manifest)
    assert stated_bounds(Bundle.open(tiny_bundle).manifest, "fp32").logodds == tuning.FP32_BOUND


def test_tune_measures_each_use_and_discards_what_answers_otherwise(other_bundle):
    report = tune(other_bundle, seconds=0.3)
    assert report.tuning.engines.keys() == {"once", "single", "scan", "lime"}
    assert all(rate > 0 for rate in report.measured.values())
    assert {each.precision for each in report.measured} == {"fp32", "int8"}
    worse = describe_bundle(other_bundle.folder, loss={"max_logodds_error": ERROR / 2})
    report = tune(worse, seconds=0.3)
    assert {each.precision for each in report.measured} == {"fp32"}
    assert "log-odds differ by 0.3, allowed 0.15" in report.discarded["int8 on cpu"]


def test_the_choice_is_the_quickest_of_what_was_measured(other_bundle):
    report = tune(other_bundle, seconds=0.3)
    engines = dict(report.tuning.engines)
    once = engines.pop("once")
    assert once.seconds_for(1) <= 1.03 * engines["single"].seconds_for(1)
    assert once.start > 0
    for use, engine in engines.items():
        rates = [rate for each, rate in report.measured.items() if each.use == use]
        assert engine.per_second >= max(rates) / 1.03 - 0.01


def test_the_command_stores_what_the_next_one_takes(other_bundle, capsys, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("cxr_edge"), "propagate", True)  # a command line before may have stopped it
    caplog.set_level("INFO", "cxr_edge")
    tune_command(json=True, bundle=other_bundle.folder, seconds=0.3)
    told = json.loads(capsys.readouterr().out)
    assert told["stored"]
    assert told["chosen"].keys() == {"once", "single", "scan", "lime"}
    assert read_tuning(other_bundle).tuning.engines["single"].precision == told["chosen"]["single"]["precision"]
    tune_command(json=False, bundle=other_bundle.folder, seconds=0.3)
    assert capsys.readouterr().out.split()[0] == "once"
    assert "not measured: cuda" in caplog.text
