"""``stillmotion models``: what the registry holds."""

import json

import click


@click.group()
def models() -> None:
    """The models that can be used."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def list_models(as_json: bool) -> int:
    """List all models with what they do, their licence and where their weights come from."""
    from deployments.cli.words import table
    from model_blocks.registry import MODELS

    if as_json:
        document = [
            {
                "name": facts.name,
                "capability": facts.capability,
                "architecture": facts.architecture,
                "embedded": facts.embedded,
                "licence": facts.licence,
                "purposes": list(facts.purposes),
                "file_url": facts.file_url,
                "sha256": facts.sha256,
                "present": facts.embedded,
            }
            for facts in MODELS
        ]
        click.echo(json.dumps(document, indent=1))
        return 0
    rows = [
        (
            facts.capability,
            facts.name,
            "needs none" if facts.embedded else facts.file_url,
            facts.licence,
            facts.architecture,
        )
        for facts in MODELS
    ]
    for line in table(("capability", "model", "weights", "licence", "method"), rows):
        click.echo(line)
    return 0
