"""`weir usage reconcile`: both sides in one row, and nothing of either left out."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proxy import ChargeLine
from proxy.cli.usage import usage
from proxy.cli.usage.skus import Position, skus
from tests.support.usage_log import make_record, unpriced, write_log

IMAGE = "Generate_content image output token count for Gemini 3 Pro Image"
TEXT = "Generate_content text output token count for Gemini 3 Pro Image"
THOUGHTS = "Generate_content thinking text output token count for Gemini 3 Pro Image"
INPUT = "Generate_content text input token count for Gemini 3 Pro Image"
HEAD = "service.description,sku.id,sku.description,usage_start_time,cost,currency,usage.amount,usage.unit,credits\n"
WHOLE = [(INPUT, "0.000028"), (IMAGE, "0.1344"), (TEXT, "0.001956"), (THOUGHTS, "0.002088")]


def row(sku: str, cost: str, *, start: str = "2026-11-10 12:00:00 UTC", service: str = "Gemini API") -> str:
    return f'{service},096D,{sku},{start},{cost},USD,"1,120",count,[]\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "usage-2026-11-10.jsonl", make_record("1"))


def reconcile(log: Path, bill: str, *options: str) -> Result:
    file = log.with_name("bill.csv")
    file.write_text(bill)
    return CliRunner().invoke(usage, ["reconcile", str(file), "--in", str(log), *options])


def compared(result: Result) -> dict[tuple[str, str], dict[str, str]]:
    return {(line["day"], line["position"]): line for line in csv.DictReader(result.stdout.splitlines())}


def test_equal_sides(log: Path) -> None:
    result = reconcile(log, HEAD + "".join(row(*pair) for pair in WHOLE), "--format", "csv", "--tolerance", "0")

    assert result.exit_code == 0, result.output
    lines = compared(result)
    assert {position for _, position in lines} == {
        "gemini-3-pro-image input standard",
        "gemini-3-pro-image image output standard",
        "gemini-3-pro-image output standard",
    }
    output = lines["2026-11-10", "gemini-3-pro-image output standard"]
    assert (output["ours"], output["theirs"], output["difference"]) == ("0.004044", "0.004044", "0")
    assert output["skus"] == f"{TEXT}; {THOUGHTS}"
    assert result.stderr == ""


def test_a_difference_beyond_the_tolerance_is_the_exit_status(log: Path) -> None:
    bill = HEAD + "".join(row(*pair) for pair in WHOLE).replace("0.1344", "0.1400")

    assert reconcile(log, bill, "--tolerance", "0.05").exit_code == 0
    result = reconcile(log, bill)
    assert result.exit_code == 1
    (line,) = (line for line in result.stdout.splitlines() if " image output " in line)
    assert line.split() == [
        *("2026-11-10", "gemini-3-pro-image", "image", "output", "standard"),
        *("0.134400", "0.140000", "-0.005600", "-4.00%", "beyond"),
    ]


def test_what_one_side_alone_has_is_listed(log: Path) -> None:
    strange = "Generate content quantum token count gemini 3.8 flash"
    bill = HEAD + row(IMAGE, "0.1344") + row(strange, "5") + row("Veo Fast Generation 720p with Audio", "3.2")
    result = reconcile(log, bill, "--format", "csv")
    lines = compared(result)

    assert result.exit_code == 1
    assert lines["2026-11-10", strange]["matched"] == "False"
    assert lines["2026-11-10", strange]["theirs"] == "5"
    assert lines["2026-11-10", "veo-fast video standard"]["ours"] == ""
    assert lines["2026-11-10", "gemini-3-pro-image input standard"]["theirs"] == ""
    assert [line["beyond"] for line in lines.values()].count("True") == 4
    assert "no name for this SKU" in reconcile(log, bill).stdout


def test_other_services_totals_and_credits_are_summed(log: Path) -> None:
    bill = (
        HEAD
        + "".join(row(*pair) for pair in WHOLE)
        + row("N1 core", "7.5", service="Compute Engine")
        + ",,,,2.5,USD,,,\n"
        + f'Gemini API,X,{IMAGE},2026-11-10,0,USD,0,count,"[{{""name"":""trial"",""amount"":-0.5}}]"\n'
    )
    result = reconcile(log, bill)

    assert result.exit_code == 0
    assert "2 rows of other services and totals: 10 USD" in result.stderr
    assert "credits of -0.5 USD are not taken off" in result.stderr


def test_the_bill_s_day_is_of_california(tmp_path: Path) -> None:
    line = (ChargeLine("output_image", 1120, "120", "0.1344"),)
    log = write_log(
        tmp_path / "usage-2026-11-10.jsonl",
        make_record("1", time="2026-11-10T07:59:59.000Z", charges=line),  # still the 9th there
        make_record("2", time="2026-11-10T08:00:00.000Z", charges=line),
        make_record("3", time="2026-11-12T08:00:00.000Z", charges=line),  # the bill does not reach it
        unpriced("4"),
    )
    bill = HEAD + row(IMAGE, "0.1344", start="2026-11-10 07:00:00 UTC") + row(IMAGE, "0.1344", start="2026-11-10")
    result = reconcile(log, bill, "--format", "csv")

    assert result.exit_code == 0, result.output
    assert {day for day, _ in compared(result)} == {"2026-11-09", "2026-11-10"}
    assert "0.1344 USD of ours is of days that the bill does not speak of" in result.stderr
    assert "1 exchanges without a price are on no side of ours" in result.stderr


CONSOLE = f"""Invoice number,123
Billing account,"Name, with a comma"

