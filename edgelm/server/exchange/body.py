"""The body of a request, read and checked by its fields, and the settings of a reply that fields become."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgelm.errors import OptionError
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.http.errors import RequestError, refusal_of, refusal_of_fields

R = TypeVar("R", bound="RequestBody")


class RequestBody(BaseModel):
    """A request. Fields that nobody here knows are passed over; null is as good as nothing where a field may be null."""

    model_config = ConfigDict(extra="ignore", strict=True)

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """Fields that ask for what there is not → values that ask for nothing."""

    model: str | None = None
    adapter: str | Annotated[list[str], Field(max_length=8)] | None = None
    """Names of adapters that act on this request, as "model+adapter" says in `model`."""

    @property
    def adapters(self) -> list[str]:
        """The adapters that are named beside the model."""
        return [self.adapter] if isinstance(self.adapter, str) else self.adapter or []


def read_request(kind: type[R], body: bytes) -> R:
    """Return the request in `body`.

    Raises:
        RequestError: it is no JSON object, or a field is not what it may be, or asks for what there is not.
    """
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal_of_fields(error) from error
    for name, neutral in kind.unsupported.items():
        value = getattr(request, name)
        if value not in neutral:
            raise RequestError(400, f"{name} is not supported here", param=name, code="unsupported_parameter")
    return request


def refusal(name: str, problem: str) -> RequestError:
    """Return the refusal of a field that is there and cannot be met."""
    return RequestError(400, f"{name} {problem}", param=name, code="invalid_value")


def changed(options: GenerationOptions, settings: dict[str, Any]) -> GenerationOptions:
    """Return `options` with `settings`, whose names are those of the request.

    Raises:
        RequestError: naming the setting that is outside what it may be.
    """
    try:
        return options.changed(**settings)
    except OptionError as error:
        refused = refusal_of(error)
        refused.param = refused.param or next(
            (name for name in settings if error.message.startswith(name)), None
        )
        raise refused from error
