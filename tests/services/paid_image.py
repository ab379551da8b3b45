"""What the charging service makes: the picture it was sent, placed on a gradient. The same bytes for the same input."""

from hashlib import sha256
from io import BytesIO

import numpy as np
from PIL import Image


def make_image(prompt: str, sent: bytes | None) -> bytes:
    """A PNG as large as the picture that was sent, or 64 × 48; the prompt decides the gradient's colours."""
    picture = Image.open(BytesIO(sent)).convert("RGBA") if sent else None
    width, height = picture.size if picture else (64, 48)
    ends = np.frombuffer(sha256(prompt.encode()).digest()[:6], np.uint8).reshape(2, 1, 3).astype(np.float64)
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    rows = np.round(ends[0] * (1 - share) + ends[1] * share).astype(np.uint8)
    canvas = Image.fromarray(np.repeat(rows, width, axis=1), "RGB")
    if picture:
        canvas.paste(picture, (0, 0), picture)
    stream = BytesIO()
    canvas.save(stream, "PNG")
    return stream.getvalue()
