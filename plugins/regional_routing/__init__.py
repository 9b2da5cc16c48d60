"""Which endpoints may serve an exchange, and in which order they are tried.

`plugin` is its door, `routing` what it does to an exchange. It asks no endpoint anything and knows nothing of health.
"""

from plugins.regional_routing.plugin import RegionalRouting

__all__ = ["RegionalRouting"]
