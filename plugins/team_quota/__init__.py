"""Limits of a team and its parents: reserve before the call, settle with what it really used.

`plugin` is its door, `quotas` what stands around an exchange; `plan` says which counters a team has, `reservation` how
much to take of each, `settlement` what remains of that, `refusal` how our no reads. Counters are the store's.
"""

from plugins.team_quota.plugin import TeamQuota

__all__ = ["TeamQuota"]
