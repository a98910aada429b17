"""``cxr-edge schema``: what a record holds, as JSON Schema."""

import typer


def schema() -> None:
    """Print the JSON Schema of a record: of predict --json, of explanation.json and of a scan's results.jsonl."""
    from cxr_edge.results.schema import published

    typer.echo(published(), nl=False)
