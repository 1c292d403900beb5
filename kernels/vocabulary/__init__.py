"""What the losses over a vocabulary share: logits in chunks of rows, their checks, and gradients that wait."""
