"""Writes `chat_renderings.json`: what transformers makes of the templates beside it.

Run once, in an environment with transformers 5.24.0 and jinja2 3.1.6, from the root of the
repository; needs no network: `python -m tests.lm.text.make_chat_renderings`.
"""

from __future__ import annotations

import copy
import json
import pathlib

import jinja2
import transformers
from transformers.utils import chat_template_utils

from tests.lm.text import chat_conversations

_HERE = pathlib.Path(__file__).parent


def main() -> None:
    found: dict[str, dict[str, object]] = {}
    for name, cases in chat_conversations.CASES.items():
        text = (_HERE / "chat_templates" / f"{name}.jinja").read_text("utf-8")
        found[name] = {case: _render(text, cases[case]) for case in cases}
    origin = (
        f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}: "
        "render_jinja_template, with the spans of its generation tags"
    )
    content = json.dumps(
        {"origin": origin, "rendered": found}, indent=1, ensure_ascii=False
    )
    (_HERE / "chat_renderings.json").write_text(content + "\n", "utf-8")


def _render(text: str, case: dict) -> dict[str, object]:
    case = copy.deepcopy(case)
    # As `apply_chat_template` does before.
    messages = chat_template_utils._normalize_chat_messages(case.pop("messages"))
    marked = "endgeneration" in text
    try:
        rendered, spans = chat_template_utils.render_jinja_template(
            [messages],
            chat_template=text,
            return_assistant_tokens_mask=marked,
            **case,
            **chat_conversations.VARIABLES,
        )
    except jinja2.TemplateError as error:
        return {"error": str(error)}
    return {"text": rendered[0]} | ({"spans": spans[0]} if marked else {})


if __name__ == "__main__":
    main()
