"""A node in a process of its own, and what talks to it: modalities, archives, and peers that behave badly."""

import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicoms import NAME

DCMTK = Path("/usr/bin")  # a virtual environment may have other programs of these names
LACKING = [
    name
    for name in ("storescu", "storescp", "echoscu", "dcmsend", "dcmconv", "dcmcrle", "dcmcjpeg")
    if not (DCMTK / name).is_file()
]
SAMPLE = Path(__file__).parent / "data" / "radiographs" / "nih_dx_chest.dcm"


def wait_for(true, seconds=30.0, what="what was waited for"):
    """Waits until something is true; gives what it is."""
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, f"{what} did not come"
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """``cxr-edge node`` in a process of its own, which may be killed and started again."""

    def __init__(self, out, *options, bundle=None):
        self.out, self.log, self.port = Path(out), Path(f"{out}.log"), free_port()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._options = [*options, "--provider", "cpu", "--out", str(out), "--port", str(self.port)]
        self._options += ["--min-free", "1"] if "--min-free" not in options else []
        self._options += ["--explain", "none"] if "--explain-if" not in options else []
        self._options += ["--accept", "any"] if "--accept" not in options else []
        self._options += ["--bundle", str(bundle)] if bundle else []
        self.process = None

    def start(self, **how):
        before = self.said().count("listens at")
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "cxr_edge", "node", *self._options]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, **how)
        wait_for(lambda: self.said().count("listens at") > before or self.process.poll() is not None, 60, "the node")
        assert self.process.poll() is None, self.said()
        return self

    def said(self):
        return self.log.read_text("utf-8") if self.log.exists() else ""

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def records(self):
        """The lines of the journal."""
        journal = self.out / "results.jsonl"
        return journal.read_bytes().splitlines() if journal.exists() else []

    def results(self):
        """The UIDs of the results."""
        return {path.stem for path in (self.out / "outbox").glob("*.dcm")}

    def confirmed(self):
        """How many results archives have confirmed."""
        return len(list((self.out / "outbox" / ".delivered").glob("*/2.25.*")))

    def usage(self):
        """Threads and open files."""
        process = Path("/proc", str(self.process.pid))
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))


class Archive:
    """dcmtk's ``storescp``, which may be away for a while."""

    def __init__(self, folder, *options):
        self.folder, self.port, self._options, self.process = Path(folder), free_port(), options, None
        (self.folder / "files").mkdir(parents=True)
        self.delivered = self.folder / "delivered.txt"

    @property
    def address(self):
        return f"PACS@127.0.0.1:{self.port}"

    def start(self):
        note = f"echo '#f' >> {self.delivered}"
        command = [DCMTK / "storescp", "-xcr", note, "-od", self.folder / "files", *self._options, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: echo(self.port, *self._client()), what="the archive")
        return self

    def _client(self):
        return ("--anonymous-tls", "--ignore-peer-cert") if "+tls" in self._options else ()

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def stored(self):
        """The UIDs of what it holds, from the moment on that it has confirmed them."""
        return {path.name.split(".", 1)[1] for path in (self.folder / "files").iterdir()}

    def names(self):
        """The UIDs of what came, once for each time that it came; noted after the confirmation, or never if killed."""
        lines = self.delivered.read_text("ascii").split() if self.delivered.exists() else []
        return [line.split(".", 1)[1] for line in lines]


