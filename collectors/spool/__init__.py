"""The spool: observations on disk between whoever collects them and the writer that stores them.

Each producing process appends to a source of its own; one reader reads all sources and commits its resume points
together with what it read, which makes delivery exactly once. docs/reference/spool.md states the promises.
"""

from __future__ import annotations

from .reader import SourceBacklog, SpoolReader
from .segment import Chunk, ProblemKind, ResumePoint, SpoolError, SpoolFull, SpoolProblem
from .writer import SpoolWriter, SyncPolicy

__all__ = [
    "Chunk",
    "ProblemKind",
    "ResumePoint",
    "SourceBacklog",
    "SpoolError",
    "SpoolFull",
    "SpoolProblem",
    "SpoolReader",
    "SpoolWriter",
    "SyncPolicy",
]
