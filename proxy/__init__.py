"""gemini-weir: the names a plugin author needs, and nothing else.

Everything a plugin sees is exported here; whatever is not is free to change. `docs/plugins.md` and the
README show a whole plugin.
"""

from proxy.endpoint import Endpoint
from proxy.exchange import Attempt, Exchange, Exclusion
from proxy.head import Headers, RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.plugin import AttemptNext, Clock, ExchangeNext, Fetch, Fetched, NoConfig, Plugin, Services
from proxy.price import Charge, Prices, Terms, fixed, put_charge
from proxy.principal import Continuation, Principal
from proxy.record import SCHEMA_VERSION, ChargeLine, Pricing, UsageRecord
from proxy.refusal import CallerGone, EndpointFailed, Refusal
from proxy.scrub import hide_credentials
from proxy.store import Denied, Grant, Store, Take
from proxy.team import Limit, Team, Unit, Window
from proxy.teams import Derived, Teams
from proxy.units import Bytes, Seconds, Secret
from proxy.usage import AttemptRecord, Outcome, Usage, UsageState

__all__ = [
    "SCHEMA_VERSION",
    "Attempt",
    "AttemptNext",
    "AttemptRecord",
    "Bytes",
    "CallerGone",
    "Charge",
    "ChargeLine",
    "Clock",
    "Continuation",
    "Denied",
    "Derived",
    "Endpoint",
    "EndpointFailed",
    "Exchange",
    "ExchangeNext",
    "Exclusion",
    "Fetch",
    "Fetched",
    "Grant",
    "Headers",
    "Intent",
    "Limit",
    "NoConfig",
    "Operation",
    "Outcome",
    "Plugin",
    "Prices",
    "Pricing",
    "Principal",
    "Refusal",
    "RequestHead",
    "ResponseHead",
    "Seconds",
    "Secret",
    "Services",
    "Store",
    "Take",
    "Team",
    "Teams",
    "Terms",
    "Unit",
    "Usage",
    "UsageRecord",
    "UsageState",
    "Window",
    "fixed",
    "hide_credentials",
    "put_charge",
]
