"""The node between real modalities and archives: nothing is lost, nothing is sent twice, and the log names nobody."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from cxr_edge.cli import app
from cxr_edge.errors import UsageError

pytest.importorskip("highdicom", reason="needs the clinic extra")
pytest.importorskip("pynetdicom", reason="needs the clinic extra")

from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from cxr_edge.clinic import receiving
from cxr_edge.clinic.receiving import IMPLEMENTATION
from dicoms import NAME
from nodes import (
    DCMTK,
    DICOMWEB,
    DX,
    LACKING,
    ORTHANC,
    SAMPLE,
    SCRIPTS,
    Archive,
    Node,
    Orthanc,
    QueryArchive,
    associate_request,
    copies,
    echo,
    fragment,
    misbehave,
    send,
    store_command,
    uids,
    wait_for,
)

pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs dcmtk ({', '.join(LACKING)})")
CONFIRMED = "Received Store Response (Success)"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("modality"), 12)


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as archive:
        yield archive


def start(tmp_path, bundle, *options):
    return Node(tmp_path / "out", *options, bundle=bundle)


def all_delivered(node, archive, count):
    """Whether the results of so many images, one report each, are there."""
    return len(node.records()) == count and len(set(archive.names())) == count


def test_what_is_sent_comes_back_as_results_once(images, archive, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--send-to", archive.address, "--explain-if", "all") as node:
        assert echo(node.port)
        assert send(node.port, *images[:2]).count(CONFIRMED) == 2
        wait_for(lambda: len(archive.names()) == 4, what="two reports and two figures")
        assert send(node.port, *images[:3]).count(CONFIRMED) == 3
        wait_for(lambda: len(archive.names()) == 6, what="a third")
        assert sorted(archive.names()) == sorted(node.results())
        assert node.stop() == 0
    assert len(node.records()) == 3
    assert len(list((node.out / "received").glob("*.dcm"))) == 3
    texts = [node.said(), *(str(path) for path in node.out.rglob("*"))]
    page = (node.out / "report.html").read_text("utf-8")
    texts += [page, (node.out / "results.csv").read_text("utf-8")]
    for secret in (*NAME.split("^")[:2], "4711-0815", "ACC-4711", *uids(images[:3])):
        assert not [text for text in texts if secret in text], secret
    assert str(tmp_path) not in node.said()


def data_set(file):
    """The bytes after the file meta information (PS3.10 section 7.1)."""
    length = pydicom.dcmread(file, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    return file.read_bytes()[128 + 4 + 12 + length :]


def test_what_is_received_is_kept_byte_for_byte(images, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle) as node:
        assert CONFIRMED in send(node.port, images[0], options=["-xe"])
        (kept,) = (node.out / "received").glob("*.dcm")
    assert data_set(kept) == data_set(images[0])


def test_an_archive_that_is_away_costs_nothing(images, tiny_bundle, tmp_path):
    archive = Archive(tmp_path / "archive")
    with start(tmp_path, tiny_bundle, "--send-to", archive.address) as node:
        assert send(node.port, *images[:2]).count(CONFIRMED) == 2
        wait_for(lambda: len(node.records()) == 2)
        wait_for(lambda: "cannot be reached" in node.said())
        with archive:
            wait_for(lambda: len(archive.names()) == 2)
        assert send(node.port, *images[2:4]).count(CONFIRMED) == 2
        wait_for(lambda: len(node.records()) == 4)
        assert node.stop() == 0
        with archive, node:
            wait_for(lambda: len(archive.names()) == 4)
    assert sorted(archive.names()) == sorted(node.results())


def test_two_archives_have_a_queue_each(images, archive, tiny_bundle, tmp_path):
    away = Archive(tmp_path / "away")
    with start(tmp_path, tiny_bundle, "--send-to", away.address, "--send-to", archive.address) as node:
        send(node.port, images[0])
        wait_for(lambda: len(archive.names()) == 1)
        with away:
            wait_for(lambda: len(away.names()) == 1)
    assert archive.names() == away.names()


def test_a_node_that_is_killed_loses_nothing(images, tiny_bundle, tmp_path):
    random, archive = np.random.default_rng(), Archive(tmp_path / "archive")
    node = start(tmp_path, tiny_bundle, "--send-to", archive.address)
    confirmed = 0
    for kill in range(4):
        if kill % 2:
            archive.start()
        node.start()
        for image in images[3 * kill : 3 * kill + 3]:
            confirmed += CONFIRMED in send(node.port, image)
        time.sleep(random.uniform(0, 0.7))
        node.kill()
        if kill % 2:
            archive.stop()
    assert confirmed == 12
    with archive, node:
        wait_for(lambda: all_delivered(node, archive, 12))
    assert len({path.name for path in (node.out / "received").glob("*.dcm")}) == 12


def test_bad_peers(gated_bundle, tmp_path):
    with start(tmp_path, gated_bundle, "--max-associations", "3") as node:
        echo(node.port)
        for round_, script in enumerate(SCRIPTS):
            misbehave(node.port, script, slow=bool(round_ % 2))
            began = time.monotonic()
            assert echo(node.port), script
            assert time.monotonic() - began < 1, script
        before = node.usage()
        for script in ("breaks off in a data set", "sends junk", "aborts"):
            misbehave(node.port, script)
        threads, files = before
        wait_for(lambda: node.usage()[0] <= threads and node.usage()[1] <= files, what="what was opened to be closed")
        assert CONFIRMED in send(node.port, SAMPLE)
        assert node.stop() == 0
        assert "Traceback" not in node.said()


def test_peers_that_stay_silent_are_in_nobodys_way(tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--max-associations", "1") as node:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(8)]
        assert echo(node.port)
        for each in silent:
            each.close()


def test_more_associations_than_allowed(tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--max-associations", "1") as node:
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", node.port)
        assert association.is_established
        assert not echo(node.port)
        association.release()
        assert wait_for(lambda: echo(node.port), what="an answer")


def test_an_object_that_never_ends_is_broken_off(tmp_path, monkeypatch):
    monkeypatch.setattr(receiving, "_WHOLE", 0.5)
    limits = receiving.ReceivingLimits(size=10**6, free=0, associations=1)
    receiver = receiving.Receiver(tmp_path, ae_title="CXREDGE", accept=(), limits=limits, tls=None, say=print)
    port = receiver.start("127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.sendall(associate_request([DX]))
            assert peer.recv(65536)[:1] == b"\2"
            peer.sendall(fragment(3, store_command()))

            def broken_off():
                try:
                    peer.sendall(fragment(0, b"\0" * 10))
                except OSError:
                    return True
                return False

            wait_for(broken_off, what="an end")
        assert wait_for(lambda: echo(port), what="an answer")  # its place is free again
    finally:
        receiver.stop()


def test_every_transfer_syntax_and_class_is_kept_and_answered(images, radiographs, tiny_bundle, tmp_path):
    compressed = [radiographs.parent / "dicom" / "cr_chest_pa_jpeg2000.dcm"]
    for image, (program, *options) in zip(
        images, [["dcmcrle"], ["dcmcjpeg", "+e1"], ["dcmcjpeg", "+eb"]], strict=False
    ):
        compressed.append(tmp_path / f"{len(compressed)}.dcm")
        subprocess.run([DCMTK / program, *options, image, compressed[-1]], check=True)
    plain = {}
    for image, (syntax, proposed) in zip(images[3:], {"+tb": "-xb", "+ti": "-xi", "+td": "-xd"}.items(), strict=False):
        plain[proposed] = tmp_path / f"{syntax}.dcm"
        subprocess.run([DCMTK / "dcmconv", syntax, image, plain[proposed]], check=True)
    files = [*compressed, *plain.values()]
    private = pydicom.dcmread(images[-1])
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.1.1"
    entity = AE()
    entity.add_requested_context(private.SOPClassUID, private.file_meta.TransferSyntaxUID)
    with start(tmp_path, tiny_bundle, "--no-gate") as node:
        for file in compressed:
            subprocess.run([DCMTK / "dcmsend", "127.0.0.1", str(node.port), file], check=True)
        for proposed, file in plain.items():
            assert CONFIRMED in send(node.port, file, options=[proposed])
        association = entity.associate("127.0.0.1", node.port)
        assert association.send_c_store(private).Status == 0x0000
        association.release()
        wait_for(lambda: len(node.records()) == len(files) + 1)
        kept = list((node.out / "received").glob("*.dcm"))
    assert {data_set(file) for file in files[1:-1]} <= {data_set(file) for file in kept}
    for file in (files[0], files[-1]):  # dcmtk writes sequences in its own way and deflates anew before it sends
        assert pydicom.dcmread(file).PixelData in {pydicom.dcmread(each).PixelData for each in kept}
    assert {json.loads(record)["status"] for record in node.records()} == {"ok"}


def test_who_is_not_accepted_is_refused(images, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--accept", "CR1", "--accept", "DX 2") as node:
        assert "Calling AE Title Not Recognized" in send(node.port, images[0], options=["-aet", "STRANGER"])
        assert CONFIRMED in send(node.port, images[0], options=["-aet", "DX 2"])
        assert node.said().count("'STRANGER'") == 1
        assert len(list((node.out / "received").glob("*.dcm"))) == 1


def test_a_full_disk_is_said_before_anything_is_lost(images, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--min-free", str(1 << 40)) as node:
        said = send(node.port, images[0])
        assert CONFIRMED not in said
        assert "0xa700" in said.lower() or "Refused: OutOfResources" in said
        assert not list((node.out / "received").glob("*.dcm"))


def test_what_cannot_be_written_is_not_confirmed(images, tiny_bundle, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))

    node = start(tmp_path, tiny_bundle)
    assert images[0].stat().st_size > 40_000
    node.start(preexec_fn=limit)
    try:
        assert "Refused: OutOfResources" in send(node.port, images[0])
        assert not [path for path in (node.out / "received").iterdir() if path.name != ".cxr-edge"]
        assert echo(node.port)
    finally:
        node.kill()
    with node:
        assert CONFIRMED in send(node.port, images[0])
        wait_for(lambda: len(node.records()) == 1)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system in memory")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_answers_wait_for_room(images, tiny_bundle, small_disk, tmp_path):
    node = Node(small_disk / "out", "--min-free", "0", bundle=tiny_bundle)
    node.log = tmp_path / "log"
    with node:
        send(node.port, images[0])
        wait_for(lambda: len(node.records()) == 1)
        time.sleep(0.5)
        rest = shutil.disk_usage(small_disk).free - images[1].stat().st_size - 16384
        (small_disk / "other").write_bytes(bytes(rest))
        assert CONFIRMED in send(node.port, images[1])
        wait_for(lambda: "results cannot be written" in node.said())
        assert "Refused: OutOfResources" in send(node.port, images[2])
        (small_disk / "other").unlink()
        assert CONFIRMED in send(node.port, images[2])
        wait_for(lambda: len(node.records()) == 3)
        assert node.stop() == 0
        assert len(node.results()) == 3


def test_what_is_larger_than_allowed_is_refused(images, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--max-size", "2") as node:
        (large,) = copies(tmp_path / "large", 1, times=4)
        assert CONFIRMED not in send(node.port, large)
        assert not list((node.out / "received").glob("*.dcm"))
        assert CONFIRMED in send(node.port, images[0])


def test_own_results_are_neither_answered_nor_sent_again(images, archive, tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle, "--send-to", archive.address, "--explain-if", "all", "--gsps") as node:
        send(node.port, images[0])
        wait_for(lambda: len(archive.names()) == 3, what="a report, a figure and a presentation state")
        back = list((archive.folder / "files").iterdir())
        assert send(node.port, *back, options=["-R"]).count(CONFIRMED) == len(back) == 3
        time.sleep(1)
        assert len(archive.names()) == 3
        assert len(node.records()) == 1
        assert len(list((node.out / "received").glob("*.dcm"))) == 1


def test_what_is_old_and_delivered_is_removed(images, archive, tiny_bundle, tmp_path):
    away = Archive(tmp_path / "away")
    both = ["--send-to", archive.address, "--send-to", away.address, "--keep", "1"]
    node = start(tmp_path, tiny_bundle, *both)

    def age():
        for path in [*(node.out / "received").glob("*.dcm"), *(node.out / "outbox").glob("*.dcm")]:
            os.utime(path, (0, 0))

    with node:
        send(node.port, images[0])
        wait_for(lambda: len(archive.names()) == 1)
        node.stop()
    age()
    with node:  # one archive has not got it yet
        send(node.port, images[1])
        wait_for(lambda: len(archive.names()) == 2)
        assert len(list((node.out / "received").glob("*.dcm"))) == 2
        with away:
            wait_for(lambda: node.confirmed() == 4)
        node.stop()
    age()
    with node:
        wait_for(lambda: not list((node.out / "received").glob("*.dcm")), what="an empty folder")
        assert not node.results()
        assert CONFIRMED in send(node.port, images[0])
        time.sleep(1.5)
        assert len(node.records()) == 2  # answered before, and sent before
        assert len(archive.stored()) == len(away.stored()) == 2


def test_what_an_archive_refuses_is_offered_again_and_keeps_back_no_other(images, tiny_bundle, tmp_path):
    asked, refusals = [], [0xA700, 0xC000]

    def store(event):
        asked.append(event.request.AffectedSOPInstanceUID)
        if len(set(asked)) == 1:  # the first object alone
            return refusals.pop(0) if refusals else 0x0111  # which says that it is there already
        return 0xB000

    entity = AE()
    entity.add_supported_context(Comprehensive3DSRStorage)  # and no other class
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    archive = f"PACS@127.0.0.1:{server.server_address[1]}"
    try:
        with start(tmp_path, tiny_bundle, "--send-to", archive, "--explain-if", "all") as node:
            send(node.port, images[0])
            wait_for(lambda: node.confirmed() == 1)
            send(node.port, images[1])
            wait_for(lambda: node.confirmed() == 2)
            assert len(asked) == 4
            assert len(set(asked)) == 2
            assert len(node.results()) == 4
            assert "status 0xA700" in node.said()
            assert "its class is not accepted" in node.said()
            with socket.create_connection(("127.0.0.1", node.port)):  # who is connected does not keep it from its end
                assert node.stop() == 0
    finally:
        server.shutdown()


def test_a_result_that_makes_an_archive_break_off_keeps_back_no_other(images, tiny_bundle, tmp_path):
    asked = []

    def store(event):
        asked.append(event.request.AffectedSOPInstanceUID)
        if asked[-1] == asked[0]:
            event.assoc.abort()
        return 0x0000

    entity = AE()
    entity.add_supported_context(Comprehensive3DSRStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    archive = f"PACS@127.0.0.1:{server.server_address[1]}"
    try:
        with start(tmp_path, tiny_bundle, "--send-to", archive) as node:
            send(node.port, images[0])
            wait_for(lambda: len(asked) > 1, what="a second attempt")
            send(node.port, images[1])
            wait_for(lambda: node.confirmed() == 1)
            assert asked.count(asked[0]) == len(asked) - 1
    finally:
        server.shutdown()


def test_options_that_cannot_be(tiny_bundle, tmp_path):
    for options, said in (
        ([], "nobody may send"),
        (["--accept", "any", "--ae-title", "LONGER THAN SIXTEEN"], "is no AE title"),
        (["--accept", "any", "--send-to", "10.0.0.5:104"], "expected AE@HOST:PORT"),
        (["--accept", "any", "--send-to", "PACS@10.0.0.5:0"], "expected AE@HOST:PORT"),
        (["--accept", "any", "--tls-cert", str(tmp_path / "none.pem")], "belong together"),
        (["--accept", "any", "--tls-cert", "none.pem", "--tls-key", "none.pem"], "No such file"),
    ):
        result = CliRunner().invoke(app, ["node", "--out", str(tmp_path / "out"), *options])
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ["node", "--out", str(tmp_path / "out"), "--accept", "any", "--port", port, "--provider", "cpu"]
        result = CliRunner().invoke(app, [*command, "--bundle", str(tiny_bundle)])
    assert isinstance(result.exception, UsageError)
    assert "cannot listen" in str(result.exception)


def test_a_second_node_in_the_same_folder_does_nothing(tiny_bundle, tmp_path):
    with start(tmp_path, tiny_bundle):
        command = ["node", "--out", str(tmp_path / "out"), "--accept", "any", "--port", "0", "--provider", "cpu"]
        result = CliRunner().invoke(app, [*command, "--explain", "none", "--bundle", str(tiny_bundle)])
    assert isinstance(result.exception, UsageError)
    assert "another scan is writing here" in str(result.exception)
    assert "listens at" not in result.stderr


def test_the_documents_say_what_is_so(tmp_path):
    docs = Path(__file__).parents[3] / "docs"
    assert IMPLEMENTATION in (docs / "dicom-conformance.md").read_text("utf-8")
    (unit,) = re.findall(r"```\n(\[Unit\]\n.*?)```", (docs / "node.md").read_text("utf-8"), re.DOTALL)
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    file = tmp_path / "cxr-edge.service"
    file.write_text(unit.replace("/opt/cxr-edge/bin/cxr-edge", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2"]
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *made], check=True, capture_output=True
    )
    return folder


def test_encrypted_on_both_sides(images, certificate, tiny_bundle, tmp_path):
    key, cert = certificate / "key.pem", certificate / "cert.pem"
    files = ["--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(cert)]
    archive = Archive(tmp_path / "archive", "+tls", str(key), str(cert), "--ignore-peer-cert")
    with archive, start(tmp_path, tiny_bundle, "--send-to", f"tls:{archive.address}", *files) as node:
        assert CONFIRMED not in send(node.port, images[0])
        assert CONFIRMED not in send(node.port, images[0], options=["--anonymous-tls", "--ignore-peer-cert"])
        ours = ["+tls", str(key), str(cert), "--add-cert-file", str(cert)]
        assert CONFIRMED in send(node.port, images[0], options=ours)
        wait_for(lambda: len(archive.names()) == 1)


def test_the_trial_says_what_came_back(archive, certificate, tiny_bundle, tmp_path):
    key, cert = certificate / "key.pem", certificate / "cert.pem"
    command = [sys.executable, "-m", "cxr_edge", "node", "--check", "--out", tmp_path / "out", "--bundle", tiny_bundle]
    command += ["--accept", "CR1", "--port", "0", "--send-to", archive.address, "--send-to", "NOBODY@127.0.0.1:1"]
    command += ["--gsps", "--tls-cert", cert, "--tls-key", key, "--tls-ca", cert]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0] == "ok    C-ECHO"
    assert re.match(r"ok    image: taken, answered \w+ after \d+\.\d s, \d DICOM results made", lines[1])
    assert lines[2] == f"ok    {archive.address} takes all"
    assert lines[3].startswith("FAULT NOBODY@127.0.0.1:1 cannot be reached")
    assert not archive.names()
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not (DCMTK / "dcmqrscp").is_file(), reason="needs dcmqrscp")
def test_an_archive_finds_the_results_by_their_study_and_gives_them_back(images, tiny_bundle, tmp_path):
    study = str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
    with QueryArchive(tmp_path / "archive") as archive:
        node = start(tmp_path, tiny_bundle, "--send-to", archive.address, "--explain-if", "all", "--gsps")
        with node:
            assert send(node.port, *images[:2]).count(CONFIRMED) == 2
            wait_for(lambda: node.confirmed() == len(node.results()) == 6, what="three results of each")
        assert archive.find(study) == node.results()
        given = archive.get(study, tmp_path / "back")
    assert {str(each.SOPInstanceUID) for each in given} == node.results()
    assert {str(each.StudyInstanceUID) for each in given} == {study}


@pytest.mark.skipif(not ORTHANC or not DICOMWEB, reason="needs Orthanc with its DICOMweb plug-in")
def test_from_the_modality_into_orthanc_and_onto_a_screen(images, tiny_bundle, tmp_path):
    study = str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
    with Orthanc(tmp_path / "orthanc") as orthanc:
        send(orthanc.port, *images[:2], options=["-aec", "ORTHANC"])
        with start(tmp_path, tiny_bundle, "--send-to", orthanc.address, "--explain-if", "all", "--gsps") as node:
            for _ in range(2):  # sent a second time, there are no further results
                assert send(node.port, *images[:2]).count(CONFIRMED) == 2
                wait_for(lambda: node.confirmed() == len(node.results()) >= 4)
        found = orthanc.instances(study)
        originals = set(uids(images[:2]))
        results = {uid for each in found.values() for _, uid in each} - originals
        assert results == node.results()
        assert len(found[Comprehensive3DSRStorage]) == 2
        figures = [each for each in found[SecondaryCaptureImageStorage] if each[1] not in originals]
        assert len(figures) == 2
        for series, uid in figures:
            picture = orthanc.ask(f"studies/{study}/series/{series}/instances/{uid}/rendered", "image/jpeg")
            shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
            assert min(shown.shape[:2]) > 100
            assert shown.std() > 10
