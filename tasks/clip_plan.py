"""The plan of a whole clip: what memory and disk every stage will need, added up before any work."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.chunks import Limits
from tasks.clip_local import ClipState
from tasks.passes import ChunkPass
from tasks.plan import plan_chunks, refuse_disk, refuse_memory
from tasks.view import ViewedPass, ViewFacts
