"""Run folders, checkpoints, metrics and the session a long loop runs in."""

from autometa.runs.budget import format_duration, parse_duration
from autometa.runs.checkpoint import Checkpoint, load_latest, load_named
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import Ledger
from autometa.runs.metrics import MetricsWriter, read_metrics
from autometa.runs.session import Session
from autometa.runs.watch import NonFiniteWatch

__all__ = [
    "Checkpoint",
    "Ledger",
    "MetricsWriter",
    "NonFiniteWatch",
    "RunFolder",
    "Session",
    "format_duration",
    "load_latest",
    "load_named",
    "parse_duration",
    "read_metrics",
]
