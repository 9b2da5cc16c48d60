"""Envoy, one worker, with the gateway's job as far as it has one: JWT verified (and cached), a local rate limit,
outlier detection, and an access log in JSON.
"""

import json
from typing import Any

from bench.identity import AUDIENCE, ISSUER
from bench.targets import TOOLS, UPSTREAM_KEY, Place, Start, Target

_TYPES = "type.googleapis.com/envoy.extensions."
_MANAGER = "filters.network.http_connection_manager.v3.HttpConnectionManager"
_MANY = 100_000_000


def _typed(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": f"envoy.{name}", "typed_config": {"@type": _TYPES + kind, **settings}}


def _listener(place: Place) -> dict[str, Any]:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "payload_in_metadata": "claims",
        "local_jwks": {"filename": str(place.keys)},
        "jwt_cache_config": {"jwt_cache_size": 100},
    }
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    filters = [
        _typed(
            "filters.http.jwt_authn",
            "filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"bench": provider},
            rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        ),
        _typed(
            "filters.http.local_ratelimit",
            "filters.http.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="limit",
            token_bucket={"max_tokens": _MANY, "tokens_per_fill": _MANY, "fill_interval": "1s"},
            filter_enabled=always,
            filter_enforced=always,
        ),
        _typed("filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True),
    ]
    line = {
        "time": "%START_TIME%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "bytes": "%BYTES_SENT%",
        "ms": "%DURATION%",
        "subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%",
    }
    log = _typed(
        "access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        path=str(place.folder / "access.log"),
        log_format={"json_format": line},
    )
    key = {"header": {"key": "x-goog-api-key", "value": UPSTREAM_KEY}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "up", "timeout": "0s"},
        "request_headers_to_add": [key],
    }
    manager = _typed(
        "filters.network.http_connection_manager",
        _MANAGER,
        stat_prefix="in",
        codec_type="HTTP1",
        generate_request_id=False,
        stream_idle_timeout="120s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        access_log=[log],
        http_filters=filters,
    )
    return {"address": _address(place.port), "filter_chains": [{"filters": [manager]}]}


def _cluster(place: Place) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(place.upstream)}}
    cluster: dict[str, Any] = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {
            "thresholds": [{"max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384}]
        },
        "outlier_detection": {"consecutive_5xx": 50},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if place.certificate:
        trusted = {"trusted_ca": {"filename": str(place.certificate)}}
        tls = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "validation_context": trusted,
        }
        cluster["transport_socket"] = _typed(
            "transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=tls
        )
    return cluster


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _start(place: Place) -> Start:
    file = place.folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [_listener(place)], "clusters": [_cluster(place)]}}))
    command = [str(TOOLS / "peers/bin/envoy"), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"]
    return [*command, "-l", "error"], {}


TARGETS = (
    Target(
        name="envoy",
        label="Envoy: JWT, rate limit, access log",
        start=_start,
        note="one bucket for everybody; reads no usage",
    ),
)
