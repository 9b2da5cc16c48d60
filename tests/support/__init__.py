"""Stand-ins that tests of the engine and of plugins run over: no sockets, no sleeping."""

from tests.support.clock import ManualClock
from tests.support.make import make_endpoint, make_exchange, make_services
from tests.support.relay import Fails, ScriptedRelay, answer

__all__ = ["Fails", "ManualClock", "ScriptedRelay", "answer", "make_endpoint", "make_exchange", "make_services"]
