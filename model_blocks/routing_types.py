"""What routing speaks of, as frozen values that go through JSON and back: requests, candidates, rules, decisions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_blocks.facts import Capability, Device, Purpose

Level = Literal["economy", "balanced", "premium"]
Why = Literal["licence", "weights", "out_of_service", "device", "cost", "latency", "failed"]
By = Literal["rule", "given", "preferred", "score", "named", "policy"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Value(BaseModel):
    """A frozen value whose fields are all known; a misspelt one is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RouteRequest(Value):
    """What a model is wanted for, and under which limits. A limit that is met exactly holds."""

    capability: Capability
    purpose: Purpose = "commercial"
    device: Device = "cpu"
    quality: Level = "balanced"
    recipe: str = Field(default="", description="Title of the recipe; rules may ask for it.")
    long_side: int | None = Field(default=None, ge=1, description="Pixels of the item's longer side; None: not known.")
    megapixels: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Size of the item; None: not known."
    )
    max_cost_micro_usd: int | None = Field(default=None, ge=0, description="Most that an item may cost.")
    max_latency_s: Seconds | None = Field(default=None, description="Longest that an item may take.")
    prefer: str | None = Field(default=None, description="Provider whose models come before all others.")


class History(Value):
    """What the ledger knows of a model in the last days: stages it computed and failures that were its own."""

    successes: int = Field(ge=0)
    failures: int = Field(default=0, ge=0)
    median_s: Seconds = 0.0
    p95_s: Seconds = 0.0


class Candidate(Value):
    """A model that may be chosen, with everything that a decision about it rests on.

    ``provider`` is ``embedded``, ``official``, or the name of a paid service. ``quality`` is a figure of
    ``model_blocks.quality``; ``measured`` says whether it rests on measurements here. ``auto_on`` names the devices on
    which it may be chosen without a rule. ``given`` says that the user named a file of weights for it.
    """

    name: str
    capability: Capability
    provider: str
    licence: str
    purposes: tuple[Purpose, ...]
    quality: Share
    measured: bool = True
    prior_s: float = Field(gt=0, allow_inf_nan=False, description="Seconds for an item before anything is known.")
    history: History | None = None
    price_micro_usd: int = Field(default=0, ge=0)
    price_per: Literal["item", "megapixel"] = "item"
    available: bool = True
    remedy: str = Field(default="", description="What to do where its weights are missing.")
    given: bool = False
    out_of_service: bool = Field(default=False, description="Its circuit is open, or somebody took it out.")
    auto_on: tuple[Device, ...] = ("cpu", "cuda")


class Conditions(Value):
    """When a rule holds: all that is said must. A size is not known before the item was looked at: until then, no."""

    capability: Capability | None = None
    recipe: str | None = None
    purpose: Purpose | None = None
    device: Device | None = None
    quality: Level | None = None
    long_side_above: int | None = Field(default=None, ge=0)
    long_side_below: int | None = Field(default=None, ge=1)

    def hold(self, request: RouteRequest) -> bool:
        """Whether a request meets them all."""
        wanted = self.model_dump(exclude_none=True, exclude={"long_side_above", "long_side_below"})
        if any(getattr(request, name) != value for name, value in wanted.items()):
            return False
        if not self.ask_for_size:
            return True
        side = request.long_side
        low, high = self.long_side_above, self.long_side_below
        return side is not None and (low is None or side > low) and (high is None or side < high)

    @property
    def ask_for_size(self) -> bool:
        return self.long_side_above is not None or self.long_side_below is not None


class Rule(Value):
    """A tenant's wish: where the conditions hold, this model, and if it cannot be used the first fallback that can."""

    priority: int = 0
    when: Conditions = Conditions()
    use: str
    fallbacks: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        return (self.use, *self.fallbacks)


class Score(Value):
    """A candidate's figures, each 0..1 and larger is better, and the seconds and money they were made of."""

    name: str
    total: float
    cost: Share
    latency: Share
    quality: Share
    reliability: Share
    expected_s: Seconds
    cost_micro_usd: int


class LeftOut(Value):
    """A candidate that could not be chosen: a stable word for why, and a sentence."""

    name: str
    why: Why
    words: str


class Decision(Value):
    """A choice with all it was made from: ``model_blocks.routing.replay`` makes it again from this alone.

    ``fallbacks`` are the models that take over, one after the other, where the chosen one fails by its own fault.
    """

    request: RouteRequest
    candidates: tuple[Candidate, ...]
    rules: tuple[Rule, ...] = ()
    chosen: str
    by: By
    reason: str
    scores: tuple[Score, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    fallbacks: tuple[str, ...] = ()
