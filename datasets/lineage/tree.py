"""A record as a tree that a person reads: from the file back to the original bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

from datasets.identity import canonical_json
from datasets.lineage.record import Link, bought_in, chain_of, subject_of
from datasets.money import dollars

SHORT = 12  # digits of a digest


def tree_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the tree: the file, what made it, and below every stage what it was made of."""
    name, sha256 = subject_of(record)
    predicate = record["predicate"]
    details, published = predicate["runDetails"], predicate["stillmotion_published"]
    yield f"{name}  {published['role']}  sha256 {sha256}"
    if published.get("unsigned_sha256"):
        yield f"  signed; made of the unsigned file sha256 {published['unsigned_sha256']}"
    version, invocation = details["builder"]["version"]["stillmotion"], details["metadata"]["invocationId"]
    yield f"  by stillmotion {version}, run {invocation}, {details['metadata']['finishedOn']}"
    yield from map(_gate, predicate["stillmotion_guardrails"])
    links = {link.fingerprint: link for link in chain_of(record)}
    materials = {each["digest"]["sha256"]: each for each in predicate["buildDefinition"]["resolvedDependencies"]}
    yield from _stage(published["fingerprint"], links, materials | _answers(record), "  ")
    for skipped in published["skipped"]:
        yield f"  {skipped['stage']} was skipped: {skipped['reason']}"


def _stage(digest: str, links: Mapping[str, Link], materials: Mapping[str, Any], indent: str) -> Iterator[str]:
    link = links[digest]
    yield f"{indent}└─ {link.stage} v{link.version}  {digest[:SHORT]}  {canonical_json(link.parameters)}"
    below = f"{indent}   "
    for model in link.models:
        yield f"{below}model {_model(model, materials)}"
    if link.libraries:
        yield f"{below}with {', '.join(f'{name} {version}' for name, version in sorted(link.libraries.items()))}"
    if digest in materials:
        yield f"{below}└─ {materials[digest]}"
    for kind, source in link.inputs:
        if kind == "output":
            yield from _stage(source, links, materials, below)
        else:
            name = materials.get(source, {}).get("name") or kind
            yield f"{below}└─ {kind} {name}  sha256 {source}"


def _model(model: Mapping[str, Any], materials: Mapping[str, Any]) -> str:
    weights = str(model["weights"])
    if not weights:
        return f"{model['name']} v{model['version']} (no weights)"
    licence = materials.get(weights, {}).get("annotations", {}).get("licence", "unknown")
    return f"{model['name']} v{model['version']}  weights sha256 {weights}  licence {licence}"


def _gate(result: Mapping[str, Any]) -> str:
    """What a gate said, and what of it was not as it should be."""
    failed = [each["expectation"] for each in result["expectations"] if not each["success"]]
    words = result["decision"] + (f" ({', '.join(failed)})" if failed else "")
    return f"  {result['gate']} gate: {words}{', released' if result['released'] else ''}"


def _answers(record: Mapping[str, Any]) -> dict[str, str]:
    """In words, what services answered, by the fingerprints of the stages that asked."""
    charges = {each["purchase"]: each for each in record["predicate"]["stillmotion_charges"]}
    told = {}
    for answer in bought_in(record):
        facts = answer["annotations"]
        charge = charges.get(facts["purchase"], {})
        words = f"answer of {facts['service']} {facts['version']}  sha256 {answer['digest']['sha256']}"
        if charge.get("reference"):
            words += f"  reference {charge['reference']}"
        if charge.get("micro_usd") is not None:
            words += f"  paid {dollars(charge['micro_usd'])} USD on {charge['day']}"
        told[facts["fingerprint"]] = words
    return told
