"""The `Answer` of the fast road: its connection's parser fills it. Once closed it knows of no connection any more."""

from typing import Protocol, final

from proxy.head import RawHeaders
from proxy.wire.answer_head import AnswerHead
from proxy.wire.inflow import Inflow, Sink
from proxy.wire.patience import Patience


class Asked(Protocol):
    """The connection that a request went up on."""

    @property
    def uploading(self) -> bool: ...

    def let_go(self) -> None: ...


@final
class FastAnswer:
    """See the module, and `Answer`."""

    __slots__ = ("_connection", "_idle_seconds", "_inflow", "_patience", "as_it_came", "fields", "head", "length")

    def __init__(
        self,
        connection: Asked,
        inflow: Inflow,
        said: AnswerHead,
        patience: Patience,
        idle_seconds: float,
    ) -> None:
        self.head = said.head
        self.fields: RawHeaders = said.fields
        self.length = said.length
        self.as_it_came = said.as_it_came
        self._connection: Asked | None = connection
        self._inflow = inflow
        self._patience = patience
        self._idle_seconds = idle_seconds

    @property
    def uploading(self) -> bool:
        return self._connection is not None and self._connection.uploading

    @property
    def over(self) -> bool:
        return self._inflow.exhausted

    def here(self) -> list[bytes]:
        return self._inflow.here()

    async def more(self, sink: Sink) -> list[bytes]:
        inflow = self._inflow
        await self._patience.outlast(inflow.arrival(sink), self._idle_seconds, "upstream_idle")
        return inflow.here()

    async def read(self) -> bytes:
        inflow = self._inflow
        while (piece := inflow.take()) is None:
            await self._patience.outlast(inflow.arrival(), self._idle_seconds, "upstream_idle")
        return piece

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.let_go()


Came = FastAnswer | Exception  # of a request
