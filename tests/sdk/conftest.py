"""The simulator and, in front of it, the gateway: real processes, once for each worker of the test run."""

from collections.abc import Callable, Iterator

import pytest

from tests.sdk import client
from tests.sdk.gateway import UPSTREAM_KEY, UPSTREAM_KEY_VARIABLE, WEIR, Gateway
from tests.sdk.server import free_port, serving

Run = Callable[..., client.Run]


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path_factory.mktemp("simulator") / "log"
    with serving([str(WEIR), "simulate", "--listen", address], ready=f"http://{address}/_simulator/ledger", log=log):
        yield f"http://{address}"


@pytest.fixture(scope="session")
def gateway(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    gateway = Gateway(folder, free_port(), free_port(), simulator)
    with serving(
        [str(WEIR), "serve", "-c", str(gateway.routes)],
        ready=gateway.ready_url,
        log=folder / "log",
        environment={UPSTREAM_KEY_VARIABLE: UPSTREAM_KEY},
    ):
        yield gateway


@pytest.fixture
def run(simulator: str, gateway: Gateway) -> Run:
    """`client.run` between the two."""

    def run_client(*args: object, **options: object) -> client.Run:
        return client.run(gateway, simulator, *args, **options)  # type: ignore[arg-type]

    return run_client
