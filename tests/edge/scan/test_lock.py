import json
from pathlib import Path

import pytest

from cxr_edge.errors import UsageError
from cxr_edge.scan.lock import FILE, Lock


def test_a_second_holder_is_refused_until_release(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(UsageError, match="another scan is writing here"):
        Lock(tmp_path)
    lock.release()
    second = Lock(tmp_path)
    assert second.stale is None
    second.release()


def test_a_lock_left_by_the_dead_is_taken_over(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    left = (tmp_path / FILE).read_text()
    lock.release()
    (tmp_path / FILE).write_text(left)
    second = Lock(tmp_path)
    assert second.stale.startswith(f"process {json.loads(left)['pid']} on ")
    second.release()


def test_a_half_written_lock_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"pid": 12')
    Lock(tmp_path).release()


def test_a_holder_on_another_machine_is_taken_at_its_word(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"pid": 1, "host": "elsewhere.example", "since": "2020-01-01"}))
    with pytest.raises(UsageError, match="delete"):
        Lock(tmp_path)
