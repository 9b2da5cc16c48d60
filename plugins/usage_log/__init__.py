"""The usage log: one JSON line an exchange, whatever its end, in files that outlive a crash.

`plugin` stands around exchange and attempts, `ledger` does its work for each. `record` says what the line holds (by the
`texts` it needs), `charging` what it costs, `logger` renders it through structlog; an ordinary one is written down by
`ending`, of `parts` that were rendered before. `writer` commits lines in groups off the loop, `journal` owns the files.
Until a line is there, `write_ahead` keeps it, or before the end its `opening`, in `slots` of an `ahead_file` that
outlives the process, and `recovery` finds it again by the `places` noted there.
"""

from plugins.usage_log.plugin import UsageLog

__all__ = ["UsageLog"]
