"""What a restyle stage is asked for, and what decides its output; apart from the work, which imports much more."""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.config import StageConfig
from tasks.context import current_run
from tasks.stage import StageKey

if TYPE_CHECKING:
    from model_blocks.adapters.finding import Declaration
    from model_blocks.adapters.frames_adapter import FramesRequest

VERSION = 1


class RestyleConfig(StageConfig):
    """Another look for every frame, made by an adapter. Size, transparency, times and sound stay as they are."""

    stage: Literal["restyle"] = "restyle"
    prompt: str = Field(default="", max_length=4000, description="What it is to look like, in words.")
    style: str = Field(
        default="", pattern=r"^([A-Za-z0-9][\w.+ -]{0,99})?$", description="Name of a style that the adapter knows."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="For what the adapter draws by chance.")
    adapter: str = Field(
        default="",
        description="mock, the path of a JSON file with an adapter's declaration, or the name of a saved block.",
    )

    def request(self, *, still: bool) -> "FramesRequest":
        from model_blocks.adapters.frames_adapter import FramesRequest

        return FramesRequest(self.prompt, self.style, self.seed, still)


def restyle_adapter(config: RestyleConfig) -> "Declaration":
    """The adapter of a stage, the same one for the whole of a run.

    Raises:
        AdapterMissingError: None is named, or nothing of that name is there.
        AdapterPriceError: It costs money.
        SettingsError: Its declaration does not hold.
    """
    return _found(current_run().run_id, config.adapter)


@lru_cache(maxsize=16)
def _found(run_id: str, name: str) -> "Declaration":  # noqa: ARG001 - a run sees one declaration, the next one anew
    from model_blocks.adapters.finding import find_adapter  # with HTTP and OpenCV
    from model_blocks.adapters.frames_errors import AdapterPriceError

    found = find_adapter(name)
    if found.price_micro_usd:
        raise AdapterPriceError(
            f"the adapter {found.name!r} costs {found.price_micro_usd / 1e6:g} USD a frame, and restyle buys nothing: "
            "it calls only adapters whose price_micro_usd is 0, such as processes and services of your own; a picture "
            "that is paid for is made by the stage place, with its budget and its ledger of purchases",
            adapter=found.name,
            price_micro_usd=found.price_micro_usd,
        )
    return found


def restyle_key(source_fingerprint: str, config: RestyleConfig) -> StageKey:
    """The key; the adapter counts by what its declaration says of pixels, not by where that is written.

    Raises:
        SettingsError: As ``restyle_adapter``.
    """
    parameters = config.parameters() | {"adapter": restyle_adapter(config).identity}
    return StageKey("restyle", VERSION, parameters, (("output", source_fingerprint),))
