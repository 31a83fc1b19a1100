import json
from collections.abc import Iterator

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from rollbackd.settings.runbook_schema import RunbookFile
from rollbackd.settings.schema import ConfigFile, json_schema
from rollbackd.settings.section import Section


def test_the_json_schema_says_what_editors_need() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    service = schema["$defs"]["Service"]["properties"]
    assert service["cooldown"]["default"] == "1h"
    assert service["cooldown"]["pattern"] == r"^\d{1,9}(ms|s|m|h|d)$"
    assert service["match"]["anyOf"] == [{"type": "string"}, {"items": {"type": "string"}, "type": "array"}]
    assert schema["$defs"]["Trigger"]["required"] == ["indicator", "breach", "clear", "for"]
    assert "null" not in json.dumps(schema)


def _sections(section: type[Section] = Section) -> Iterator[type[Section]]:
    for derived in section.__subclasses__():
        yield derived
        yield from _sections(derived)


def test_an_example_that_stands_in_for_what_is_missing_is_valid() -> None:
    """An invalid one would be refused and put in again for ever."""
    fields: list[FieldInfo] = [field for section in _sections() for field in section.model_fields.values() if field.examples]
    assert {ConfigFile, RunbookFile} <= set(_sections())
    assert len(fields) > 5
    for field in fields:
        for example in field.examples or ():
            TypeAdapter(field.rebuild_annotation()).validate_python(example)
