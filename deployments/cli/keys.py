"""``stillmotion keys make``: a key and certificates to sign published files with."""

from pathlib import Path

import click


@click.group()
def keys() -> None:
    """Keys that published files are signed with."""


@keys.command()
@click.option("--out", default="stillmotion-keys", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--organisation", default="Stillmotion user", show_default=True, help="Who signs, as others read it.")
def make(out: Path, organisation: str) -> int:
    """Make a key of one's own and its certificates in a folder that only its owner can read."""
    from datasets.lineage.keys import AUTHORITY, make_keys

    made = make_keys(out.absolute(), organisation)
    click.echo(f"wrote {made.folder}; files are signed once this is set:")
    click.echo(f"  STILLMOTION_SIGNING_KEY={made.folder}")
    click.echo(f"Whoever is to trust the signatures needs {made.folder / AUTHORITY}.")
    return 0
