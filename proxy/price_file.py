"""The price file at work: found beside the routes file, read into a `PriceBook`, held against the teams.

A part of the composition root, which alone may bring `config` and `gemini` together: `app.py` calls it at its start
and at each reload, `weir check` and `weir usage reprice` to look. It knows no price and moves no money.
"""

from pathlib import Path

from proxy.config.bind import ConfigError
from proxy.config.prices import DEFAULT_NAME, Dated, read_prices
from proxy.config.schema import Settings
from proxy.gemini.price_list import PriceList
from proxy.gemini.prices import PriceBook


def price_book(file: Path) -> PriceBook:
    """The prices of one file, such as STATE/prices/VERSION.toml. Raises ConfigError with every problem found."""
    dated = read_prices(file, PriceList)
    return PriceBook(dated.prices, dated.version)


def price_file(settings: Settings) -> Path:
    """Where the price file is, or would be."""
    return settings.server.prices or settings.file.parent / DEFAULT_NAME


def kept_prices(state: Path) -> Path:
    """The folder with a copy of every price file that records were priced with."""
    return state / "prices"


class PriceSheet:
    """The prices of one process. `book` is the same object for as long as it lives.

    Attributes:
        file: fixed at the start, as all of `[server]` is.
    """

    def __init__(self, settings: Settings) -> None:
        self.file = price_file(settings)
        self.book = PriceBook()
        self._required = settings.server.prices is not None
        self._kept = kept_prices(settings.server.state)

    def read(self, settings: Settings, *, keep: bool = True) -> Dated[PriceList] | None:
        """The file as it is now, checked against the teams, and kept; None where there is none and none need be.

        Blocks: it reads and writes files. Raises ConfigError, also for a team's list that the file has not, and
        where its copy cannot be written: what is not kept cannot be priced again.
        """
        dated = None
        # A file that was there and is gone is a slip, not the wish to record nothing but unpriced calls from now on.
        if self._required or self.book.version is not None or self.file.exists():
            dated = read_prices(self.file, PriceList)
        problems = _unknown_lists(settings, self.file, dated)
        if problems:
            raise ConfigError(settings.file, problems)
        if dated is not None and keep:
            try:
                dated.keep(self._kept)
            except OSError as error:
                raise ConfigError(self.file, [f"cannot keep a copy in {self._kept}: {error.strerror}"]) from error
        return dated

    def adopt(self, dated: Dated[PriceList] | None) -> None:
        """Price by it from now on."""
        if dated is not None and dated.version != self.book.version:
            self.book.replace(dated.prices, dated.version)


def unpriced_patterns(settings: Settings, dated: Dated[PriceList]) -> list[str]:
    """Warnings: what teams may call and nobody has a price for, mostly a slip of the pen."""
    file = price_file(settings).name
    return [
        f'teams.{team.name}.models: "{pattern}" fits no model of {file}; its calls will be unpriced'
        for team in settings.teams.values()
        for pattern in team.models
        if not dated.prices.knows(pattern)
    ]


def _unknown_lists(settings: Settings, file: Path, dated: Dated[PriceList] | None) -> list[str]:
    known = dated.prices.lists if dated is not None else {}
    return [
        f'teams.{team.name}.prices: {file} has no list "{team.price_list}"; add [lists.{team.price_list}] to it'
        + (f", or name one of: {', '.join(known)}" if known else "")
        for team in settings.teams.values()
        if team.price_list is not None and team.price_list not in known
    ]
