import os

import pytest

from cxr_edge.errors import UsageError
from cxr_edge.runtime import machine as limits
from cxr_edge.runtime.machine import check_batch_size, check_threads, usable_cores, usable_memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 cores and 16 GiB, whose control groups are the files that a test writes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    sizes = {"SC_PHYS_PAGES": 16 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    monkeypatch.setattr(limits, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_MEMBERSHIP", tmp_path / "self")

    def machine(membership, **files):
        (tmp_path / "self").write_text(membership, encoding="ascii")
        for name, content in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n", encoding="ascii")

    return machine


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8)])
def test_cores_respect_the_container_s_quota(machine, quota, cores):
    machine("0::/\n", cpuDOTmax=quota)
    assert usable_cores() == cores


def test_the_tightest_of_nested_groups_counts(machine):
    files = {"a__cpuDOTmax": "300000 100000", "a__b__cpuDOTmax": "max 100000", "other__cpuDOTmax": "100000 100000"}
    machine("0::/a/b\n", **files)
    assert usable_cores() == 3


@pytest.mark.parametrize("path", ["/", "/docker/0123"])
def test_version_1_groups(machine, path):
    # In a container the stated path may be the host's, and the container's own group lies at the root.
    files = {"cpu__cpuDOTcfs_quota_us": "250000", "cpu__cpuDOTcfs_period_us": "100000"}
    machine(f"4:memory:{path}\n2:cpu,cpuacct:{path}\n", **files, memory__memoryDOTlimit_in_bytes=str(3 * GIB))
    assert usable_cores() == 3
    assert usable_memory() == 3 * GIB


def test_version_1_without_a_quota(machine):
    files = {"cpu__cpuDOTcfs_quota_us": "-1", "cpu__cpuDOTcfs_period_us": "100000"}
    machine("2:cpu:/\n4:memory:/\n", **files, memory__memoryDOTlimit_in_bytes=str(2**63 - 4096))
    assert (usable_cores(), usable_memory()) == (8, 16 * GIB)


@pytest.mark.parametrize(("limit", "usable"), [("max", 16 * GIB), (str(GIB), GIB), ("", 16 * GIB)])
def test_memory_respects_the_container_s_limit(machine, limit, usable):
    machine("0::/\n", memoryDOTmax=limit)
    assert usable_memory() == usable


def test_elsewhere_than_on_linux(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(limits, "_ROOT", tmp_path / "none")
    monkeypatch.setattr(limits, "_MEMBERSHIP", tmp_path / "none")
    assert (usable_cores(), usable_memory()) == (6, None)


@pytest.mark.parametrize("threads", [0, -1, 9, 100_000])
def test_threads_are_bounded_by_the_usable_cores(machine, threads):
    machine("0::/\n")
    for allowed in (None, 1, 8):
        check_threads(allowed)
    with pytest.raises(UsageError, match=f"{threads} threads; expected 1 to 8, the cores that this process may use"):
        check_threads(threads)


@pytest.mark.parametrize("size", [0, -1, 103, 100_000])
def test_batches_are_bounded_by_the_usable_memory(machine, size):
    machine("0::/\n", memoryDOTmax=str(2 * GIB))
    for allowed in (1, 102):
        check_batch_size(allowed)
    with pytest.raises(UsageError, match=f"a batch of {size} radiographs; expected 1 to 102"):
        check_batch_size(size)


def test_where_the_memory_is_unknown_batches_have_no_bound(monkeypatch):
    monkeypatch.setattr(limits, "usable_memory", lambda: None)
    check_batch_size(100_000)
    with pytest.raises(UsageError, match="expected 1 or more"):
        check_batch_size(0)
