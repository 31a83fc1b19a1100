"""`GET /openapi.json`: OpenAPI 3.1, made from the table of routes and the types of their handlers; nothing is described a second time."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from rollbackd import __version__
from rollbackd.web.access import OPENS, Access
from rollbackd.web.answers import JSON, Handler, Said, said
from rollbackd.web.body import Labels
from rollbackd.web.problems import CONTENT_TYPE
from rollbackd.web.shapes import ProblemShape

_REFS: Final = "#/components/schemas/{model}"
_Json = dict[str, Any]


def document(routes: Iterable[tuple[str, str, Access, Handler]]) -> _Json:
    """`routes` are method, path, who may, and the handler of each."""
    known = [(method, path, access, handler, said(handler)) for method, path, access, handler in routes]
    shapes = {shape: TypeAdapter(shape) for *_, types in known for shape in _shapes(types)}
    shapes[ProblemShape] = TypeAdapter(ProblemShape)
    schemas, components = TypeAdapter.json_schemas(
        [(shape, "validation", adapter) for shape, adapter in shapes.items()], ref_template=_REFS
    )
    by_shape = {shape: schema for (shape, _), schema in schemas.items()}
    paths: dict[str, _Json] = {}
    for method, path, access, handler, types in known:
        paths.setdefault(path, {})[method.lower()] = _operation(path, access, handler, types, by_shape)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rollbackd", "version": __version__, "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components.get("$defs", {}),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of a person, by the role, or of 'auth.ingest'."},
                "browser": {"type": "http", "scheme": "basic", "description": "Any name, the token as the password."},
            },
        },
    }


def _shapes(types: Said) -> Iterator[Any]:
    given = [shape for shape in types.gives.values() if shape is not None]
    taken = types.raw.takes if types.raw is not None else types.body
    yield from (*given, *((taken,) if taken is not None else ()), *((types.query,) if types.query is not None else ()))


def _operation(path: str, access: Access, handler: Handler, types: Said, schemas: Mapping[Any, _Json]) -> _Json:
    """Whoever reads it learns who may, what to send, what comes back, and how an error looks."""
    summary, _, more = (inspect.getdoc(handler) or "").partition("\n\n")
    takes = types.raw.takes if types.raw is not None else types.body
    operation: _Json = {
        "operationId": f"{handler.__module__.rpartition('.')[2]}_{handler.__name__}",
        "summary": summary.replace("\n", " "),
        "parameters": [*_in_path(path), *_in_query(types), *_in_headers(types)],
        "responses": _responses(types, schemas),
    }
    if more:
        operation["description"] = more
    if takes is not None:
        operation["requestBody"] = {"content": {JSON: {"schema": schemas[takes]}}, "required": _is_needed(takes)}
    if roles := OPENS.get(access):
        operation["security"] = [{"token": [role]} for role in sorted(roles)]
    if access is Access.CONSOLE:
        operation["security"] += [{"browser": [role]} for role in sorted(OPENS[access])]
    return operation


def _in_path(path: str) -> Iterator[_Json]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(types: Said) -> Iterator[_Json]:
    if types.query is Labels:
        schema = {"type": "object", "additionalProperties": {"type": "string"}}
        yield {"name": "labels", "in": "query", "schema": schema, "style": "form", "explode": True}
    elif types.query is not None:
        fields = types.query.model_json_schema(ref_template=_REFS)
        for name, schema in fields["properties"].items():
            written = schema.get("anyOf", [schema])[0]  # the other is null, which stands for a parameter that is left out
            yield {"name": name, "in": "query", "required": name in fields.get("required", ()), "schema": written}


def _in_headers(types: Said) -> Iterator[_Json]:
    for name in types.raw.headers if types.raw is not None else ():
        yield {"name": name, "in": "header", "schema": {"type": "string"}}


def _responses(types: Said, schemas: Mapping[Any, _Json]) -> _Json:
    media = types.raw.media if types.raw is not None else (JSON,)
    good = {
        str(status.value): {
            "description": status.phrase,
            "content": {one: {"schema": schemas[shape]} if shape is not None and one == JSON else {} for one in media},
        }
        for status, shape in types.gives.items()
    }
    problem = {"content": {CONTENT_TYPE: {"schema": schemas[ProblemShape]}}}
    return {**good, "default": {"description": "It was refused, or failed; `detail` says what to do.", **problem}}


def _is_needed(takes: Any) -> bool:
    """No body is as good as `{}` where that would do."""
    return bool(TypeAdapter(takes).json_schema().get("required"))
