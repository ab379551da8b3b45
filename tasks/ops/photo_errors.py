"""Why a photograph was refused at the door.

IntakeError                     intake
├── EmptyFileError              empty_file
├── NotAnImageError             not_an_image
├── UnsupportedFormatError      unsupported_format
├── TruncatedError              truncated
├── DamagedError                damaged
├── TooManyPixelsError          too_many_pixels
├── TooManyBytesError           too_many_bytes
├── TooSmallError               too_small
└── IntakeTimeoutError          intake_timeout
"""

from datasets.errors import PermanentError


class IntakeError(PermanentError):
    """A file that cannot become a photograph."""

    code = "intake"


class EmptyFileError(IntakeError):
    """Zero bytes."""

    code = "empty_file"


class NotAnImageError(IntakeError):
    """Not a picture at all: a web page, a text, an archive, anything unknown."""

    code = "not_an_image"


class UnsupportedFormatError(IntakeError):
    """A known format that intake does not take."""

    code = "unsupported_format"


class TruncatedError(IntakeError):
    """The file ends before the picture does."""

    code = "truncated"


class DamagedError(IntakeError):
    """The file contradicts itself."""

    code = "damaged"


class TooManyPixelsError(IntakeError):
    """The header announces more pixels than are allowed."""

    code = "too_many_pixels"


class TooManyBytesError(IntakeError):
    """The file is larger than is allowed."""

    code = "too_many_bytes"


class TooSmallError(IntakeError):
    """A side is shorter than the configured minimum."""

    code = "too_small"


class IntakeTimeoutError(IntakeError):
    """Decoding took longer than is allowed."""

    code = "intake_timeout"
