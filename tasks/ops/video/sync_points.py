"""Packets from which decoding is proven to give the same pictures as decoding from the start.

A container's key flag is not enough: in H.264 it also marks pictures that refresh slowly, and MPEG-2 and MPEG-4 keep
tables of earlier headers. So only these count: pictures of codecs that never look at another picture; IDR pictures of
H.264; intra random access pictures of HEVC (what follows one in time never looks behind it); key frames of VP8, VP9 and
AV1, which replace all references.
"""

from dataclasses import dataclass
from typing import Any

import av
from av.video.stream import VideoStream

_EVERY_PICTURE = {"prores", "mjpeg", "dnxhd", "rawvideo", "v210", "huffyuv", "ffvhuff", "utvideo", "png"}
_KEY_FRAMES = {"vp8", "vp9", "av1"}
_START_CODE = b"\x00\x00\x01"


@dataclass(frozen=True)
class SyncPoints:
    """How to tell for one stream.

    Attributes:
        codec: FFmpeg's name.
        length_bytes: Of the size before each NAL unit; 0 where start codes separate them.
    """

    codec: str
    length_bytes: int = 0

    @classmethod
    def of(cls, stream: VideoStream) -> "SyncPoints":
        context = stream.codec_context
        codec, extra = context.codec.canonical_name, context.extradata or b""
        at = {"h264": 4, "hevc": 21}.get(codec)
        sized = at is not None and len(extra) > at and extra[0] == 1
        return cls(codec, (extra[at] & 3) + 1 if sized and at is not None else 0)

    def is_sync(self, packet: "av.Packet[Any]") -> bool:
        """Whether decoding may begin here for every frame from this time on."""
        if not packet.is_keyframe or packet.is_corrupt:
            return False
        if self.codec in _EVERY_PICTURE or self.codec in _KEY_FRAMES:
            return True
        kind = self._picture_type(memoryview(packet)) if self.codec in ("h264", "hevc") else None
        return kind is not None and (kind == 5 if self.codec == "h264" else 16 <= kind <= 21)

    def is_hidden(self, packet: "av.Packet[Any]") -> bool:
        """A VP8 frame that is only ever a reference (RFC 6386, 9.1: the show_frame bit)."""
        return self.codec == "vp8" and not memoryview(packet)[0] >> 4 & 1

    def _picture_type(self, data: memoryview) -> int | None:
        """The type of the first NAL unit that holds a picture (H.264: 1 to 5, HEVC: below 32)."""
        for first in self._unit_headers(data):
            kind = first & 31 if self.codec == "h264" else first >> 1 & 63
            if 1 <= kind <= 5 if self.codec == "h264" else kind < 32:
                return kind
        return None

    def _unit_headers(self, data: memoryview) -> "list[int]":
        found, at, size = [], 0, self.length_bytes
        if not size:
            raw = bytes(data)
            at = raw.find(_START_CODE)
            while 0 <= at < len(raw) - 3:
                found.append(raw[at + 3])
                at = raw.find(_START_CODE, at + 3)
            return found
        while at + size < len(data):
            found.append(data[at + size])
            at += size + int.from_bytes(data[at : at + size], "big")
        return found
