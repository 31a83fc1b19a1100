"""From plain values to a section of the schema: every error at once, at its line and column.

What is wrong is reported and taken out, and what is left is read again, so that one bad key does not hide the other errors of its
section. A misspelt key is read as the key that it looks like. The result is only good for finding more errors.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.section import Section
from rollbackd.settings.suggest import near, unknown

S = TypeVar("S", bound=Section)

_Path = tuple[str | int, ...]
_Readers = dict[int, type[Section]]

_SENTENCES: Final = {
    "model_type": "write a map here, {…}",
    "model_attributes_type": "write a map here, {…}",
    "dict_type": "write a map here, {…}",
    "tuple_type": "write a list here, […]",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "bool_type": "write true or false",
    "string_type": "write a text here",
    "string_too_short": "write a text here",
    "union_tag_invalid": "write source: api or source: command",
    "union_tag_not_found": "write source: api or source: command",
    "too_short": "put at least one in this list",
}


def shape(section: type[S], place: Place, problems: Problems) -> S | None:
    """The value at `place` as a `section`, or None when too little of it is left; what is wrong goes to `problems`."""
    shortened: set[_Path] = set()  # something was taken out of these: that they lack it now is nobody's mistake
    while True:
        readers: _Readers = {}
        try:
            return section.model_validate(place.value, context=readers)
        except ValidationError as e:
            findings = [_Finding.of(error, place, readers) for error in e.errors(include_url=False) if not _follows(error)]
        misspelt = [finding for finding in findings if finding.repair.name]
        for finding in findings:
            if finding.counts and finding.place.path not in shortened and not (misspelt and finding.missing):
                problems.error(finding.place, finding.message, at_key=finding.at_key)
        # misspelt keys first: what is missing may be there under another name
        repairs = {finding.repair.place.path: finding.repair for finding in misspelt or findings}
        if place.path in repairs:
            return None
        for path in sorted(repairs, reverse=True):  # from the end of each list, so that the other paths stay true
            repairs[path].make()
            if repairs[path].takes_out:
                shortened.add(path[:-1])


@dataclass(frozen=True, slots=True)
class _Repair:
    """Take out what is at `place`; or read its key as `name`; or let an example stand in for what is missing there."""

    place: Place
    name: str | None = None
    example: Any = None

    @property
    def takes_out(self) -> bool:
        return self.name is None and self.example is None

    def make(self) -> None:
        parent, key = Place(self.place.document, self.place.path[:-1]), self.place.path[-1]
        if self.example is not None:
            parent.value[key] = self.example
            return
        value = parent.value.pop(key)  # its mark stays, to say that something is written there
        if isinstance(key, int):
            parent.mark.items.pop(key)
        elif self.name is not None and self.name not in parent.value:
            parent.value[self.name] = value
            parent.mark.entries[self.name] = parent.mark.entries.pop(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """One error: where, what to say, and how to read on."""

    place: Place
    message: str
    repair: _Repair
    at_key: bool = False
    missing: bool = False
    counts: bool = True  # not when it was refused before

    @classmethod
    def of(cls, error: ErrorDetails, root: Place, readers: _Readers) -> "_Finding":
        place = _place(root, error["loc"])
        key = str(error["loc"][-1]) if error["loc"] else ""
        if error["type"] == "missing":
            field = _fields(readers[id(place.value)])[key]
            why = f": {field.description}" if field.description else ""
            repair = _Repair(place / key, example=field.examples[0]) if field.examples else _Repair(place)
            return cls(place=place, message=f"{key!r} is missing{why}", repair=repair, missing=True, counts=not (place / key).written)
        if error["type"] == "extra_forbidden":
            parent = Place(place.document, place.path[:-1])
            known = _fields(readers[id(parent.value)]).keys()
            meant = near(key, known)
            repair = _Repair(place, name=meant if meant and not (parent / meant).written else None)
            return cls(place=place, message=f"unknown key {key!r}: {unknown(key, known)}", repair=repair, at_key=True)
        return cls(place=place, message=_sentence(error, place), repair=_Repair(place), at_key=key == "[key]")


def _follows(error: ErrorDetails) -> bool:
    """A list that is too short only because its entries are wrong."""
    return error["type"] == "too_short" and bool(error["input"])


def _fields(section: type[Section]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _place(root: Place, loc: tuple[int | str, ...]) -> Place:
    """`loc` without the branches of unions, which are not written anywhere."""
    place = root
    for key in loc:
        value = place.value
        if (isinstance(value, dict) and key in value) or (isinstance(value, list) and isinstance(key, int)):
            place = place / key
    return place


def _sentence(error: ErrorDetails, place: Place) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type" and not isinstance(value, (list, dict)):
        return f'{place.mark.text} is not a text: put it in quotes, "{place.mark.text}"'
    if kind in {"enum", "literal_error"}:
        return f"{value!r}: write {context['expected']}"
    return _SENTENCES.get(kind) or f"{error['msg'][:1].lower()}{error['msg'][1:]}"
