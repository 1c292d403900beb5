"""What becomes of scored events: alerts, and only where it is asked for, actions."""

from jenga.policy.decide import Decision, Policy
from jenga.policy.enforce import Enforcer

__all__ = ["Decision", "Enforcer", "Policy"]
