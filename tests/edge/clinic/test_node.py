"""The node between real modalities and archives: nothing is lost, nothing is sent twice, and the log names nobody."""

import pytest

pytest.importorskip("highdicom", reason="needs the clinic extra")
pytest.importorskip("pynetdicom", reason="needs the clinic extra")

from nodes import LACKING, Archive, Node, copies, echo, send, wait_for

pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs dcmtk ({', '.join(LACKING)})")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("modality"), 12)


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as archive:
        yield archive


def test_what_is_sent_comes_back_as_results_once(images, archive, tiny_bundle, tmp_path):
    with Node(tmp_path / "out", "--send-to", archive.address, "--explain-if", "all", bundle=tiny_bundle) as node:
        assert echo(node.port)
        assert send(node.port, *images[:2]).count("Received Store Response (Success)") == 2
        wait_for(lambda: len(archive.names()) == 4, what=node.said())
        assert send(node.port, *images[:3]).count("Received Store Response (Success)") == 3
        wait_for(lambda: len(archive.names()) == 6, what=node.said())
        assert sorted(archive.names()) == sorted(node.results())
        assert node.stop() == 0
    assert len(node.records()) == 3
    assert (node.out / "report.html").exists()
    assert len(list((node.out / "received").glob("*.dcm"))) == 3
