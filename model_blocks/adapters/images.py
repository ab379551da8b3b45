"""Whether bytes that a service sent are an image: told by themselves, not by what the service calls them."""

import warnings
from io import BytesIO

from PIL import Image

from model_blocks.adapters.outcomes import Fault

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def image_format(content: bytes) -> str | None:
    """Pillow's name of the format that the first bytes tell; None for anything that is not taken."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return None


def check_image(content: bytes, *, max_megapixels: float) -> tuple[str, Fault | None, str]:
    """The media type of an image, or why it is none: (media type, fault, the fault in words).

    Only the head is read; decoding and its dangers are the next stage's.

    Args:
        content: Encoded.
        max_megapixels: Largest image taken, in millions of pixels.
    """
    kind = image_format(content)
    if kind is None:
        return "application/octet-stream", "not_an_image", f"expected PNG, JPEG or WebP, got {content[:8].hex(' ')}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
            with Image.open(BytesIO(content), formats=[kind]) as image:
                width, height = image.size
                image.verify()
    except Image.DecompressionBombError:
        return FORMATS[kind], "image_too_large", f"larger than {max_megapixels} megapixels"
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # SyntaxError: Pillow's word for a broken PNG
        return FORMATS[kind], "not_an_image", f"a damaged {kind}: {error}"
    if width * height > max_megapixels * 1e6:
        return FORMATS[kind], "image_too_large", f"{width} × {height} is more than {max_megapixels} megapixels"
    return FORMATS[kind], None, ""
