"""How a service is asked what became of a key."""

from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from model_blocks.adapters.outcomes import Reply
from model_blocks.adapters.reply_form import Pointer, ReplyForm, parse, plain, pointed

State = Literal["charged", "none", "pending", "unclear"]


def _template(value: str) -> str:
    if not value.startswith("/") or value.count("{key}") != 1 or "://" in value:
        raise ValueError("a look-up path begins with '/' and holds {key} once")
    return value


class LookUpForm(BaseModel):
    """Where a service tells what became of a key, and in which words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_template)] = Field(description="Path with {key} in it, read with GET.")
    state: Pointer | None = Field(default=None, description="Pointer to the state; empty: a readable reply is charged.")
    charged_states: frozenset[str] = Field(default=frozenset(), description="States of work that is charged.")
    none_states: frozenset[str] = Field(default=frozenset(), description="States of keys with no charge.")
    pending_states: frozenset[str] = Field(default=frozenset(), description="States of work that goes on.")
    none_status: int | None = Field(
        default=None,
        ge=400,
        le=499,
        description="HTTP status that means no such key. Empty: a status alone proves nothing, it may be a wrong path.",
    )
    result: ReplyForm = Field(default_factory=ReplyForm, description="Where the image and the price are.")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.state is None) != (not self.charged_states):
            raise ValueError("give state and charged_states together, or neither")
        if self.none_status is None and not self.none_states:
            raise ValueError("say how the service tells that it knows no such key: none_states or none_status")
        return self

    def path_of(self, key: str) -> str:
        return self.path.replace("{key}", quote(key, safe=""))

    def state_of(self, reply: Reply) -> tuple[State, str]:
        """What the reply says, and its words."""
        if reply.status == self.none_status:
            return "none", f"status {reply.status}"
        document = parse(reply.body)
        if not 200 <= reply.status < 300 or not reply.whole or document is None:
            return "unclear", f"the look-up answered with status {reply.status}, which says nothing"
        if self.state is None:
            return "charged", "a reply to the key"
        said = plain(pointed(document, self.state))
        for state, names in self._words():
            if said in names:
                return state, f"state {said!r}"
        return "unclear", f"the look-up said {said!r}, which the declaration does not name"

    def _words(self) -> tuple[tuple[State, frozenset[str]], ...]:
        return ("charged", self.charged_states), ("none", self.none_states), ("pending", self.pending_states)
