"""How far the answers of a head can be relied on: calibration, sets and intervals, and what resampled rows say."""
