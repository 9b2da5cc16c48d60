"""The one place that says which version this is, and whether its hot path is compiled (docs/decisions/0013)."""

__version__ = "0.1.0"
COMPILED = not __file__.endswith(".py")
