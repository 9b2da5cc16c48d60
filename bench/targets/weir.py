"""The gateway of this tree: with all it does, with nothing on, with each plugin alone, not compiled, on the plain road,
and with two workers. The callers hold a JWT, whose key it fetches; the log is written and priced as a user's is.
"""

import json
import sys

from bench.identity import AUDIENCE, ISSUER
from bench.targets import BUSY, ROOT, UPSTREAM_KEY, WHOLE, Place, Start, Target

ALL = ("usage", "auth", "team_quota", "regional_routing", "circuit_breaker")
_LIMITS = (
    '[{ requests = 1_000_000_000, per = "minute" }, { tokens = 1_000_000_000_000, per = "minute" }, '
    "{ concurrent = 100_000 }]"
)
_ROUTES = """
[server]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
state = "var"
prices = "{prices}"
seal = "env:BENCH_SEAL"
workers = {workers}
{road}

[[upstreams.fake.endpoints]]
name = "fake"
url = "{scheme}://127.0.0.1:{upstream}"
credential = {{ api_key = "env:BENCH_UPSTREAM_KEY" }}

[teams.bench]
{limits}

[plugins.auth]
[[plugins.auth.issuers]]
issuer = {issuer}
audience = [{audience}]
jwks_url = "{jwks}"
team = "bench"

[plugins.usage]
use = "usage_log"

[[routes]]
name = "all"
match = "/**"
upstream = "fake"
plugins = {plugins}
"""


def _weir(
    name: str,
    label: str,
    plugins: tuple[str, ...] = ALL,
    *,
    phases: tuple[str, ...] = BUSY,
    road: str = "",
    workers: int = 1,
    limits: bool = True,
    compiled: bool = True,
) -> Target:
    def start(place: Place) -> Start:
        file = place.folder / "routes.toml"
        file.write_text(
            _ROUTES.format(
                port=place.port,
                admin=place.admin,
                prices=ROOT / "config" / "prices.toml",
                workers=workers,
                road=f'road = "{road}"' if road else "",
                scheme=place.scheme,
                upstream=place.upstream,
                limits=f"limits = {_LIMITS}" if limits else "",
                issuer=json.dumps(ISSUER),
                audience=json.dumps(AUDIENCE),
                jwks=place.jwks,
                plugins=json.dumps(plugins),
            )
        )
        environment = {
            "BENCH_UPSTREAM_KEY": UPSTREAM_KEY,
            "BENCH_SEAL": "one-seal-for-all-workers-of-a-run",
            "PYTHONPATH": str(place.weir if compiled else ROOT),
        }
        if place.certificate:
            environment["SSL_CERT_FILE"] = str(place.certificate)
        return [sys.executable, "-m", "proxy", "serve", "-c", str(file), "--log-level", "warning"], environment

    return Target(name=name, label=label, start=start, phases=phases, workers=workers)


TARGETS = (
    _weir("weir", "weir, all five plugins", phases=WHOLE),
    _weir("weir-bare", "weir, no plugin", ()),
    _weir("weir-usage", "weir, usage log alone", ("usage",)),
    _weir("weir-auth", "weir, auth alone", ("auth",)),
    _weir("weir-quota", "weir, auth and team quota", ("auth", "team_quota")),
    _weir("weir-routing", "weir, auth and regional routing", ("auth", "regional_routing")),
    _weir("weir-breaker", "weir, circuit breaker alone", ("circuit_breaker",)),
    _weir("weir-pure", "weir, all five, not compiled", compiled=False),
    _weir("weir-plain", "weir, all five, plain road", road="plain"),
    # Workers share no counters yet, so that a team with limits is refused: one worker is measured without them too.
    _weir("weir-one", "weir, all five, no limits", limits=False, phases=(*BUSY, "workers")),
    _weir("weir-two", "weir, all five, no limits, two workers", limits=False, workers=2, phases=("workers",)),
)
