"""Notices: things a user should know about an item that was delivered all the same."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Notice:
    """A warning with a stable code, one plain sentence, and JSON-ready facts."""

    code: str
    message: str
    facts: dict[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "facts": self.facts}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "Notice":
        facts = value.get("facts")
        return cls(str(value["code"]), str(value["message"]), dict(facts) if isinstance(facts, dict) else {})
