"""Finds the form of an exchange: the ledger asks for each, and nearly all have one that came before.

`record` says what a form is, and when it holds.
"""

from typing import Final, final

from plugins.usage_log.record import Form
from plugins.usage_log.texts import path_of
from proxy import Exchange, Principal, Teams

_MOST_FORMS: Final = 1024  # that are kept: of 4 KB each
_NOTE: Final = "usage log: form"

_Key = tuple[str, str | None, Principal | None]  # path and model


@final
class _Note:
    """A form that is kept, beside the fields of the last head that it was found for, and what else it was found by."""

    __slots__ = ("form", "principal", "target")

    def __init__(self, form: Form, principal: Principal | None, target: str) -> None:
        self.form: Final = form
        self.principal: Final = principal
        self.target: Final = target


@final
class Forms:
    """The forms of late. Kept are those of calls that run a model: a file or a batch has a path of its own."""

    def __init__(self, teams: Teams) -> None:
        self._teams = teams
        self._forms: dict[_Key, Form] = {}

    def find(self, exchange: Exchange) -> Form:
        request = exchange.request
        notes = request.headers.notes
        note = notes.get(_NOTE)
        if isinstance(note, _Note) and note.target == request.target:
            form, principal = note.form, exchange.principal
            is_theirs = note.principal is principal or note.principal == principal
            if is_theirs and form.fits(exchange) and form.is_of_today(self._teams):
                return form
        form = self._find(exchange)
        if form.is_kept:
            notes[_NOTE] = _Note(form, exchange.principal, request.target)
        return form

    def _find(self, exchange: Exchange) -> Form:
        target = exchange.request.target
        key = (path_of(target) if "?" in target else target, exchange.model, exchange.principal)
        form = self._forms.get(key)
        if form is not None and form.fits(exchange) and form.is_of_today(self._teams):
            return form
        path = path_of(target)
        form = Form(exchange, path, self._teams)
        if path == key[0] and form.prepare():  # nothing is kept that had to be taken out of a path
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[key] = form
        return form
