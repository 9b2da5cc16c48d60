"""The price file as it is read: exact, whole, and with every mistake told by its key."""

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.config.bind import ConfigError
from proxy.config.prices import read_prices
from proxy.gemini.price_list import PriceList
from tests.support.bill import PRICE_FILE

GOOD = """
date = 2026-11-21
currency = "USD"
long_context_tokens = 200_000
[sources]
page = "the page"
[tiers]
standard = { names = ["standard"] }
batch = { multiplier = 0.5 }
flex = { multiplier = 0.5 }
priority = { multiplier = 1.8 }
prepaid = { multiplier = 0 }
[estimate]
output_tokens = 1000
[models.m]
source = "page"
standard = { input_text = 0.1, output_text = 3 }
"""


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_prices(file, PriceList)
    assert caught.value.file == file
    return caught.value.problems


def test_amounts_are_exact_and_the_version_is_date_and_content(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(GOOD)
    dated = read_prices(file, PriceList)

    standard = dated.prices.models["m"].standard
    assert standard is not None
    assert standard.input_text == Decimal("0.1")
    assert dated.version == "2026-11-21." + hashlib.sha256(GOOD.encode()).hexdigest()[:8]
    file.write_text(GOOD + "\n# a word more")
    assert read_prices(file, PriceList).version != dated.version


def test_the_file_that_comes_with_the_gateway() -> None:
    dated = read_prices(PRICE_FILE, PriceList)

    assert len(dated.prices.models) == 40
    assert dated.version.startswith("2026-11-21.")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("date = 2026-11-21", "", 'the key "date" is missing'),
        ("date = 2026-11-21", 'date = "today"', "date: "),
        ('currency = "USD"', 'currency = "EUR"', "currency: "),
        ("[estimate]", "[extra]\na = 1\n[estimate]", 'unknown key "extra"; known are: date, currency, '),
        ("output_text = 3", "output_txt = 3", 'models."m".standard: unknown key "output_txt"; known are: input_text, '),
        ("input_text = 0.1", 'input_text = "much"', 'models."m".standard.input_text: invalid decimal string'),
        (
            "input_text = 0.1",
            "input_text = true",
            'models."m".standard.input_text: expected "decimal | null", got "bool"',
        ),
        ("input_text = 0.1", "input_text = -0.1", 'models."m".standard.input_text: expected 0 or more'),
        ("input_text = 0.1", "input_text = nan", 'models."m".standard.input_text: expected 0 or more'),
        ("input_text = 0.1", "input_text = inf", 'models."m".standard.input_text: expected 0 or more'),
        (
            "input_text = 0.1",
            "input_text = 0.123456789012345678901",
            'models."m".standard.input_text: expected 0 or more, with at most 20 decimals',
        ),
        ("input_text = 0.1", "input_text = 1e400", 'models."m".standard.input_text: expected 0 or more'),
        ('source = "page"', 'source = "hearsay"', 'models."m".source: there is no source "hearsay"; there are: page'),
        (
            'source = "page"\nstandard = { input_text = 0.1, output_text = 3 }',
            'source = "page"',
            'models."m": has no price; give it standard, image or video_second',
        ),
        ("[models.m]", '[models.m]\nimage_tokens = { "1K" = 0 }', 'models."m".image_tokens: expected 1 or more'),
        ("[models.m]", '[aliases]\nn = "o"\n[models.m]', 'aliases."n": there is no model "o"; add [models."o"]'),
        ("[models.m]", '[aliases]\nm = "m"\n[models.m]', 'aliases."m": is a model of its own too'),
        ("batch = { ", 'batch = { names = ["STANDARD"], ', 'tiers.batch.names: "STANDARD" stands at standard too'),
        ("prepaid = { multiplier = 0 }", "", 'tiers: the key "prepaid" is missing'),
        ("output_tokens = 1000", "output_tokens = -1", "estimate.output_tokens: expected 0 or more, found -1"),
        (
            "[models.m]",
            '[lists.eu]\ncurrency = "EUR"\n[models.m]',
            'lists."eu".rate: is missing; add rate = { per_usd = 0.92',
        ),
        (
            "[models.m]",
            '[lists.eu]\ncurrency = "euro"\n[models.m]',
            'lists."eu".currency: expected three capital letters',
        ),
        (
            "[models.m]",
            "[lists.us]\nrate = { per_usd = 1, on = 2026-11-20 }\n[models.m]",
            'lists."us".rate: leave it out',
        ),
        (
            "[models.m]",
            '[lists.eu]\ncurrency = "EUR"\nrate = { per_usd = 0, on = 2026-11-20 }\n[models.m]',
            'lists."eu".rate.per_usd: expected more than 0',
        ),
        (
            "[models.m]",
            '[lists.eu]\ncurrency = "EUR"\nrate = { per_usd = 0.9 }\n[models.m]',
            'lists."eu".rate: the key "on" is missing',
        ),
        (
            "[models.m]",
            "[lists.a]\nfactr = 1\n[models.m]",
            'lists."a": unknown key "factr"; known are: factor, currency, rate',
        ),
        ("[models.m]", '[lists.a]\nimages = { "4K" = -1 }\n[models.m]', 'lists."a".images."4K": expected 0 or more'),
        ("[models.m]", "[[models]]\n[m]", "models: expected"),
        ("date = ", "date == ", "not valid TOML"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert [told for told in found if told.startswith(problem)], found


def test_all_of_them_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("output_text = 3", "output_txt = 3") + '[lists.a]\nfactr = 1\n[lists.b]\nfactor = "x"\n'

    assert len(problems(tmp_path, text)) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read it: No such file or directory; name another as \[server\] prices"
    ):
        read_prices(tmp_path / "none.toml", PriceList)


def test_a_copy_is_kept_once_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(GOOD)
    dated = read_prices(file, PriceList)
    folder = tmp_path / "var" / "prices"

    copy = dated.keep(folder)
    written = copy.stat().st_mtime_ns
    assert dated.keep(folder) == copy
    assert copy.stat().st_mtime_ns == written
    assert [path.name for path in folder.iterdir()] == [f"{dated.version}.toml"]
    assert read_prices(copy, PriceList) == dated
