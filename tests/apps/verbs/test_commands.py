"""`kauldron apps <verb>` as a user types it: exit codes, messages, JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from absl import flags

from kauldron import apps
from kauldron.apps.bundles import folders
from kauldron.cli import apps as commands
from tests.apps.verbs.conftest import TRUSTED


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """Runs a command in this process; returns exit code, stdout, stderr."""
    monkeypatch.delenv("KAULDRON_DEBUG", raising=False)
    monkeypatch.setenv(folders.ENV_VAR, str(tmp_path / "installed"))

    def call(verb, *args):
        function = getattr(commands, verb.replace("-", "_"))
        argv = ["kauldron", *map(str, args)]
        code = function(argv, flag_values=flags.FlagValues())
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def test_what_python_does_the_command_does(call, app, digits, digits_app, tmp_path):
    code, out, _ = call(
        "infer", digits_app, f"--input={digits}/d*.png", f"--out={tmp_path}/a", "--json"
    )
    app.infer(digits / "d*.png", out=tmp_path / "b")
    for file in ("logits.csv", "result.json"):
        assert (tmp_path / "a" / file).read_bytes() == (
            tmp_path / "b" / file
        ).read_bytes()
    assert code == 0
    result = apps.read_result(tmp_path / "b").to_json()
    assert json.loads(out) == {"out": f"{tmp_path}/a", **result}


def test_progress_is_told_line_by_line(call, digits, digits_app, tmp_path):
    _, out, _ = call(
        "pipeline",
        digits_app,
        f"--input=image={digits}/d0.png",
        f"--reference=label={digits}/labels.csv",
        "--mc=2",
        "--member=step_1",
        "--with_uncertainty",
        f"--out={tmp_path}/out",
        "--progress=lines",
    )
    lines = [json.loads(line) for line in out.splitlines() if line[0] == "{"]
    assert lines[0] == {"progress": 0.0, "message": "1 case"}
    assert lines[-1] == {"progress": 1.0, "message": "done"}
    assert [x["progress"] for x in lines] == sorted(x["progress"] for x in lines)
    result = apps.read_result(tmp_path / "out")
    assert result.applied["members"] == ["step_1"]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["--input=imag={digits}/d0.png"], "there is no input 'imag'"),
        (["--input={digits}/none.png"], "none.png' of 'image' does not exist"),
        (["--input={digits}/labels.csv"], "'image' is of the kind 'image'"),
        (["--input="], "no file is given"),
        ([], "needs the input 'image'"),
        (["--input={digits}/d0.png", "--mc=17"], "up to 16 draws of dropout: got"),
        (["--input={digits}/d0.png", "--tta=1"], "up to 0 augmented copies"),
        (["--input={digits}/d0.png", "--ensemble=3"], "1 to 2 for the app"),
        (["--input={digits}/d0.png", "--member=step_3"], "Did you mean 'step_2'"),
        (["--input={digits}/d0.png", "--cfg.seed=3"], "does not let a call set"),
        (["--input={digits}/d0.png", "--progress=bar"], "`--progress` is one of"),
    ],
)
def test_a_mistake_ends_with_2_and_writes_nothing(
    call, digits, digits_app, tmp_path, args, match
):
    given = [arg.format(digits=digits) for arg in args]
    code, _, err = call("infer", digits_app, *given, f"--out={tmp_path}/out")
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert match in err and "Traceback" not in err


def test_a_folder_that_cannot_be_written_is_told(call, digits, digits_app, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(
        "infer", digits_app, f"--input={digits}/d0.png", f"--out={tmp_path}/file/out"
    )
    assert code == 2 and "Results cannot be written to" in err


def test_a_damaged_app_is_told(call, digits_app, digits, tmp_path):
    broken = shutil.copytree(digits_app, tmp_path / "broken")
    program = broken / "program" / "model.stablehlo"
    program.write_bytes(program.read_bytes()[::-1])
    for verb, args in (
        ("inspect", []),
        ("infer", [f"--input={digits}/d0.png", f"--out={tmp_path}/out"]),
        ("install", []),
    ):
        code, _, err = call(verb, broken, *args)
        assert code == 2 and "program/model.stablehlo' has another checksum" in err


def test_a_config_that_was_slipped_in_executes_nothing(digits_app, digits, tmp_path):
    """Even with right checksums: only names of known packages are called."""
    evil = shutil.copytree(digits_app, tmp_path / "evil")
    config = json.loads((evil / "inputs.json").read_text())
    mark = tmp_path / "was_here"
    config["transforms"].append({"__qualname__": "os:mkdir", "0": str(mark)})
    (evil / "inputs.json").write_text(json.dumps(config))
    manifest = apps.read_manifest(digits_app)
    from kauldron.apps.bundles import manifest as manifest_lib

    manifest_lib.write_manifest(evil, manifest)
    with apps.App(evil) as app, pytest.raises(Exception, match="os:mkdir"):
        app.infer(digits / "d0.png", out=tmp_path / "out")
    assert not mark.exists()


def test_an_app_is_bundled_inspected_installed_and_listed(
    call, digits, digits_app, tmp_path
):
    code, out, err = call(
        "bundle",
        f"--workdir={digits}/run",
        f"--out={tmp_path}/strokes.zip",
        "--labels=0=bar,1=cross:#ff0000",
        "--licence=CC0",
        "--max_mc=0",
        "--member=1",
        f"--trust={','.join(TRUSTED)}",
    )
    assert code == 0, err
    assert "licence: CC0" in out
    code, out, _ = call("inspect", f"{tmp_path}/strokes.zip", "--json")
    labels = json.loads(out)["outputs"][0]["labels"]
    assert labels["1"] == {"name": "cross", "colour": "#ff0000"}
    assert json.loads(out)["max_mc"] == 0
    assert json.loads(out)["members"] == ["step_2", "step_1"]
    assert call("install", f"{tmp_path}/strokes.zip")[0] == 0
    _, out, _ = call("ls", "--json")
    assert [entry["name"] for entry in json.loads(out)] == ["strokes"]
    code, _, err = call(
        "infer", "strokes", f"--input={digits}/d0.png", f"--out={tmp_path}/out"
    )
    assert (code, err) == (0, "")
    code, _, err = call("bundle", f"--workdir={digits}/run", f"--out={digits}/run")
    assert code == 2 and "exists: choose another name" in err


@pytest.mark.parametrize(
    ("arg", "match"),
    [
        ("--allow=bach_size", "Did you mean 'batch_size'?"),
        ("--labels=0=bar,4=liver:#aa3333", "no class 4, those of 'logits' are 0 to 3"),
        ("--member=7", "has no checkpoint of step 7. There are steps [0, 1, 2]"),
        ("--allow=batch_size,traind_ds.*", "Did you mean 'train_ds'?"),
    ],
)
def test_what_the_run_does_not_have_is_not_bundled(call, digits, tmp_path, arg, match):
    out, trust = tmp_path / "app", f"--trust={','.join(TRUSTED)}"
    code, _, err = call(
        "bundle", f"--workdir={digits}/run", f"--out={out}", trust, "--max_mc=0", arg
    )
    assert (code, out.exists()) == (2, False)
    assert match in err and "Traceback" not in err


@pytest.mark.parametrize("name", ["text.png", "text.npy"])
def test_a_file_that_is_no_image_is_told_by_its_name_alone(
    call, digits, digits_app, tmp_path, name
):
    (tmp_path / name).write_text("hello")
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "new" / "out", tmp_path / "empty"):
        code, _, err = call(
            "infer", digits_app, f"--input={tmp_path}/{name}", f"--out={out}"
        )
        assert code == 2 and str(tmp_path) not in err and "CaseElements" not in err
        told = "is no image that can be" if name == "text.png" else "is no array of"
        assert f"{name!r} {told}" in err
    # What was made for results is removed, what was there stays.
    assert {path.name for path in tmp_path.iterdir()} == {name, "empty"}


def test_a_list_says_what_is_damaged_and_that_there_is_nothing(
    call, digits_app, tmp_path
):
    assert call("ls") == (0, "No app is installed.\n", "")
    assert call("ls", "--json")[1] == "[]\n"
    code, _, err = call("ls", tmp_path / "none")
    assert code == 2 and "There is no folder" in err
    broken = shutil.copytree(digits_app, tmp_path / "apps" / "broken")
    (broken / "inputs.json").write_bytes((broken / "inputs.json").read_bytes()[::-1])
    code, out, _ = call("ls", tmp_path / "apps")
    assert code == 0 and out.startswith(f"{broken}: DAMAGED: ")
    [entry] = json.loads(call("ls", tmp_path / "apps", "--json")[1])
    assert "'inputs.json' has another checksum" in entry["damaged"]


def test_the_command_that_was_typed_is_told_with_an_app(call, tmp_path):
    code, _, err = call("infer", "--input=x", f"--out={tmp_path}/out")
    assert code == 2 and "`kauldron apps infer digits_app" in err


def test_code_that_is_not_trusted_is_not_run(call, digits, digits_app, tmp_path):
    code, _, err = call("fine-tune", digits_app, "--steps=1", f"--out={tmp_path}/out")
    assert code == 2 and "runs code of 'tests'" in err and "--trust_code" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_commands_of_a_job_run_in_a_process_of_their_own(
    digits, digits_app, tmp_path
):
    inputs = {"image": (f"{digits}/d0.png",)}
    call = apps.Call(verb="infer", inputs=inputs, mc=2)
    arguments = call.to_arguments(digits_app, tmp_path / "out", progress="lines")
    command = [sys.executable, "-m", "kauldron.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["progress"] == 0
    assert apps.read_result(tmp_path / "out").applied["mc"] == 2


@pytest.mark.slow
def test_sources_go_along_and_run_where_they_are_trusted(digits, tmp_path):
    """A transform of one's own, in an app that is used where it cannot be imported."""
    package = tmp_path / "source" / "my_inks"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import dataclasses\n"
        "from kauldron.data.transforms import base\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class Dark(base.ElementWiseTransform):\n"
        "    def map_element(self, element):\n"
        "        return element * 0\n"
    )
    program = f"""
import sys
from kauldron import apps, konfig
from kauldron.workdir import workdirs
sys.path.insert(0, {str(package.parent)!r})
cfg = workdirs.load_config({str(digits / "run")!r}, trusted=["*"])
dark = {{"__qualname__": "my_inks:Dark", "key": "image"}}
cfg.eval_ds.transforms = [*cfg.eval_ds.transforms, konfig.ConfigDict(dark)]
apps.bundle_trainer(konfig.resolve(cfg), cfg, "app", code=["my_inks"])
"""
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True
    )
    with pytest.raises(apps.AppError, match="runs code of 'my_inks'"):
        apps.App(tmp_path / "app")
    with apps.App(tmp_path / "app", trust_code=True) as app:
        results = [
            app.infer(digits / f"d{i}.png", out=tmp_path / f"out{i}") for i in (0, 1)
        ]
    # All pictures are dark, and alike.
    values = [list(result.values["cases"].values()) for result in results]
    assert values[0] == values[1]
