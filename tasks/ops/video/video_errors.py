"""Why a clip was refused at the door. Every error carries the facts ``expected``, ``came`` and ``remedy``.

ClipError                       clip
├── NotAClipError               not_a_clip
├── PlaylistError               playlist
├── StillPictureError           still_picture
├── ClipContainerError          unsupported_container
├── ClipBrokenError             clip_broken
├── ClipTruncatedError          clip_truncated
├── NoVideoStreamError          no_video_stream
├── NoFramesError               no_frames
├── ClipTooLargeError           clip_too_large
├── ClipCodecError              unsupported_codec
├── ClipPixelFormatError        unsupported_pixel_format
└── ClipChangesError            clip_changes
"""

from datasets.errors import PermanentError


class ClipError(PermanentError):
    """A file that cannot become a clip."""

    code = "clip"


class NotAClipError(ClipError):
    """Not a video at all: a text, a web page, an archive, nothing."""

    code = "not_a_clip"


class PlaylistError(ClipError):
    """A list of other files or addresses; none of them is opened."""

    code = "playlist"


class StillPictureError(ClipError):
    """A picture that does not move."""

    code = "still_picture"


class ClipContainerError(ClipError):
    """A container that is not on the list of those that are read."""

    code = "unsupported_container"


class ClipBrokenError(ClipError):
    """The container or every frame in it contradicts itself."""

    code = "clip_broken"


class ClipTruncatedError(ClipError):
    """The file ends before what is needed to read it at all."""

    code = "clip_truncated"


class NoVideoStreamError(ClipError):
    """Sound, subtitles or a cover only."""

    code = "no_video_stream"


class NoFramesError(ClipError):
    """A video stream without a single frame."""

    code = "no_frames"


class ClipTooLargeError(ClipError):
    """More pixels in a frame than are allowed."""

    code = "clip_too_large"


class ClipCodecError(ClipError):
    """No decoder for the codec."""

    code = "unsupported_codec"


class ClipPixelFormatError(ClipError):
    """The decoder's pixels have no lossless place among the planar formats."""

    code = "unsupported_pixel_format"


class ClipChangesError(ClipError):
    """The size or the pixel format changes in the middle."""

    code = "clip_changes"


def refusal(kind: type[ClipError], name: str, *, expected: str, came: str, remedy: str, **facts: object) -> ClipError:
    """An error whose sentence and facts say what was expected, what came and what to do."""
    message = f"{name or 'the clip'}: expected {expected}, got {came}; {remedy}"
    return kind(message, expected=expected, came=came, remedy=remedy, **facts)


class ClipDamagedError(ClipError):
    """It can be read, and not all of what it promises is there or right."""

    code = "clip_damaged"
