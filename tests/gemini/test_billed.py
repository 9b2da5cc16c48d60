"""Every operation that a path can mean is either billed, or begins what is, or costs nothing: none is forgotten."""

from proxy.gemini import paths
from proxy.gemini.billed import BEGINS, FREE, RUNS
from proxy.gemini.paths import parse_operation


def test_what_generates_is_billed_and_what_does_not_is_free() -> None:
    operations = [
        *(parse_operation("POST", f"/v1beta/models/m:{verb}") for verb in paths._MODEL_VERBS),
        *(parse_operation("POST", f"/v1beta/openai/{call}") for call in paths._OPENAI_CALLS),
        parse_operation("POST", "/v1/projects/p/locations/l/publishers/google/models/m/invoke/x"),
        parse_operation("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
        parse_operation("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateMusic"),
    ]
    generating = {operation.name for operation in operations if operation.generates}
    generating |= paths._RUNS_UNNAMED | {name for name, runs in paths._MODEL_IN_BODY.items() if runs}
    free = {operation.name for operation in operations if not operation.generates}

    assert generating - {"unknown"} == RUNS | BEGINS
    assert free == FREE
    assert not RUNS & BEGINS


def test_what_is_free_by_its_dot_does_not_generate() -> None:
    """Names of resources, `files.get`, are free without standing in a table."""
    for method in ("GET", "POST", "PATCH", "DELETE"):
        for collection in paths._COLLECTIONS:
            for path in (collection, f"{collection}/x", f"{collection}/x:cancel"):
                operation = parse_operation(method, f"/v1beta/{path}")
                if operation.name != "unknown" and operation.generates:
                    assert operation.name in RUNS | BEGINS
