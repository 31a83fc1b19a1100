"""From plain values to a section of the schema: every error at once, at its line and column.

What is wrong is reported and taken out, and what is left is read again, so that one bad key does not hide the other errors of its
section. A misspelt key is read as the key that it looks like. The result is only good for finding more errors.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import ValidationError
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
            findings = [_Finding.of(error, place, readers) for error in e.errors(include_url=False)]
        misspelt = [finding for finding in findings if finding.meant]
        for finding in findings:
            if finding.counts and finding.place.path not in shortened and not (misspelt and finding.missing):
                problems.error(finding.place, finding.message, at_key=finding.at_key)
        # misspelt keys first: what is missing may be there under another name
        repairs = {finding.place.path: finding.meant for finding in misspelt or findings}
        if place.path in repairs:
            return None
        for path in sorted(repairs, reverse=True):  # from the end of each list, so that the other paths stay true
            _repair(Place(place.document, path), repairs[path])
            if repairs[path] is None:
                shortened.add(path[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """One error: where, what to say, and how its key was meant, if it only is misspelt."""

    place: Place
    message: str
    at_key: bool = False
    meant: str | None = None
    missing: bool = False
    counts: bool = True  # not when it only follows from what was refused before

    @classmethod
    def of(cls, error: ErrorDetails, root: Place, readers: _Readers) -> "_Finding":
        place = _place(root, error["loc"])
        key = str(error["loc"][-1]) if error["loc"] else ""
        if error["type"] == "missing":
            message = f"{key!r} is missing{_description(readers[id(place.value)], key)}"
            return cls(place=place, message=message, missing=True, counts=not (place / key).written)
        if error["type"] == "extra_forbidden":
            parent = Place(place.document, place.path[:-1])
            known = _keys(readers[id(parent.value)])
            meant = near(key, known)
            message = f"unknown key {key!r}: {unknown(key, known)}"
            return cls(place=place, message=message, at_key=True, meant=meant if meant and not (parent / meant).written else None)
        return cls(place=place, message=_sentence(error, place), at_key=key == "[key]")


def _place(root: Place, loc: tuple[int | str, ...]) -> Place:
    """`loc` without the branches of unions, which are not written anywhere."""
    place = root
    for key in loc:
        value = place.value
        if (isinstance(value, dict) and key in value) or (isinstance(value, list) and isinstance(key, int)):
            place = place / key
    return place


def _keys(section: type[Section]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _description(section: type[Section], key: str) -> str:
    described = {field.alias or name: field.description for name, field in section.model_fields.items()}
    return f": {described[key]}" if described[key] else ""


def _sentence(error: ErrorDetails, place: Place) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type" and not isinstance(value, (list, dict)):
        return f'{place.mark.text} is not a text: put it in quotes, "{place.mark.text}"'
    if kind in {"enum", "literal_error"}:
        return f"{value!r}: write {context['expected']}"
    return _SENTENCES.get(kind) or f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def _repair(place: Place, name: str | None) -> None:
    """Read the key as `name`, or take the value out: the mark stays, to say that something is written there."""
    parent, key = Place(place.document, place.path[:-1]), place.path[-1]
    value = parent.value.pop(key)
    if isinstance(key, int):
        parent.mark.items.pop(key)
    elif name is not None and name not in parent.value:
        parent.value[name] = value
        parent.mark.entries[name] = parent.mark.entries.pop(key)
