"""Small copies of encoded pictures, for pages that show many."""

from io import BytesIO

from PIL import Image, UnidentifiedImageError

READ = ("PNG", "JPEG", "WEBP")
LARGEST_PIXELS = 40_000_000  # of what is decoded to be shown small


def small_copy(data: bytes, *, side: int) -> bytes | None:
    """A WebP of a PNG, JPEG or WebP file, its longer side at most ``side`` px; transparency stays.

    Returns:
        None for bytes that are none of these, are damaged, or hold more than 40 million pixels.
    """
    try:
        with Image.open(BytesIO(data), formats=READ) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return None
            image.draft("RGB", (side, side))
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (UnidentifiedImageError, OSError, ValueError):
        return None
    small.thumbnail((side, side), Image.Resampling.BOX)
    made = BytesIO()
    small.save(made, "WEBP", quality=82, method=2)
    return made.getvalue()
