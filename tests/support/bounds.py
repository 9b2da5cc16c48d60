"""The wire's bounds as the routes file has them by default."""

from proxy.app import bounds_of
from proxy.config.schema import Server

BOUNDS = bounds_of(Server())
