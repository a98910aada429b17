"""The record of one input: one line of JSON."""

import json

SCHEMA = 1
RESEARCH_USE = "Research use only: this is no medical device, and no diagnosis."


def to_line(record: dict[str, object]) -> str:
    """Write a record as one line of ASCII; bytes of a path that are no UTF-8 become lone surrogate escapes."""
    return json.dumps(record, allow_nan=False)
