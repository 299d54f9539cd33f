"""Reading a YAML file into a validated model, with errors that say where."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from .errors import UserError

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, and a truth where a number is meant: `true` would be read as 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _truths_are_no_numbers(cls, given: Any) -> Any:
        for name, field in cls.model_fields.items():
            kinds = set(_kinds(field.annotation))
            value = given.get(name) if isinstance(given, dict) else None
            if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
                raise ValueError(f"{name}: {str(value).lower()} is no number")
        return given


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


_PLAIN = re.compile(r"[\w-]{1,60}")
MAX_BYTES = 1 << 20
"""A configuration is small; anything larger is another file."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with YAML 1.2's numbers and truths: `no` is a word, and `70:00` no number.

    It also refuses a key given twice, and aliases (a small file could stand for a huge one).
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not used in configurations; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(problem="a key is no plain text", problem_mark=key.start_mark)
            if key.value in seen:
                problem = f"key '{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_INT, _BOOL = "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _BOOL)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(_BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(path: Path, model: type[M]) -> M:
    """Read `path` into `model`.

    Raises:
        UserError: no such file, not YAML, a key that does not exist or a value that is not allowed; one line that names
            the file, the line and the path of the key, such as `parties[1].rank`.
    """
    path = Path(path)
    text = _read_text(path)
    try:
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: {error.problem or 'is not YAML'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not YAML ({_one_line(str(error))})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a YAML mapping (key: value)")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(describe(error, path, root)) from error


def describe(error: ValidationError, path: Path, root: yaml.Node | None = None) -> str:
    """The first problem of a validation error in one line, with file, line and key path."""
    problems = error.errors(include_url=False, include_context=True)
    # An unknown key explains a missing one beside it (a misspelling), so it comes first.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = key_path(first["loc"])
    line = _line(root, first["loc"])
    where = f"{path}{f', line {line}' if line else ''}{f', {location}' if location else ''}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such key; remove it or correct its name{more}"
    if first["type"] == "missing":
        return f"{where}: is missing{more}"
    message = _one_line(first["msg"].removeprefix("Value error, "))
    return f"{where}: {message}{more}"


def key_path(location: tuple[int | str, ...]) -> str:
    """`("parties", 1, "rank")` as `parties[1].rank`."""
    text = ""
    for part in location:
        name = part if isinstance(part, int) or _PLAIN.fullmatch(part) else repr(part)
        text += f"[{name}]" if isinstance(part, int) else f"{'.' if text else ''}{name}"
    return text


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if content is None:
        raise UserError(f"{path}: is larger than {MAX_BYTES} bytes; this is not a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    """Line of the deepest part of `location` that is in the file, counting from 1."""
    line = None
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
            continue
        else:
            break
        line = node.start_mark.line + 1 if node is not None else line
    return line


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_yaml(model: BaseModel, heading: str) -> str:
    """A model as YAML for a human reader: the heading and each key's description as comments."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    values = model.model_dump(mode="json", exclude_none=True)
    for name, field in type(model).model_fields.items():
        if name not in values:
            continue
        if field.description:
            lines += ["", *(f"# {line}" for line in textwrap.wrap(field.description, 110))]
        value = getattr(model, name)
        if isinstance(value, BaseModel) and values[name]:
            lines += [f"{name}:", *_nested(value, values[name])]
        else:
            # A list on one line, or one line for each of its mappings.
            lines.append(_dump({name: values[name]}, flow=None if isinstance(values[name], list) else False))
    return "\n".join(lines) + "\n"


def _nested(model: BaseModel, values: dict[str, Any]) -> list[str]:
    lines = []
    for name, field in type(model).model_fields.items():
        if name in values:
            comment = f"  # {field.description}" if field.description else ""
            lines.append(f"  {_dump({name: values[name]})}{comment}")
    return lines


def _dump(value: Any, flow: bool | None = False) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=flow, width=120).rstrip()
