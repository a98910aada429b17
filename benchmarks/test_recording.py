"""What a scan writes for each radiograph, and what it reads when it goes on.

pytest benchmarks/test_recording.py --benchmark-only
"""

from itertools import count

import pytest

from cxr_edge.results.journal import JOURNAL, Journal
from cxr_edge.results.record import to_line, to_record
from cxr_edge.results.schema import check

pytestmark = pytest.mark.benchmark(group="record")
RECORDS = 10_000


@pytest.fixture(scope="module")
def record(model, jpeg):
    return to_record(model.predict(jpeg), sha256="0" * 64).to_json()


def numbered(record, number):
    return {**record, "path": f"/radiographs/{number:08}.jpeg", "sha256": f"{number:064x}"}


def test_record_of_an_answer(benchmark, model, jpeg) -> None:
    answer = model.predict(jpeg)
    benchmark(lambda: to_line(answer.to_json()))


def test_append_to_the_journal(benchmark, record, tmp_path) -> None:
    journal, numbers = Journal(tmp_path), count()
    benchmark(lambda: journal.append(check(numbered(record, next(numbers)))))
    journal.close()


def test_go_on_after_ten_thousand(benchmark, record, tmp_path) -> None:
    lines = (to_line(numbered(record, number)) for number in range(RECORDS))
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n", encoding="ascii")
    benchmark.pedantic(lambda: Journal(tmp_path).close(), rounds=5)
