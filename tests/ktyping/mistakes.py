"""Ten mistakes with shapes, made with ktyping and with jaxtyping.

`docs/shapes.md` shows both messages of each; `test_messages.py` keeps ours there true.
`python -m tests.ktyping.mistakes` prints them all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from kauldron import ktyping as kt

F32 = np.float32


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
      title: What was done wrong.
      parameters: Name -> annotation, without the array type's library.
      result: Annotation of the result.
      args: What the function is called with.
      body: What it returns, from its arguments.
    """

    title: str
    parameters: dict[str, str]
    result: str
    args: tuple
    body: Callable = lambda *args: args[0]

    def ours(self) -> str:
        """Returns the message of ktyping."""
        return self._message(kt.typechecked, {"kt": kt}, "kt.{}[{}]")

    def theirs(self) -> str:
        """Returns the message of jaxtyping with beartype; `""` if there is none."""
        import beartype
        import jaxtyping

        names = {"jt": jaxtyping, "np": np}
        return self._message(
            jaxtyping.jaxtyped(typechecker=beartype.beartype),
            names,
            "jt.{}[np.ndarray, {}]",
        )

    def source(self, form: str) -> str:
        def annotate(text: str) -> str:
            return re.sub(
                r"(\w+)\[('[^']*')\]", lambda m: form.format(m[1], m[2]), text
            )

        parameters = ", ".join(
            f"{n}: {annotate(a)}" for n, a in self.parameters.items()
        )
        return (
            f"def attend({parameters}) -> {annotate(self.result)}:\n"
            f"    return body({', '.join(self.parameters)})\n"
        )

    def _message(self, decorate: Callable, names: dict, form: str) -> str:
        source = self.source(form)
        namespace = {**names, "body": self.body, "__name__": "model"}
        exec(compile(source, "model.py", "exec"), namespace)
        try:
            decorate(namespace["attend"])(*self.args)
        except Exception as error:
            return str(error)
        return ""


def _zeros(*shape: int, dtype=F32) -> np.ndarray:
    return np.zeros(shape, dtype)


_QK = {"q": "Float['*b n d']", "k": "Float['*b m d']"}

MISTAKES = [
    Mistake(
        "A size differs between two arguments",
        _QK,
        "Float['*b n m']",
        (_zeros(8, 16, 64), _zeros(8, 20, 32)),
    ),
    Mistake(
        "Batch dimensions differ",
        _QK,
        "Float['*b n m']",
        (_zeros(8, 16, 64), _zeros(4, 20, 64)),
    ),
    Mistake(
        "An axis is missing",
        {"image": "Float['*b h w c']", "mask": "Float['*b h w 1']"},
        "Float['*b h w c']",
        (_zeros(8, 32, 32, 3), _zeros(32, 32)),
    ),
    Mistake(
        "A wrong dtype",
        {"logits": "Float['*b n']", "labels": "Int['*b 1']"},
        "Float['*b 1']",
        (_zeros(8, 10), _zeros(8, 1)),
    ),
    Mistake(
        "No array at all",
        {"x": "Float['n d']"},
        "Float['n d']",
        ([1.0, 2.0],),
    ),
    Mistake(
        "The result is wrong",
        _QK,
        "Float['*b n m']",
        (_zeros(8, 16, 64), _zeros(8, 20, 64)),
        lambda q, k: np.swapaxes(q @ np.swapaxes(k, -1, -2), -1, -2),
    ),
    Mistake(
        "An expression does not come out",
        {"x": "Float['h w']", "half": "Float['h//2 w']"},
        "Float['h w']",
        (_zeros(32, 32), _zeros(15, 32)),
    ),
    Mistake(
        "Not broadcastable",
        {"x": "Float['*b c']", "scale": "Float['*#b c']"},
        "Float['*b c']",
        (_zeros(8, 16, 3), _zeros(1, 4, 3)),
    ),
    Mistake(
        "One of two alternatives, but which?",
        {"x": "Float['n d'] | None", "y": "Float['n d'] | Int['n']"},
        "Float['n d']",
        (_zeros(8, 3), _zeros(8, 4)),
    ),
    Mistake(
        "One item of many is wrong",
        {"layers": "dict[str, Float['d']]", "x": "Float['d']"},
        "Float['d']",
        ({"a": _zeros(3), "b": _zeros(3), "c": _zeros(4)}, _zeros(3)),
        lambda layers, x: x,
    ),
]


if __name__ == "__main__":
    for i, mistake in enumerate(MISTAKES, 1):
        print(f"\n### {i}. {mistake.title}\n\n```text\n{mistake.ours()}\n```")
        print(f"\n```text\n{mistake.theirs()}\n```")
