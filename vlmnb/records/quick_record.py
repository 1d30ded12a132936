"""Records for who reads many: decoded by msgspec, several times as fast as by pydantic.

The types are made from those of :class:`Record`, field by field, and have their properties; those of a record
are computed once. They take nothing that pydantic would refuse or change. What they do not take, such as a
number in quotes, is for pydantic to judge.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel

from vlmnb.records.record import Record
from vlmnb.types import Frozen

_LIMITS = ("ge", "gt", "le", "lt", "pattern")


def parse(text: bytes) -> Record | None:
    """Return an object with the fields and properties of the record in a text; None: let pydantic judge."""
    try:
        return cast(Record, _decoder().decode(text))
    except (msgspec.MsgspecError, ValueError):
        return None


@functools.cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_struct(Record))


@functools.cache
def _struct(model: type[BaseModel]) -> type[msgspec.Struct]:
    """Make the type of a model: its fields, checks, methods and properties."""
    once = model is Record
    own: dict[str, Any] = {"__post_init__": check} if (check := _check(model)) else {}
    if not model.__pydantic_decorators__.model_serializers:
        own["model_dump"] = lambda self: msgspec.structs.asdict(self)  # FLOPs are summed by it
    for kind in reversed(model.__mro__[: model.__mro__.index(Frozen)]):
        for name, value in vars(kind).items():
            if isinstance(value, property):
                own[name] = _Once(name, cast(Any, value.fget)) if once else value
            elif isinstance(value, types.FunctionType) and not name.startswith("__"):
                own[name] = value
    fields = []
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if field.metadata:
            annotation = Annotated[annotation, *field.metadata]
        assert field.default_factory is None, name
        default = () if field.is_required() else (field.default,)
        fields.append((name, _type(annotation), *default))
    return msgspec.defstruct(
        model.__name__, fields, namespace=own, kw_only=True, forbid_unknown_fields=True, dict=once, gc=once
    )


class _Once:
    """A property that is computed once; until Python 3.12 the one of functools takes a lock each time."""

    def __init__(self, name: str, compute: Callable[[Any], Any]) -> None:
        self._name, self._compute = name, compute

    def __get__(self, of: Any, _: object) -> Any:
        """Compute it and keep it where it is found before this is asked again."""
        value = of.__dict__[self._name] = self._compute(of)
        return value


def _check(model: type[BaseModel]) -> Callable[[Any], None] | None:
    """Return what calls a model's own validators; one that would change a value refuses it."""
    decorated = model.__pydantic_decorators__
    of_fields = [
        (one.func, name, SimpleNamespace(field_name=name))
        for one in decorated.field_validators.values()
        for name in one.info.fields
    ]
    of_whole = [one.func for one in decorated.model_validators.values()]
    every: list[Any] = [*decorated.field_validators.values(), *decorated.model_validators.values()]
    assert all(one.info.mode == "after" for one in every), model
    if not every:
        return None

    def check(self: Any) -> None:
        for validate, name, field in of_fields:
            value = getattr(self, name)
            if validate(value, field) != value:
                raise ValueError(f"{name} would be changed")
        for validate in of_whole:
            validate(self)

    return check


def _type(annotation: Any) -> Any:
    """Return a type of pydantic as one of msgspec."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        found = {name: getattr(one, name) for one in inner[1:] for name in _LIMITS if hasattr(one, name)}
        assert len(found) == len(inner) - 1, annotation
        if "pattern" in found:  # $ is also before a last line end to Python, not to pydantic
            found["pattern"] = found["pattern"].removesuffix("$") + r"\Z"
        return Annotated[_type(inner[0]), msgspec.Meta(**found)]
    made = tuple(map(_type, inner))
    return functools.reduce(operator.or_, made) if origin in (Union, types.UnionType) else origin[made]
