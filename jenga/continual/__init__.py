"""Training in stages: what is kept of earlier ones, how it is judged, and what it is compared with."""

from jenga.continual.methods import check_stages, continual_callbacks

__all__ = ["check_stages", "continual_callbacks"]
