"""Opening a source whose sound and subtitles are carried over."""

from pathlib import Path

import av
from av.container import InputContainer

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,wav,nut,gif,apng,webp,mxf"


def open_source(path: Path) -> InputContainer:
    """A local media file, opened so that it cannot name others.

    FFmpeg options: ``format_whitelist`` holds no playlist format (one in an uploaded file would open its neighbours),
    ``protocol_whitelist=file`` keeps it off the network.

    Raises:
        av.error.FFmpegError: It cannot be read.
    """
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    return av.open(str(path), "r", container_options=options, metadata_errors="replace")
