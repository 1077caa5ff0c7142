"""`kauldron apps serve` and `--host`: mistakes are told before anything is started."""

from __future__ import annotations

import pytest
from absl import flags

from kauldron import kd
from kauldron.cli import apps, apps_server


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.delenv("KAULDRON_APPS_TOKEN", raising=False)

    def call(main, *args):
        code = main(["kauldron", *map(str, args)], flag_values=flags.FlagValues())
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    "args, told",
    [
        ((), "Say which apps are served"),
        (("--apps=nowhere",), "There is no app at 'nowhere'"),
        (("--apps=APP", "--host=0.0.0.0"), "Set KAULDRON_APPS_TOKEN"),
        (("--apps=APP", "--token=geheimnis\u2026"), "letters and digits of ASCII"),
        (("--apps=APP", "--warm=tisues"), "Did you mean 'tissues'"),
        (("--apps=APP", "--port=99999"), "from 0 to 65535"),
        (("--apps=APP", "--state=/dev/null/x"), "cannot be used"),
        (("--apps=APP", "--max_jobs=0"), "max_jobs"),
    ],
)
def test_a_server_that_cannot_be_is_told(call, app_path, tmp_path, args, told):
    args = [arg.replace("APP", str(app_path)) for arg in args]
    if not any(arg.startswith("--state") for arg in args):
        args.append(f"--state={tmp_path / 'state'}")
    if not any(arg.startswith("--port") for arg in args):
        args.append("--port=0")
    code, out, err = call(apps_server.serve, *args)
    assert code == 2 and out == "" and told in err
    assert not (tmp_path / "state" / "jobs.sqlite").exists()


def test_a_port_that_is_taken_is_told_first(call, app_path, tmp_path):
    with kd.serve.open_port(port=0) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        flag = f"--state={tmp_path / 'state'}"
        code, _, err = call(
            apps_server.serve, f"--apps={app_path}", f"--port={port}", flag
        )
    assert code == 2 and f"Port {port} of 127.0.0.1 cannot be had" in err


def test_flags_of_servers_have_no_meaning_for_apps_here(call, app_path, tmp_path):
    args = (app_path, "--input=x.nii", f"--out={tmp_path / 'out'}")
    code, _, err = call(apps.infer, *args, "--device=cpu")
    assert code == 2 and "--device is for a server: say --host=URL" in err
    host = "--host=http://127.0.0.1:1"
    code, _, err = call(apps.infer, *args, host, "--trust_code")
    assert code == 2 and "not --host" in err
    code, _, err = call(apps.infer, *args, host)
    assert code == 1 and "`kauldron apps serve` starts one" in err
