"""The common base of all configuration records, and how their problems are worded."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


class Section(BaseModel):
    """A frozen, strict record: unknown keys and wrong types are errors, defaults are checked too."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)


def problems(error: ValidationError, subject: str) -> str:
    """Return every problem of a failed validation, one line each: subject, key, rule, value."""
    return "\n".join(line for item in error.errors() for line in _lines(item, subject))


def _lines(item: ErrorDetails, subject: str) -> list[str]:
    """Return one line for each line of the rule: a validator may find several faults."""
    key = ".".join(str(part) for part in item["loc"] if not _is_union_tag(part))
    place = f"{subject}: {key}" if key else subject
    return [f"{place}: {rule}" for rule in _rule(item).splitlines()]


def _bound(limit: float) -> str:
    """Return a bound as users write it: 10000, not 10000.0."""
    return str(int(limit)) if limit == int(limit) else str(limit)


def _is_union_tag(part: int | str) -> bool:
    """Pydantic puts the chosen arm of a union into the path; users never wrote it."""
    return isinstance(part, str) and part in UNION_TAGS


UNION_TAGS = frozenset({"linear", "log", "multiply", "shift", "decode", "logsum", "channel", "banked"})


def _rule(item: ErrorDetails) -> str:
    context: Mapping[str, Any] = item.get("ctx", {})
    value = item["input"]
    match item["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "required, but missing"
        case "greater_than_equal":
            return f"must be at least {_bound(context['ge'])}, got {value!r}"
        case "less_than_equal":
            return f"must be at most {_bound(context['le'])}, got {value!r}"
        case "greater_than":
            return f"must be greater than {_bound(context['gt'])}, got {value!r}"
        case "literal_error":
            return f"must be {context['expected']}, got {value!r}"
        case "union_tag_not_found":
            return "needs a key 'kind'"
        case "union_tag_invalid":
            return f"kind must be one of {context['expected_tags']}, got {context['tag']!r}"
        case "value_error":
            return str(context["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping of keys, got {value!r}"
        case _:
            return f"{item['msg'][0].lower()}{item['msg'][1:]}, got {value!r}"


def listed(names: Iterable[str]) -> str:
    """Return names as 'a, b, c' for error messages."""
    return ", ".join(names)
