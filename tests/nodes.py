"""A node in a process of its own, and what talks to it: modalities, archives, and peers that behave badly."""

import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicoms import NAME

DCMTK = Path("/usr/bin")  # a virtual environment may have other programs of these names
LACKING = [name for name in ("storescu", "storescp", "echoscu") if not (DCMTK / name).is_file()]
SAMPLE = Path(__file__).parent / "data" / "radiographs" / "nih_dx_chest.dcm"
ANSWER, CONFIRMED = b"\2", b"\6"  # PDU types: A-ASSOCIATE-AC, A-RELEASE-RP


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

    def names(self):
        """The UIDs of what came, once for each time that it came."""
        lines = self.delivered.read_text("ascii").split() if self.delivered.exists() else []
        return [line.split(".", 1)[1] for line in lines]


def echo(port, *options):
    """Says whether a C-ECHO is answered."""
    command = [DCMTK / "echoscu", "-to", "5", *options, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def send(port, *files, options=("-aec", "CXREDGE")):
    """Sends files with dcmtk's ``storescu``; gives what it says."""
    command = [DCMTK / "storescu", "-v", *options, "127.0.0.1", str(port), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def copies(folder, count):
    """Copies of the sample, each of another image of the same study, with a patient in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(SAMPLE)
        image.PatientName, image.PatientID, image.AccessionNumber = NAME, "4711-0815", "ACC-4711"
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        pixels = image.pixel_array.copy()
        for number in range(count):
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            pixels[0, 0] = number % 256
            image.PixelData = pixels.tobytes()
            image.save_as(folder / f"{number:04}.dcm", implicit_vr=False, little_endian=True)
    return sorted(folder.glob("*.dcm"))


def uids(files):
    return [str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files]
