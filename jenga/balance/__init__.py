"""How the losses of several tasks are weighed against each other."""

from jenga.balance.base import LOSS_BALANCES, LossBalance, Part
from jenga.balance.choices import BALANCES, make_balance, reads_losses_after

__all__ = ["BALANCES", "LOSS_BALANCES", "LossBalance", "Part", "make_balance", "reads_losses_after"]
