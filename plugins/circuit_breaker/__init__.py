"""Stops asking an endpoint that keeps failing, and asks it again with one probe at a time.

`plugin` is its door, `circuits` decides what opens and closes, `circuit` is one of them. It reads no body, opens no
circuit for what callers are known to bring about by themselves, and none for longer than `max_open`: a 429 that names
39 seconds must not freeze an account for a day.
"""

from plugins.circuit_breaker.plugin import CircuitBreaker

__all__ = ["CircuitBreaker"]
