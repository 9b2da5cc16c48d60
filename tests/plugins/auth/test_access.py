"""Which team may use which model, and what happens when the model cannot be known."""

import pytest

from plugins.auth.access import Access
from proxy import Exchange, Intent, Operation, Refusal, Team
from tests.support import ScriptedRelay, make_exchange

FLASH = Team("studio", models=("gemini-2.5-flash*", "gemini-3-pro-image*"))
PRO = Team("acme", models=("gemini-3-*",))
FREE = Team("free")
BY_PATH = Operation("generateContent", api="gemini", model="gemini-2.5-flash", generates=True)
IN_BODY = Operation("chat.completions", api="openai", model_in_body=True, generates=True)


async def check(access: Access, exchange: Exchange) -> None:
    waits = access.check(exchange)
    if waits is not None:
        await waits


async def refusal(
    operation: Operation, *lineage: Team, method: str = "POST", model: str | None = None
) -> Refusal | None:
    exchange = make_exchange(ScriptedRelay(intent=Intent(model=model)), operation=operation, method=method)
    try:
        await check(Access(lineage), exchange)
    except Refusal as refused:
        return refused
    return None


@pytest.mark.parametrize(
    ("lineage", "model", "reason"),
    [
        ([FLASH], "gemini-2.5-flash", None),
        ([FLASH], "gemini-2.5-flash-lite", None),
        ([FLASH], "gemini-2.5-pro", "MODEL_NOT_ALLOWED"),
        ([FLASH], "GEMINI-2.5-FLASH", "MODEL_NOT_ALLOWED"),
        ([FREE], "anything", None),
        ([FLASH, FREE], "gemini-2.5-flash", None),
        ([FREE, FLASH], "gemini-2.5-pro", "MODEL_NOT_ALLOWED"),  # a child has no more than its parent
        ([FLASH, PRO], "gemini-3-pro-image-preview", None),
        ([FLASH, PRO], "gemini-2.5-flash", "MODEL_NOT_ALLOWED"),
        ([FLASH, PRO], "gemini-3-pro", "MODEL_NOT_ALLOWED"),
    ],
)
@pytest.mark.parametrize("where", ["path", "body"])
async def test_every_team_of_the_lineage_must_allow(
    where: str, lineage: list[Team], model: str, reason: str | None
) -> None:
    operation = Operation("generateContent", model=model, generates=True) if where == "path" else IN_BODY
    refused = await refusal(operation, *lineage, model=model)
    assert (refused and refused.reason) == reason
    if refused is not None:
        assert refused.code == 403
        assert f'"{model}"' in refused.message


async def test_path_and_body_must_both_be_allowed() -> None:
    both = Operation("countTokens", model="gemini-2.5-flash", model_in_body=True)
    assert await refusal(both, FLASH, model="gemini-2.5-flash") is None
    refused = await refusal(both, FLASH, model="gemini-2.5-pro")
    assert refused is not None
    assert "gemini-2.5-pro" in refused.message


@pytest.mark.parametrize(
    ("operation", "method", "refused"),
    [
        (Operation("generateContent", generates=True), "POST", True),
        (IN_BODY, "POST", True),
        (Operation("cachedContents.create", model_in_body=True), "POST", True),
        (Operation("unknown"), "POST", True),
        (Operation("unknown"), "PATCH", True),
        (Operation("unknown"), "BREW", True),
        (Operation("unknown"), "GET", False),
        (Operation("unknown"), "HEAD", False),
        (Operation("unknown"), "OPTIONS", False),
        (Operation("files.upload"), "POST", False),
        (Operation("models.list"), "GET", False),
    ],
)
async def test_a_model_that_cannot_be_known(operation: Operation, method: str, refused: bool) -> None:
    found = await refusal(operation, FLASH, method=method)
    assert (found is not None) is refused
    if found is not None:
        assert (found.code, found.reason) == (403, "MODEL_UNKNOWN")
    assert await refusal(operation, FREE, method=method) is None


class Unreadable(ScriptedRelay):
    async def read_intent(self) -> Intent:
        raise ValueError("the body is not JSON")


async def test_a_team_without_a_list_does_not_have_its_body_read() -> None:
    await check(Access([FREE]), make_exchange(Unreadable(), operation=IN_BODY))


def test_a_model_in_the_path_is_known_without_a_wait() -> None:
    access = Access([FLASH])
    assert access.check(make_exchange(Unreadable(), operation=BY_PATH)) is None
    with pytest.raises(Refusal, match=r"gemini-2\.5-pro"):
        access.check(make_exchange(Unreadable(), operation=Operation("generateContent", model="gemini-2.5-pro")))


async def test_a_body_that_cannot_be_read_is_a_bad_request() -> None:
    exchange: Exchange = make_exchange(Unreadable(), operation=IN_BODY)
    with pytest.raises(Refusal) as refused:
        await check(Access([FLASH]), exchange)
    assert refused.value.code == 400


async def test_what_passed_once_says_nothing_of_another_model() -> None:
    access = Access([Team("studio", models=("gemini-*",)), FREE])
    for number in range(1000):  # more than are remembered
        await check(access, make_exchange(operation=Operation("generateContent", model=f"gemini-{number}")))
    for _ in range(2):
        await check(access, make_exchange(operation=Operation("generateContent", model="gemini-7")))
        with pytest.raises(Refusal, match="claude"):
            await check(access, make_exchange(operation=Operation("generateContent", model="claude")))
    both = Operation("countTokens", model="gemini-7", model_in_body=True)
    with pytest.raises(Refusal, match="claude"):
        await check(access, make_exchange(ScriptedRelay(intent=Intent(model="claude")), operation=both))
