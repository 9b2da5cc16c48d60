"""Real clients, through the whole program: what each sees, what the upstream sees, what is recorded."""

import pytest

# Their assertions are as long as a test's, and should explain themselves as well when they fail.
pytest.register_assert_rewrite("tests.sdk.client", "tests.sdk.gateway", "tests.sdk.server")
