"""How good models are, 0..1, and how long they take on an item: data, each figure with where it comes from.

A figure orders the models of one capability; across capabilities it says nothing. Where ``measured`` is False no
weights were at hand, and the figure is assumed from what the authors' papers report in comparisons; decisions say so.
"""

from dataclasses import dataclass

from model_blocks.facts import ModelFacts


@dataclass(frozen=True)
class Standing:
    """What is known of a model before this installation has used it.

    Attributes:
        quality: 0..1 among the models of its capability.
        source: What the figure rests on.
        measured: Whether that is a measurement with the model's own weights.
        seconds: For a photograph of four megapixels of the result, or a second of a clip of that size, on two cores.
        seconds_on_cuda: The same with a GPU; assumed, as none was at hand.
    """

    quality: float
    source: str
    measured: bool
    seconds: float
    seconds_on_cuda: float

    def seconds_on(self, device: str) -> float:
        return self.seconds_on_cuda if device == "cuda" else self.seconds


def standing(facts: ModelFacts) -> Standing:
    """The standing of a registered model; without an entry of its own, what is assumed of its kind."""
    return STANDINGS.get(facts.name) or (EMBEDDED if facts.embedded else OFFICIAL)


# Measured on the thirteen photographs of the fixtures, 480 pixels on the longer side, shrunk to a quarter by area and
# enlarged four times; one thread of a busy machine for the seconds. The figure is half the share of the truth's power
# above a quarter of the sampling frequency's half that came back from the clean small picture (the median), half SSIM
# where the small picture was blurred (sigma 0.8), given noise (sigma 5 of 255) and saved as JPEG 60.
_BY_ENLARGING = "four times as large: power restored {detail}, SSIM {degraded} degraded and {clean} clean"

EMBEDDED = Standing(0.36, "as the embedded upscaler has it; no other was compared", False, 0.5, 0.5)
OFFICIAL = Standing(0.75, "the authors' papers, which compare with earlier methods", False, 5.0, 0.5)

STANDINGS: dict[str, Standing] = {
    "embedded-upscaler": Standing(
        0.36, _BY_ENLARGING.format(detail=0.080, degraded=0.638, clean=0.853), True, 0.37, 0.37
    ),
    "realesr-general-x4v3": Standing(
        0.74, _BY_ENLARGING.format(detail=0.772, degraded=0.706, clean=0.809), True, 7.5, 0.3
    ),
    "realesr-animevideo-v3": Standing(
        0.47, _BY_ENLARGING.format(detail=0.260, degraded=0.689, clean=0.820), True, 3.9, 0.2
    ),
    "realesrgan-x4plus": Standing(
        0.82, "assumed: the authors' network for photographs, general-x4v3 being their small one", False, 76.0, 1.0
    ),
    "realesrgan-x4plus-anime-6b": Standing(0.47, "assumed: made for drawings, as animevideo-v3", False, 25.0, 0.5),
}
