"""`kauldron <noun> <verb>`: what each command prints."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys

from kauldron.cli import config, data, run

ROOT = pathlib.Path(__file__).parents[2]
CLASSIFIER = "--cfg=examples/digits_classifier.py"


def test_show_prints_origin_and_config(call):
    code, out, _ = call(config.show, CLASSIFIER, "--cfg.seed=7")
    assert code == 0
    lines = out.splitlines()
    assert lines[:2] == ["# examples/digits_classifier.py", "# --cfg.seed=7"]
    assert "    seed=7," in lines


def test_show_imports_no_array_library():
    program = (
        "import sys; from kauldron.cli import main\n"
        f"code = main.main(['kauldron', 'config', 'show', {CLASSIFIER!r}])\n"
        "assert code == 0\n"
        "print({'jax', 'flax', 'numpy', 'optax', 'sklearn'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "set()"


def test_check_finds_mistakes_without_building(call, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from kauldron import konfig\n"
        "with konfig.imports():\n"
        "    import optax\n"
        "def get_config():\n"
        "    return konfig.ConfigDict({'a': optax.adam(learning_rte=1)})\n"
    )
    assert call(config.check, CLASSIFIER)[0] == 0
    code, out, err = call(config.check, f"--cfg={bad}")
    assert code == 2
    assert "learning_rte" in out
    assert "learning_rate" in out
    assert "cannot be resolved" in err


def test_resolve_prints_the_objects(call):
    code, out, _ = call(config.resolve, CLASSIFIER)
    assert code == 0
    assert "Trainer(" in out
    assert "split_seed=0" in out  # a default: it does not stand in the config


def test_diff_names_what_changed(call):
    file = "examples/digits_classifier.py"
    code, out, _ = call(config.diff, file, CLASSIFIER, "--cfg.seed=7")
    assert (code, out.strip()) == (1, "~ cfg.seed: 42 -> 7")
    code, out, _ = call(config.diff, file, file)
    assert (code, out.strip()) == (0, "No difference.")
    code, _, err = call(config.diff)
    assert code == 2
    assert "two paths" in err


def test_diff_with_a_damaged_run_says_what_mends_it(call, tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 1, "mod')
    (tmp_path / "config.py").write_text("")
    code, out, err = call(config.diff, str(tmp_path), CLASSIFIER)
    assert (code, out) == (2, "")
    assert f"the same config is in '{tmp_path}/config.py'" in err
    assert "python -c 'from kauldron import konfig; cfg = " in err


def test_printed_python_makes_the_same_config(call, tmp_path):
    _, out, _ = call(config.to_python, CLASSIFIER, "--cfg.seed=7")
    written = tmp_path / "written.py"
    written.write_text(out)
    code, out, _ = call(config.diff, str(written), CLASSIFIER, "--cfg.seed=7")
    assert (code, out.strip()) == (0, "No difference.")


def test_sweeps_are_listed_as_flags(call, tmp_path):
    file = tmp_path / "with_sweep.py"
    file.write_text(
        "from kauldron import konfig\n"
        "def get_config():\n"
        "    return konfig.ConfigDict({'lr': 1.0})\n"
        "def sweep():\n"
        "    '''Learning rates.'''\n"
        "    for lr in (0.1, 0.2):\n"
        "        yield {'lr': lr}\n"
    )
    code, out, _ = call(config.sweeps, f"--cfg={file}")
    assert code == 0
    assert out.splitlines() == [
        "default (2 runs): Learning rates.",
        "  --cfg.lr=0.1",
        "  --cfg.lr=0.2",
    ]


def test_run_check_compiles_nothing_and_reports_keys(call):
    assert call(run.check, CLASSIFIER)[0] == 0
    code, _, err = call(
        run.check, CLASSIFIER, "--cfg.train_losses.xentropy.logits=preds.logit"
    )
    assert code == 2
    assert "Did you mean 'preds.logits'" in err


def test_eval_shape_lists_every_key(call):
    code, out, _ = call(run.eval_shape, CLASSIFIER)
    assert code == 0
    lines = out.splitlines()
    assert "preds.logits: f32[64 10]" in lines
    assert "interms.layers_0.__call__[0]: f32[64 8 8 32]" in lines
    assert "grads.layers_6.kernel: f32[1024 10]" in lines


def test_element_spec_lists_the_batch(call):
    code, out, _ = call(data.element_spec, CLASSIFIER, "--ds_path=eval_ds")
    assert code == 0
    assert out.splitlines()[1:] == ["image: f32[64 8 8 1]", "label: i32[64 1]"]


def test_element_spec_of_a_dataset_that_is_not_on_the_disk_downloads_nothing(
    call, tmp_path, monkeypatch
):
    def connect(*args, **kwargs):
        raise AssertionError("The network was used.")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    folder = f"--cfg.train_ds.data_dir={tmp_path / 'tfds'}"
    autoencoder = "--cfg=examples/mnist_autoencoder.py"
    code, out, err = call(data.element_spec, autoencoder, folder)
    assert code == 0
    # What its transforms make of u8[28 28 1] and a class.
    assert "image: f32[256 28 28 1]" in out.splitlines()
    assert "'mnist' is not in" in out + err
    assert not (tmp_path / "tfds").exists()
    assert "tensorflow" not in sys.modules


def test_config_of_a_run_names_only_trusted_packages(call, tmp_path):
    from examples import digits_classifier
    from kauldron import konfig

    path = tmp_path / "config.json"
    path.write_text(digits_classifier.get_config().to_json())
    code, out, _ = call(config.check, f"--cfg={path}")
    assert code == 2
    assert "--trust=examples" in out
    assert call(config.check, f"--cfg={path}", "--trust=examples")[0] == 0
    assert not konfig.diff(path, digits_classifier.get_config())


def test_data_show_prints_a_table_and_writes_a_picture(call, tmp_path):
    from PIL import Image

    picture = tmp_path / "batch.png"
    code, out, _ = call(data.show, CLASSIFIER, f"--out={picture}")
    assert code == 0
    assert "image  float32  (64, 8, 8, 1)  min 0" in out
    assert Image.open(picture).width > 64
    code, _, err = call(data.show, CLASSIFIER, f"--out={tmp_path}/new/batch.png")
    assert code == 2 and "There is no folder" in err


def test_data_bench_names_the_stages(call):
    code, out, _ = call(data.bench, CLASSIFIER)
    assert code == 0
    assert "examples/s" in out
    assert "#1 ValueRange" in out


def test_data_fetch_without_a_name_lists_the_datasets(call):
    code, _, err = call(data.fetch)
    assert code == 2
    assert "mnist_5k" in err
    assert "Did you mean 'digits'?" in call(data.fetch, "digts")[2]


def test_misspelt_dataset_names_the_nearest(call):
    code, _, err = call(data.element_spec, CLASSIFIER, "--ds_path=train_d")
    assert code == 2
    assert "train_ds" in err