class QueryArchive:
    """dcmtk's ``dcmqrscp``: an archive that answers C-FIND and C-GET."""

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()

    @property
    def address(self):
        return f"QUERY@127.0.0.1:{self.port}"

    def __enter__(self):
        store, settings = self.folder / "files", self.folder / "dcmqrscp.cfg"
        store.mkdir(parents=True)
        head = f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        tables = "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        settings.write_text(f"{head}{tables}AETable BEGIN\nQUERY {store} RW (9, 64mb) ANY\nAETable END\n")
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([DCMTK / "dcmqrscp", "-c", settings], stdout=log, stderr=log)
        wait_for(lambda: echo(self.port, "-aec", "QUERY"), what="dcmqrscp")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def find(self, study):
        """The SOP Instance UIDs of a study, asked for at the level of images."""
        keys = ["-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={study}", "-k", "SeriesInstanceUID"]
        said = self._ask("findscu", "-v", "-S", *keys, "-k", "SOPInstanceUID")
        return set(re.findall(r"\(0008,0018\) UI \[(2\.25\.\d+)", said))

    def get(self, study, folder):
        """The objects of a study."""
        folder.mkdir()
        self._ask("getscu", "-S", "-od", folder, "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        return [pydicom.dcmread(path) for path in folder.iterdir()]

    def _ask(self, program, *options):
        command = [DCMTK / program, "-aec", "QUERY", "127.0.0.1", str(self.port), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr


def echo(port, *options):
    """Says whether a C-ECHO is answered."""
    command = [DCMTK / "echoscu", "-to", "5", *options, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def send(port, *files, options=("-aec", "CXREDGE")):
    """Sends files with dcmtk's ``storescu``; gives what it says."""
    command = [DCMTK / "storescu", "-v", *options, "127.0.0.1", str(port), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def copies(folder, count, *, times=1):
    """Copies of the sample, each of another image of the same study, with a patient in it; longer by a factor."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(SAMPLE)
        image.PatientName, image.PatientID, image.AccessionNumber = NAME, "4711-0815", "ACC-4711"
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        pixels = np.tile(image.pixel_array, (times, 1))
        image.Rows = len(pixels)
        for number in range(count):
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            pixels[0, 0] = number % 256
            image.PixelData = pixels.tobytes()
            image.save_as(folder / f"{number:04}.dcm", implicit_vr=False, little_endian=True)
    return sorted(folder.glob("*.dcm"))


def uids(files):
    return [str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files]


def associate_request(contexts, *, calling=b"BAD", called=b"CXREDGE"):
    """An A-ASSOCIATE-RQ PDU (PS3.8 section 9.3.2) that proposes some classes."""

    def part(kind, content):
        return struct.pack(">BBH", kind, 0, len(content)) + content

    syntax = part(0x40, b"1.2.840.10008.1.2")
    items = part(0x10, b"1.2.840.10008.3.1.1.1")
    for number, name in enumerate(contexts):
        items += part(0x20, bytes([2 * number + 1, 0, 0, 0]) + part(0x30, name) + syntax)
    items += part(0x50, part(0x51, struct.pack(">I", 16384)) + part(0x52, b"1.2.3"))
    head = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
    return pdu(1, head + items)


def pdu(kind, content, *, length=None):
    """A PDU, which may state a wrong length."""
    return struct.pack(">BBI", kind, 0, len(content) if length is None else length) + content


def fragment(control, content, *, context=1, length=None):
    """A P-DATA-TF PDU with one fragment, which may state a wrong length."""
    stated = len(content) + 2 if length is None else length
    return pdu(4, struct.pack(">IBB", stated, context, control) + content)


def store_command(number=1):
    """The command of a C-STORE-RQ (PS3.7 table 9.3-1), in Implicit VR Little Endian."""

    def element(tag, value):
        return struct.pack("<HHI", 0, tag, len(value)) + value

    rest = element(0x0002, DX + b"\0" * (len(DX) % 2)) + element(0x0100, struct.pack("<H", 1))
    rest += element(0x0110, struct.pack("<H", number)) + element(0x0700, b"\0\0") + element(0x0800, b"\0\0")
    rest += element(0x1000, b"1.2.3.4.5\0")
    return element(0x0000, struct.pack("<I", len(rest))) + rest


DX, FIND = b"1.2.840.10008.5.1.4.1.1.1.1", b"1.2.840.10008.5.1.4.1.2.2.1"
JUNK = bytes(range(256)) * 8
SCRIPTS = {
    "leaves at once": [],
    "sends junk": [JUNK],
    "sends half a header": [b"\1\0\0"],
    "announces 4 GB": [pdu(1, b"\0" * 100, length=0xFFFFFFFF)],
    "breaks off in the request": [associate_request([DX])[:40]],
    "sends a request with a wrong inner length": [associate_request([DX]).replace(b"\x20\0\0", b"\x20\0\xff", 1)],
    "is refused its context": [associate_request([FIND]), None, fragment(3, store_command()), fragment(2, JUNK)],
    "uses a context that it never proposed": [associate_request([DX]), None, fragment(3, store_command(), context=99)],
    "aborts": [associate_request([DX]), None, pdu(7, b"\0\0\0\0")],
    "breaks off in a command": [associate_request([DX]), None, fragment(1, store_command()[:30])],
    "breaks off in a data set": [associate_request([DX]), None, fragment(3, store_command()), fragment(0, JUNK)],
    "aborts in a data set": [
        associate_request([DX]),
        None,
        fragment(3, store_command()),
        fragment(0, JUNK),
        pdu(7, b"\0\0\0\0"),
    ],
    "releases in a data set": [
        associate_request([DX]),
        None,
        fragment(3, store_command()),
        fragment(0, JUNK),
        pdu(5, b"\0\0\0\0"),
    ],
    "sends a fragment that is too long": [associate_request([DX]), None, fragment(3, store_command(), length=5000)],
    "sends a fragment that is too short": [associate_request([DX]), None, fragment(3, store_command(), length=1)],
    "sends a command of junk": [associate_request([DX]), None, fragment(3, JUNK)],
    "sends a data set of junk": [associate_request([DX]), None, fragment(3, store_command()), fragment(2, JUNK), None],
    "sends a data set of nothing": [associate_request([DX]), None, fragment(3, store_command()), fragment(2, b"")],
    "does not wait for answers": [
        associate_request([DX]),
        None,
        *(fragment(3, store_command(number)) + fragment(2, JUNK) for number in range(50)),
    ],
    "asks twice for an association": [associate_request([DX]), None, associate_request([DX])],
    "sends data before it asks": [fragment(3, store_command())],
    "answers what nobody asked": [pdu(2, b"\0" * 68), pdu(6, b"\0\0\0\0")],
}
"""What a bad peer sends, one after the other; None waits for an answer."""


def misbehave(port, script, *, slow=False):
    """Runs a script of `SCRIPTS` and leaves without a word; slowly, a few bytes at a time."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(0.5)
        try:
            for each in SCRIPTS[script]:
                if each is None:
                    connection.recv(65536)
                elif slow:
                    for start in range(0, min(len(each), 400), 20):
                        connection.sendall(each[start : start + 20])
                        time.sleep(0.005)
                else:
                    connection.sendall(each)
            connection.recv(65536)
        except OSError:  # it was shown the door
            pass


ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
DICOMWEB = next(Path("/usr").glob("share/orthanc/plugins/*OrthancDicomWeb.so*"), None)


class Orthanc:
    """An archive with DICOMweb, in a process and a folder of its own."""

    def __init__(self, folder):
        self.folder, self.port, self.web = Path(folder), free_port(), free_port()

    @property
    def address(self):
        return f"ORTHANC@127.0.0.1:{self.port}"

    def __enter__(self):
        self.folder.mkdir()
        settings = {
            "Name": "test",
            "StorageDirectory": str(self.folder / "files"),
            "IndexDirectory": str(self.folder / "files"),
            "DicomPort": self.port,
            "HttpPort": self.web,
            "DicomAet": "ORTHANC",
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        command = [ORTHANC, self.folder / "settings.json"]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: echo(self.port, "-aec", "ORTHANC"), what="Orthanc")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def ask(self, path, accept="application/dicom+json"):
        """What DICOMweb answers."""
        request = Request(f"http://127.0.0.1:{self.web}/dicom-web/{path}", headers={"Accept": accept})
        with urlopen(request, timeout=20) as answer:  # noqa: S310  # our own server
            return answer.read()

    def instances(self, study):
        """SOP Class → SOP Instance UIDs of a study."""
        found = {}
        answer = self.ask(f"studies/{study}/instances")
        for instance in json.loads(answer) if answer else []:
            found.setdefault(instance["00080016"]["Value"][0], []).append(
                (instance["0020000E"]["Value"][0], instance["00080018"]["Value"][0])
            )
        return found
