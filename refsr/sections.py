"""The base of the sections of a params file."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from refsr.parameter_types import Positive


class Section(BaseModel):
    """The base of all sections: values are read-only, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # Parameters with which unfinished work goes on, though another value has been set.
    may_change: ClassVar[frozenset[str]] = frozenset()


class Range(Section):
    """An inclusive range of counts."""

    min: Positive
    max: Positive

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self
