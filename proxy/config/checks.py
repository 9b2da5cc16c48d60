"""What must hold between the tables of a routes file: names that point to each other, the order of plugins.

Called by `load.py` with tables that are each well-formed by themselves. Pure; returns texts for the file's author.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.config.schema import PluginSettings, RouteTable
from proxy.endpoint import Endpoint
from proxy.team import Team

# What a team's table asks for, and the fact that a plugin provides when it sees to it.
ENFORCED = {"limits": "limits", "regions": "residency", "models": "models"}
PACE = "pace"  # provided by what spaces out the attempts at an endpoint


class Named(NamedTuple):
    """Everything that has a name."""

    upstreams: Mapping[str, tuple[Endpoint, ...]]
    teams: Mapping[str, Team]
    plugins: Mapping[str, PluginSettings]
    routes: tuple[RouteTable, ...]
    known_upstreams: frozenset[str]  # also those whose own table is wrong
    workers: int = 1
    sealed: bool = False  # there is one seal for all of them


def problems_between(named: Named) -> list[str]:
    return [
        *_endpoint_names(named.upstreams),
        *_parents(named.teams),
        *_counted_apart(named),
        *_sealed_apart(named),
        *(problem for route in named.routes for problem in _route(route, named)),
    ]


def warnings_between(named: Named) -> list[str]:
    """What is allowed and hardly meant."""
    return [*_paced_apart(named), *(warning for route in named.routes for warning in _left_open(route, named))]


def _endpoint_names(upstreams: Mapping[str, tuple[Endpoint, ...]]) -> Iterator[str]:
    """One name an endpoint in the whole file: records, circuits and paces go by it."""
    names = Counter(endpoint.name for endpoints in upstreams.values() for endpoint in endpoints)
    for name in (name for name, count in names.items() if count > 1):
        yield f'upstreams: two endpoints are named "{name}"'


def _parents(teams: Mapping[str, Team]) -> Iterator[str]:
    for team in teams.values():
        seen = {team.name}
        above = team.parent
        while above is not None:
            if above not in teams:
                yield f'teams.{team.name}.parent: there is no team "{above}"'
                break
            if above in seen:
                yield f"teams.{team.name}.parent: the parents of this team form a circle"
                break
            seen.add(above)
            above = teams[above].parent


def _counted_apart(named: Named) -> Iterator[str]:
    """The store is each process's own. A limit that holds N times over is worse than none."""
    limited = [team.name for team in named.teams.values() if team.limits]
    if named.workers > 1 and limited:
        yield (
            f"server.workers: each of {named.workers} workers would count the limits of {', '.join(limited)} for "
            "itself; use workers = 1 until shared counters are built, or take the limits out"
        )


def _sealed_apart(named: Named) -> Iterator[str]:
    if named.workers > 1 and not named.sealed:
        yield (
            "server.seal: an upload begun at one worker goes on at another, which must know its seal; "
            'add seal = "env:WEIR_SEAL" and export WEIR_SEAL=$(openssl rand -hex 32)'
        )


def _paced_apart(named: Named) -> Iterator[str]:
    for name in (name for name, settings in named.plugins.items() if PACE in settings.plugin.provides):
        if named.workers > 1:
            yield f"plugins.{name}: each of {named.workers} workers keeps a pace of its own; endpoints see their sum"


def _route(route: RouteTable, named: Named) -> Iterator[str]:
    key = f"routes.{route.name}"
    if [other.name for other in named.routes].count(route.name) > 1:
        yield f'{key}: two routes are named "{route.name}"'
    if route.upstream not in named.known_upstreams:
        known = ", ".join(named.upstreams) or "none"
        yield f'{key}.upstream: there is no upstream "{route.upstream}"; there are: {known}'
    provided: frozenset[str] = frozenset()
    for name in route.plugins:
        if route.plugins.count(name) > 1:
            yield f'{key}.plugins: "{name}" stands there twice'
            return
        if name in named.plugins:
            plugin = named.plugins[name].plugin
            for need in plugin.needs - provided:
                cure = '; put "auth" before it' if need == "principal" else ""
                yield f'{key}.plugins: "{name}" needs {need}, which no plugin before it provides{cure}'
            provided |= plugin.provides


def _left_open(route: RouteTable, named: Named) -> Iterator[str]:
    key = f"routes.{route.name}"
    provided = frozenset[str]().union(*(named.plugins[name].plugin.provides for name in route.plugins))
    if "principal" not in provided:
        yield f"{key}: no plugin asks who calls; everybody who reaches the port may use your keys"
        return
    for field, fact in ENFORCED.items():
        teams = [team.name for team in named.teams.values() if getattr(team, field)]
        if teams and fact not in provided:
            yield f"{key}: no plugin keeps the {field} of {', '.join(teams)}"
