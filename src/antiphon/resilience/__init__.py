"""What to do when it fails: decisions without I/O."""

from antiphon.resilience.policy import Decision, Retry

__all__ = ["Decision", "Retry"]
