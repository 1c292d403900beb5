"""Training in stages: what is kept of earlier ones, how it is judged, and what it is compared with."""
