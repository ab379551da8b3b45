"""What is wrong with a clip that could be read all the same."""

from dataclasses import dataclass, field
from fractions import Fraction

from tasks.ops.video.scanning import Scan

_ONE_FRAME = 1  # headers count one frame too many or too few in sound files
_ROUNDING_S = Fraction(1, 100)
_INDEXES_NAMED = 20
_OTHER_STREAMS_S = Fraction(1, 2)  # by how much a whole file's duration may pass its last packet: sound is padded
_STATED = ("mov", "matroska", "avi", "flv")  # containers whose header states durations; others are FFmpeg's estimates


@dataclass(frozen=True)
class DamageFact:
    """One finding with a stable code, one plain sentence, and JSON-ready facts.

    Codes: ``damaged_frames``, ``undecodable_packets``, ``damaged_packets``, ``container_broken``, ``file_truncated``,
    ``frames_missing``, ``short_stream``.
    """

    code: str
    message: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class Tally:
    """What decoding came across.

    Attributes:
        frames: Decoded, counted from the clip's start.
        corrupt: Indexes of frames that the decoder had to make up in part.
        suspects: Time stamps of packets that a strict decoder refused.
        undecodable: Packets that gave an error instead of a frame.
        end: Ticks where the last frame ends.
        broken: FFmpeg's word where the container could not be read further.
        finished: Whether the end was reached.
    """

    frames: int = 0
    corrupt: list[int] = field(default_factory=list)
    suspects: set[int] = field(default_factory=set)
    undecodable: int = 0
    start: int | None = None
    end: int = 0
    broken: str = ""
    finished: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing was unusual so far."""
        return not (self.corrupt or self.undecodable or self.broken)

    def note(self, pts: int, duration: int, *, corrupt: bool) -> None:
        """One more frame."""
        if corrupt or pts in self.suspects:
            self.corrupt.append(self.frames)
        self.start = pts if self.start is None else self.start
        self.end = pts + duration
        self.frames += 1


def damage_facts(
    tally: Tally, scan: Scan, *, demuxer: str, time_base: Fraction, bytes_promised: int | None, bytes_there: int
) -> tuple[DamageFact, ...]:
    """Everything that is wrong; counts and durations are compared once decoding has reached the end."""
    facts = [*_decoder_facts(tally), *_container_facts(scan, tally, bytes_promised, bytes_there)]
    if tally.finished:
        facts += [*_missing(tally, scan), *_short(tally, scan, demuxer, time_base)]
    return tuple(facts)


def _decoder_facts(tally: Tally) -> list[DamageFact]:
    facts = []
    if tally.corrupt:
        named = tally.corrupt[:_INDEXES_NAMED]
        message = f"{len(tally.corrupt)} of {tally.frames} frames are damaged and were made up in part by the decoder"
        facts.append(DamageFact("damaged_frames", message, {"count": len(tally.corrupt), "first": named}))
    if tally.undecodable:
        message = f"{tally.undecodable} packets could not be decoded"
        facts.append(DamageFact("undecodable_packets", message, {"count": tally.undecodable}))
    return facts


def _container_facts(scan: Scan, tally: Tally, promised: int | None, there: int) -> list[DamageFact]:
    facts = []
    if scan.corrupt_packets:
        message = f"{scan.corrupt_packets} packets are cut off or damaged in the container"
        facts.append(DamageFact("damaged_packets", message, {"count": scan.corrupt_packets}))
    broken = scan.broken or tally.broken
    if broken:
        message = f"reading stopped before the end of the file: {broken}"
        facts.append(DamageFact("container_broken", message, {"reason": broken}))
    if promised is not None and promised > there:
        message = f"the file has {there} bytes, and its own headers say at least {promised}"
        facts.append(DamageFact("file_truncated", message, {"bytes": there, "promised_bytes": promised}))
    return facts


def _missing(tally: Tally, scan: Scan) -> list[DamageFact]:
    """Frames that the header or the packets promise and the decoder did not give."""
    header = max(0, (scan.promised_frames or 0) - scan.hidden)
    promised = max(header - _ONE_FRAME, scan.packets if tally.undecodable else 0)
    if tally.frames >= promised:
        return []
    promised = max(header, scan.packets)
    message = f"{promised} frames are promised and {tally.frames} could be decoded"
    return [DamageFact("frames_missing", message, {"promised": promised, "decoded": tally.frames})]


def _short(tally: Tally, scan: Scan, demuxer: str, time_base: Fraction) -> list[DamageFact]:
    if demuxer not in _STATED or tally.start is None:
        return []
    frame_s = (tally.end - tally.start) * time_base / max(1, tally.frames)
    seen_s = (tally.end - min(tally.start, 0)) * time_base
    if scan.promised_s is not None:
        promised, seen, allowed = scan.promised_s, seen_s, 2 * frame_s + _ROUNDING_S
    elif scan.promised_clip_s is not None:
        promised, seen = scan.promised_clip_s, max(scan.end_s, seen_s)
        allowed = max(2 * frame_s, _OTHER_STREAMS_S)
    else:
        return []
    if seen + allowed >= promised:
        return []
    message = f"the header promises {float(promised):.2f} s and {float(seen):.2f} s are there"
    return [DamageFact("short_stream", message, {"promised_s": float(promised), "seen_s": float(seen)})]
