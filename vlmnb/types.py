"""Types that every folder needs: the base of all data types and the small vocabularies of a cell."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Weights = Literal["pretrained", "random"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["fp32", "bf16", "fp16"]
Shape = Literal["square", "kept"]
Length = Literal["natural", "fixed"]
Measured = Literal["generation", "layers", "reuse", "preprocessing"]
Reuse = Literal["", "encoder", "prefix"]
Status = Literal[
    "ok", "not_applicable", "not_enough_tokens", "out_of_memory", "unsupported", "failed", "unstated"
]
Source = Literal["measured", "reports"]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
ModelName = Annotated[
    str, Field(pattern=r"^([a-z0-9][a-z0-9._-]*|[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*|/.+)$")
]
"""Name of a registry entry, ``OWNER/NAME`` of a Hub repository, or the path of a checkpoint folder."""


class Frozen(BaseModel):
    """Base of every data type here: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
