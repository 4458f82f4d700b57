"""The relaxation of MetaNAS (Elsken et al. 2020, arXiv 1911.11090, sections 3.2 and 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.nas.relax.relaxation import Relaxation


@dataclass(frozen=True)
class SameBatch(Relaxation):
    """Soft pruning by a falling temperature; one forward and backward on one batch moves weights and architecture."""
