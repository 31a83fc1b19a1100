"""A service's policy as bytes and back: what an incident started with is pinned to it across restarts and reloads."""

from functools import cache

from pydantic import TypeAdapter, ValidationError

from rollbackd.errors import PermanentError
from rollbackd.model.policy import ServicePolicy


def dump(policy: ServicePolicy) -> bytes:
    """The same policy is the same bytes."""
    return _adapter().dump_json(policy)


def load(data: bytes) -> ServicePolicy:
    """Raises PermanentError when `data` is not what `dump` wrote."""
    try:
        return _adapter().validate_json(data)
    except ValidationError as e:
        problem = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise PermanentError(f"a pinned config cannot be read ({where}: {problem['msg']}): decide this incident by hand") from e


@cache
def _adapter() -> TypeAdapter[ServicePolicy]:
    """Built when it is first needed: a daemon without an incident starts without it."""
    return TypeAdapter(ServicePolicy)
