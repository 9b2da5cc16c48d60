"""Limits of a team and its parents: reserve before the call, settle with what it really used.

`plugin` wraps the exchange, `plan` says which counters a team has, `reservation` how much to take of each,
`settlement` what remains of that, `refusal` how our no reads. Counters themselves are the store's.
"""

from plugins.team_quota.plugin import TeamQuota

__all__ = ["TeamQuota"]
