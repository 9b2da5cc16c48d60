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


class Named(NamedTuple):
    """Everything that has a name."""

    upstreams: Mapping[str, tuple[Endpoint, ...]]
    teams: Mapping[str, Team]
    plugins: Mapping[str, PluginSettings]
    routes: tuple[RouteTable, ...]
    known_upstreams: frozenset[str]  # also those whose own table is wrong


def problems_between(named: Named) -> list[str]:
    return [
        *_endpoint_names(named.upstreams),
        *_parents(named.teams),
        *(problem for route in named.routes for problem in _route(route, named)),
    ]


def warnings_between(named: Named) -> list[str]:
    """What is allowed and hardly meant."""
    return [warning for route in named.routes for warning in _left_open(route, named)]


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
