"""The DICOM node under load, killed, and among bad peers.

    python benchmarks/node.py [--images 500] [--kills 50] [--scripts 200] [--quick]

Load: two senders at once, an archive that takes the results. Bars: every image has one record and its results in the
archive; and 0.8 of what a scan of the same files does in a second, with the same explanations, pictures and results.
Kills: kill -9 at random moments, the archive down for half of them. Bar: every image that was confirmed is answered
once, and every result is in the archive. Scripts: what a bad peer sends. Bars: no crash, an echo is answered within
a second after each, and no thread or file is left open.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import ROOT, Options

sys.path.insert(0, str(ROOT / "tests"))
from nodes import LACKING, SCRIPTS, Archive, Node, copies, echo, misbehave, send, wait_for

CONFIRMED = "Received Store Response (Success)"
SHARE, AT_ONCE = 0.8, 1.0  # the bars: of the scan's throughput, and seconds for an echo
EXPLAINED = ["--explain", "gradcam", "--explain-if", "all", "--no-gate"]
GONE = 11.0  # seconds after which pynetdicom has given up a peer that is gone
LOOK = 0.02  # seconds between two looks at a journal


def main() -> None:
    """Run the three parts and print them."""
    parser = Options(__doc__)
    parser.number("--images", 500, quick=12)
    parser.number("--kills", 50, quick=2)
    parser.number("--scripts", 200, quick=len(SCRIPTS))
    options = parser.read()
    if LACKING:
        raise SystemExit(f"needs dcmtk ({', '.join(LACKING)})")
    work = Path(tempfile.mkdtemp(prefix="node-"))
    try:
        load(work / "load", options.images)
        kill(work / "kills", options.kills)
        trouble(work / "scripts", options.scripts)
    finally:
        shutil.rmtree(work)


def load(work: Path, count: int) -> None:
    """Send, count what arrives in the archive, and compare with a scan."""
    images = copies(work / "in", count)
    command = [sys.executable, "-m", "cxr_edge", "scan", str(work / "in"), "--out", str(work / "scan"), *EXPLAINED]
    command += ["--provider", "cpu", "--dicom-out", str(work / "results")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as scan:
        wait_for(lambda: lines(work / "scan"), 120, "the first record of the scan")
        begun, before = time.monotonic(), lines(work / "scan")
        while lines(work / "scan") < count:
            assert scan.poll() is None or lines(work / "scan") == count, "the scan ended early"
            time.sleep(LOOK)
        scanned = (count - before) / (time.monotonic() - begun)
    with Archive(work / "archive") as archive, Node(work / "out", "--send-to", archive.address, *EXPLAINED) as node:
        confirmed = send(node.port, images[0]).count(CONFIRMED)
        wait_for(lambda: lines(node.out), 120, "the first record of the node")
        begun = time.monotonic()
        with ThreadPoolExecutor(2) as senders:
            said = senders.map(lambda part: send(node.port, *part), (images[1::2], images[2::2]))
            confirmed += sum(each.count(CONFIRMED) for each in said)
        sent = time.monotonic() - begun
        while lines(node.out) < count:
            time.sleep(LOOK)
        answered = (count - 1) / (time.monotonic() - begun)
        wait_for(lambda: node.confirmed() == len(node.results()), 600, "the delivery of all results")
        delivered, results = archive.stored(), node.results()
        records = [json.loads(line) for line in node.records()]
        assert node.stop() == 0
    assert confirmed == count == len(records) == len({record["sha256"] for record in records})
    assert delivered == results
    assert len(results) == 2 * count
    print("| load | |\n|---|---|")
    print(f"| images of two senders, none lost | {count} |")
    print(f"| confirmed per second | {(count - 1) / sent:.1f} |")
    print(f"| answered per second | {answered:.1f} |")
    print(f"| answered per second by a scan | {scanned:.1f} |")
    print(f"| ratio (bar {SHARE}) | {answered / scanned:.2f} |\n")


def lines(out: Path) -> int:
    """Count the records so far."""
    journal = out / "results.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill(work: Path, kills: int) -> None:
    """Kill the node again and again while it is sent images, with the archive down for half of the time."""
    images, random = copies(work / "in", 4 * kills), np.random.default_rng()
    archive = Archive(work / "archive")
    node, confirmed = Node(work / "out", "--send-to", archive.address, *EXPLAINED), 0
    for number in range(kills):
        if up := bool(number % 2):
            archive.start()
        node.start()
        with ThreadPoolExecutor(1) as sender:
            part = images[4 * number : 4 * number + 4]
            sending = sender.submit(lambda part=part: [CONFIRMED in send(node.port, image) for image in part])
            time.sleep(random.uniform(0, 2))
            node.kill()
            confirmed += sum(sending.result())
        if up:
            archive.stop()
    with archive, node:
        received = len([path for path in (node.out / "received").glob("*.dcm") if not path.name.startswith(".")])
        assert received >= confirmed
        wait_for(lambda: lines(node.out) == received, 600, "an answer for each image")
        wait_for(lambda: len(node.results()) == 2 * received == node.confirmed(), 600, "the delivery of all results")
        records = [json.loads(line) for line in node.records()]
        names, delivered, results = archive.names(), archive.stored(), node.results()
    assert len({record["sha256"] for record in records}) == len(records) == received
    assert delivered == results
    again = len(names) - len(set(names))
    print("| kills | |\n|---|---|")
    print(f"| kill -9, the archive down for half of them | {kills} |")
    print(f"| images that were confirmed, and answered once | {confirmed} |")
    print(f"| results in the archive, none missing | {len(results)} |")
    print(f"| results sent again because the kill came before the confirmation | {again} |\n")


def trouble(work: Path, count: int) -> None:
    """Run scripts of a bad peer, some of them slowly, and ask for an echo after each."""
    random, names = np.random.default_rng(), list(SCRIPTS)
    longest = 0.0
    with Node(work / "out") as node:
        misbehave(node.port, "sends a data set of junk")
        wait_for(lambda: lines(node.out) == 1, what="a record of the junk")
        time.sleep(GONE)
        before = node.usage()
        for number in range(count):
            misbehave(node.port, names[number % len(names)], slow=bool(random.integers(2)))
            begun = time.monotonic()
            assert echo(node.port), names[number % len(names)]
            longest = max(longest, time.monotonic() - begun)
        time.sleep(GONE)
        after = node.usage()
        assert node.stop() == 0
    assert longest < AT_ONCE, longest
    assert after[0] <= before[0], (before, after)
    assert after[1] <= before[1], (before, after)
    print("| bad peers | |\n|---|---|")
    print(f"| scripts | {count} |")
    print(f"| longest echo after one (bar {AT_ONCE:.0f} s) | {longest:.2f} s |")
    print(f"| threads and files open, before and after | {before} {after} |")


if __name__ == "__main__":
    main()
