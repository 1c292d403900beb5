"""What a run shows to people: baselines, plots, report.html and the model card."""
