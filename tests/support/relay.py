"""A relay that answers from a script and writes down what it was asked."""

from collections.abc import Mapping

from proxy import Endpoint, EndpointFailed, Exchange, Headers, Intent, Outcome, Refusal, ResponseHead, Usage, UsageState

Fails = EndpointFailed


def answer(status: int = 200, headers: Mapping[str, str] | None = None) -> ResponseHead:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return ResponseHead(status, "", Headers(raw))


class ScriptedRelay:
    """`script` maps an endpoint's name to its answers, first to last; the last one repeats."""

    def __init__(
        self,
        script: Mapping[str, list[ResponseHead | EndpointFailed]] | None = None,
        *,
        intent: Intent | None = None,
        usage: Usage | None = None,
        outcome: Outcome = Outcome.COMPLETED,
        replayable: bool = True,
    ) -> None:
        self.script = {name: list(answers) for name, answers in (script or {}).items()}
        self.intent = intent or Intent()
        self.usage = usage
        self.outcome = outcome
        self.replayable = replayable
        self.request_bytes = 0
        self.answered = False
        self.opened: list[str] = []
        self.held: ResponseHead | None = None
        self.ran = False
        self.refusal: Refusal | None = None

    async def read_intent(self) -> Intent:
        return self.intent

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        self.opened.append(endpoint.name)
        answers = self.script.get(endpoint.name, [answer()])
        step = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(step, EndpointFailed):
            raise step
        self.held = step
        return step

    async def run(self, exchange: Exchange) -> None:
        assert self.held is not None
        self.ran = self.answered = True
        exchange.status = self.held.status
        exchange.usage = self.usage
        exchange.usage_state = UsageState.FINAL if self.usage else UsageState.NONE
        exchange.outcome = self.outcome

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        self.refusal = refusal
        self.answered = True
