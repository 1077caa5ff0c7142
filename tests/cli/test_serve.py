"""`kauldron serve`: mistakes are told before a model is loaded."""

from __future__ import annotations

import sys

import pytest

from kauldron import kd
from kauldron.cli import serve


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Say which model with one of --model, --workdir, --hf, --gguf"),
        (["--hf=a", "--gguf=b"], "got --hf and --gguf"),
        (["--model=x", "--port=70000"], "from 0 to 65535"),
        (["--model=x", "--port=-1"], "`--port` takes"),
        (["--model=x", "--host=nowhere.invalid"], "There is no address"),
        (["--model=x", "--api_key_file=nowhere"], "cannot be read"),
        (["--model=x", "--pord=1"], "Did you mean '--port'?"),
    ],
)
def test_mistakes(call, flags, message):
    code, out, err = call(serve.main, *flags)
    assert (code, out) == (2, "")
    assert message in err


def test_a_port_that_is_taken_is_told(call):
    with kd.serve.open_port(port=0) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        code, _, err = call(serve.main, "--model=x", f"--port={port}")
    assert code == 2
    assert f"Port {port} of 127.0.0.1 cannot be had" in err
    assert "`--port=0` is one that is free" in err


def test_a_missing_extra_is_told(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, out, err = call(serve.main, "--model=x", "--port=0")
    assert (code, out) == (2, "")
    assert "pip install 'kauldron[serve]'" in err
