"""No proxy at all: what the load and the fake upstream take by themselves, to be subtracted."""

from bench.targets import Target

TARGETS = (Target(name="direct", label="no proxy", start=None, phases=("small", "events", "image")),)
