"""Where chat templates run: jinja2's sandbox, with the helpers that published ones use.

A template is somebody else's program. It sees plain values only, cannot change them, and
reaches nothing of Python.
"""

from __future__ import annotations

import datetime
import functools
import json
import types
from collections.abc import Callable
from typing import Any

from kauldron._base import errors
from kauldron.lm.text import _errors, _packages

# Names that a template is given in a call, besides special tokens and own variables.
VARIABLES = ("messages", "tools", "documents", "add_generation_prompt")
# Set in a call; the generation tag writes these marks around its text.
BEGIN_MARK, END_MARK = "generation_begin_mark", "generation_end_mark"


def compile_template(text: str, now: Callable[[], datetime.datetime]) -> Any:
    """Returns a template, ready to render.

    Args:
      text: Of the template.
      now: The time that `strftime_now` tells.

    Raises:
      ChatTemplateError: If it is no template, or calls a helper that does not exist.
    """
    jinja2 = _packages.load("jinja2", "`kd.lm.ChatTemplate`")
    environment = _sandbox()(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _generation_tag()],
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda format: now().strftime(format),
    }
    try:
        _check_helpers(environment, text)
        return environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise _errors.ChatTemplateError(
            f"The chat template is wrong in line {error.lineno}: {error.message}"
        ) from None


def has_generation_tag(text: str) -> bool:
    """Whether a template marks what the assistant writes."""
    return "generation" in text and "endgeneration" in text


class RefusedError(Exception):
    """A template called `raise_exception`."""


def _raise_exception(message: str) -> None:
    raise RefusedError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own sorts keys, and writes `<` and `'` as escapes for HTML.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _sandbox() -> Any:
    return _packages.load("jinja2.sandbox", "`kd.lm`").ImmutableSandboxedEnvironment


@functools.cache
def _generation_tag() -> type:
    """Returns the jinja2 extension of `{% generation %}`.

    jinja2 is imported when a template is compiled: the class is made then.
    """
    ext, nodes = (
        _packages.load(f"jinja2.{name}", "`kd.lm`") for name in ("ext", "nodes")
    )

    def parse(self: Any, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_mark", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def mark(self: Any, context: Any, caller: Callable[[], str]) -> str:
        del self
        return context.get(BEGIN_MARK, "") + caller() + context.get(END_MARK, "")

    def fill(namespace: dict[str, Any]) -> None:
        namespace |= {"tags": {"generation"}, "parse": parse, "_mark": mark}

    return types.new_class("GenerationTag", (ext.Extension,), exec_body=fill)


def _check_helpers(environment: Any, text: str) -> None:
    """Raises if the template calls a function that nobody defines."""
    meta, nodes = (_packages.load(f"jinja2.{n}", "`kd.lm`") for n in ("meta", "nodes"))
    tree = environment.parse(text)
    unknown = meta.find_undeclared_variables(tree) - environment.globals.keys()
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in unknown:
            name = call.node.name
            known = sorted(environment.globals)
            raise _errors.ChatTemplateError(
                f"The chat template calls `{name}` in line {call.lineno}, which is no "
                f"helper.{errors.did_you_mean(name, known)} There are {known}."
            )