Date,Service description,SKU description,SKU ID,Usage amount,Usage unit,List cost ($),Unrounded subtotal ($),Subtotal
2026-11-10,Gemini API,{IMAGE},096D,"1,120",count,0.13,0.134400,0.13
2026-11-10,Gemini API,{TEXT},1111,"337",count,0.00,0.004044,0.00
2026-11-10,Gemini API,{INPUT},2222,"14",count,0.00,0.000028,0.00
,,,,,,,0.138472,0.14
"""
NESTED: list[dict[str, Any]] = [
    {
        "service": {"id": "AEFD", "description": "Gemini API"},
        "sku": {"id": "096D", "description": sku},
        "usage_start_time": start,
        "cost": float(cost) * 2,
        "currency": "EUR",
        "currency_conversion_rate": 2,
        "usage": {"amount": 1, "unit": "count"},
        "credits": [],
    }
    for (sku, cost), start in zip(
        WHOLE,
        ("2026-11-10T12:00:00Z", "1794312000", "2026-11-10 12:00:00+00:00", "2026-11-10T04:00:00-08:00"),
        strict=True,
    )
]


@pytest.mark.parametrize(
    "bill",
    [
        CONSOLE,
        json.dumps(NESTED),
        "\n".join(map(json.dumps, NESTED)),
        HEAD.replace(".", "_") + "".join(row(*pair) for pair in WHOLE),
    ],
    ids=["console", "array", "lines", "underscores"],
)
def test_every_form_of_the_bill(log: Path, bill: str) -> None:
    result = reconcile(log, bill, "--tolerance", "0", "--format", "csv")

    assert result.exit_code == 0, result.output
    assert len(compared(result)) == 3


@pytest.mark.parametrize(
    ("bill", "complaint"),
    [
        ("a,b,c\n1,2,3\n", "no row with the columns"),
        ("", "no row with the columns"),
        (HEAD + row(IMAGE, "much"), "row 2"),
        (HEAD + row(IMAGE, "1", start="some day"), "row 2"),
        (HEAD + row(IMAGE, "1").replace("USD", "JPY"), "has no currency_conversion_rate"),
        ("{nonsense", "cannot read"),
        ("[1]", "expected an object"),
    ],
)
def test_a_bill_that_cannot_be_read(log: Path, bill: str, complaint: str) -> None:
    result = reconcile(log, bill)

    assert (result.exit_code, result.stdout) == (1, "")
    assert complaint in result.stderr


def test_a_tolerance_is_a_share(log: Path) -> None:
    assert reconcile(log, HEAD + row(IMAGE, "1"), "--tolerance", "1 %").exit_code == 2


@pytest.mark.parametrize(
    ("description", "position"),
    [
        (IMAGE, "gemini-3-pro-image|image output|standard"),
        ("Generate content output token count gemini 2.5 flash short input text", "gemini-2.5-flash|output|standard"),
        ("Generate content input token count gemini 2.5 flash input image", "gemini-2.5-flash|input|standard"),
        ("Generate_content text output token count for gemini 3 flash batch", "gemini-3-flash|output|batch"),
        ("Generate content output token count gemini 3.8 flash text flex", "gemini-3.8-flash|output|flex"),
        ("Generate content input token count gemini 3.7 flash image flex caching", "gemini-3.7-flash|cached input|*"),
        ("Generate_content_cached_input_token_count_gemini_3_pro_short_image", "gemini-3-pro|cached input|*"),
        (
            "Generate content input token count gemini 3.1 flash lite preview text",
            "gemini-3.1-flash-lite|input|standard",
        ),
        ("Gemini 3.1 Flash Image Text Output - Predictions", "gemini-3.1-flash-image|output|standard"),
        ("Gemini 3.1 Flash Image Image Output - Batch Predictions", "gemini-3.1-flash-image|image output|batch"),
        ("Gemini 2.5 Flash GA Thinking Text Output - Predictions", "gemini-2.5-flash|output|standard"),
        ("Generate content search query gemini 3 paid one", "*|search|*"),
        ("Imagen 4 fast Generation (output)", "imagen-4-fast|image output|standard"),
        ("Generate content cached content storage token hours gemini 3.8 flash", None),
        ("Agent Platform Compute", None),
    ],
)
def test_what_a_sku_is_called(description: str, position: str | None) -> None:
    assert skus().of_sku(description) == (None if position is None else Position(*position.split("|")))


def test_every_meter_and_tier_of_a_charge_has_a_name() -> None:
    """As `proxy/gemini` writes them; a meter that the table does not know would never be matched."""
    kinds = [f"{kind}_{modality}" for kind in ("input", "output") for modality in ("text", "image", "audio", "video")]
    others = ["cached_text", "cached_audio", "tool_text", "thoughts", "images", "search_queries", "search_prompts"]
    known = {meter for entry in skus().meters for meter in entry.meters}

    assert known == {*kinds, *others, "video_seconds"}
    assert skus().of_line("gemini-9-x", "quarks", "flex") == Position("gemini-9-x", "quarks", "flex")
    assert skus().of_line("gemini-3.1-pro-preview", "thoughts", "batch") == Position("gemini-3-pro", "output", "batch")


def test_since_and_until_are_days_of_the_bill_on_both_sides(log: Path) -> None:
    """The bill's 10th of November ends at eight in the morning of the 11th, UTC."""
    write_log(
        log,
        make_record("of the 9th", time="2026-11-10T07:59:59.999Z"),
        make_record("of the 10th", time="2026-11-11T07:59:59.999Z"),
        make_record("of the 11th", time="2026-11-11T08:00:00.000Z"),
    )
    days = ("2026-11-09", "2026-11-10", "2026-11-11")
    bill = HEAD + "".join(row(*pair, start=day) for pair in WHOLE for day in days)
    result = reconcile(
        log, bill, "--since", "2026-11-10", "--until", "2026-11-11", "--tolerance", "0", "--format", "csv"
    )

    assert result.exit_code == 0, result.output
    assert {day for day, _ in compared(result)} == {"2026-11-10"}
