"""The common base of all configuration records, and how their problems are worded."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


class Section(BaseModel):
    """A frozen, strict record: unknown keys and wrong types are errors, defaults are checked too."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)


def problems(error: ValidationError, subject: str, model: type[BaseModel] | None = None) -> str:
    """Return every problem of a failed validation, one line each: subject, key, rule, value.

    model: what was validated; an unknown key then comes with the known one that looks like it.
    """
    return "\n".join(line for item in error.errors() for line in _lines(item, subject, model))


def _lines(item: ErrorDetails, subject: str, model: type[BaseModel] | None) -> list[str]:
    """Return one line for each line of the rule: a validator may find several faults."""
    key = ".".join(str(part) for part in item["loc"] if not _is_union_tag(part))
    place = f"{subject}: {key}" if key else subject
    rule = _rule(item)
    if item["type"] == "extra_forbidden" and model is not None:
        rule += like(str(item["loc"][-1]), _keys_at(model, item["loc"][:-1]))
    return [f"{place}: {line}" for line in rule.splitlines()]


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the keys that the section at a path may have; none where the path leads to no section."""
    places: list[Any] = [model]
    for part in path:
        places = [step for place in places for arm in _arms(place) for step in _steps(arm, part)]
    return [key for place in places for arm in _arms(place) for key in getattr(arm, "model_fields", ())]


def _arms(kind: Any) -> Iterator[Any]:
    """Yield the types that a type may stand for."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _arms(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for arm in get_args(kind):
            yield from _arms(arm)
    else:
        yield kind


def _steps(kind: Any, part: int | str) -> Iterator[Any]:
    """Yield the types that a key, an index or the tag of a union leads to."""
    fields = getattr(kind, "model_fields", {})
    if part in fields:
        yield fields[part].annotation
    elif "kind" in fields and part in get_args(fields["kind"].annotation):
        yield kind
    elif get_origin(kind) in (dict, list, tuple):
        yield get_args(kind)[1 if get_origin(kind) is dict else 0]


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


def like(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that looks most like one that is not known; nothing where none does."""
    found = get_close_matches(name, known, n=1, cutoff=0.8)  # slips of the keyboard, not other words
    return f" (did you mean '{found[0]}'?)" if found else ""


def no_such(name: object, what: str, shipped: Iterable[str]) -> str:
    """Return what to say where a name is neither a file nor one of those that ship."""
    names = list(shipped)
    return f"{name}: no such file, nor {what} of that name{like(str(name), names)}; shipped are {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """Return names as 'a, b, c' for error messages."""
    return ", ".join(names)
