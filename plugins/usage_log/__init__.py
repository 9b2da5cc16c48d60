"""The usage log: one JSON line an exchange, whatever its end, in daily files that outlive a crash.

`plugin` wraps the exchange, `record` says what the line holds, `logger` renders it through structlog,
`writer` commits lines in groups off the loop, `journal` owns the files. It prices nothing and reads nothing back.
"""

from plugins.usage_log.plugin import UsageLog

__all__ = ["UsageLog"]
