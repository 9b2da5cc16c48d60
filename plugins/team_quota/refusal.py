"""Our no, in the words of Google's: `QuotaFailure` as SDKs and gemini-cli read it.

`TeamQuota` raises what `refusal` returns. It decides nothing: the store has already said which counter had no
room.
"""

from math import ceil

from plugins.team_quota.plan import Rule
from proxy import Denied, Exchange, Refusal

REFUSED_BY = ("x-weir-refused-by", "team_quota")


def refusal(exchange: Exchange, rule: Rule, denied: Denied) -> Refusal:
    """The refusal of an exchange for which that rule has no room.

    gemini-cli gives the model up for a quotaId with "PerDay" in it, waits a minute for "PerMinute", and
    reads "Please retry in Xs" (Gemini fact 2.4). What can never pass is a 400: clients repeat a 429 up to
    ten times, and none of them a 400.
    """
    exchange.reply_headers.append(REFUSED_BY)
    limit, amount = rule.limit, denied.take.amount
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": f"weir/team_{limit.unit}",
                    "quotaId": f"Team{limit.unit.capitalize()}" + (f"Per{limit.per.capitalize()}" if limit.per else ""),
                    "quotaDimensions": {"team": rule.team},
                    "quotaValue": str(limit.amount),
                }
            ],
        }
    ]
    if amount > limit.amount:
        message = f"Team {rule.team} may use {limit}; this request may need {amount} and can never pass."
        if limit.unit == "tokens":
            message += " Set a smaller maxOutputTokens."
        return exchange.refuse(400, message, reason="TEAM_QUOTA_TOO_SMALL", details=details)
    if limit.unit == "concurrent":
        message = f"Team {rule.team} has {denied.used} requests under way, as many as it may."
    elif denied.used >= limit.amount:
        message = f"Team {rule.team} has used its {limit}."
    else:
        message = f"Team {rule.team} has used {denied.used} of its {limit}, and this request may need {amount}."
    if denied.retry_after is not None:
        message += f" Please retry in {ceil(denied.retry_after * 10) / 10}s."
    return exchange.refuse(429, message, reason="TEAM_QUOTA_EXCEEDED", retry_after=denied.retry_after, details=details)
