"""Pictures of models: what they say, and that it can be read."""

from __future__ import annotations

import inspect
import re
import xml.etree.ElementTree as ET

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from kauldron import errors, kd
from tests import docs_snippets
from tests.modules.graph import models

_SVG = "{http://www.w3.org/2000/svg}"


def spec(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def texts_of(picture):
    """Texts of a picture that is well-formed, on a white ground, with nothing cut."""
    root = ET.fromstring(picture.svg)
    width, height = float(root.get("width")), float(root.get("height"))
    ground = root.find(f"{_SVG}rect")
    assert (ground.get("fill"), float(ground.get("width"))) == ("#ffffff", width)
    found = []
    for text in root.iter(f"{_SVG}text"):
        length = 0.61 * 12 * len(text.text or "")
        x, y = float(text.get("x")) + 18, float(text.get("y")) + 18
        left = x - length / 2 if text.get("text-anchor") == "middle" else x
        assert 0 <= left <= left + length <= width
        assert 12 <= y <= height - 4
        found.append((left, y, length, text.text or ""))
    for i, (left, y, length, text) in enumerate(found):
        for left2, y2, length2, text2 in found[i + 1 :]:
            apart = left + length <= left2 or left2 + length2 <= left
            assert apart or abs(y - y2) >= 12, (text, text2)
    return [text for *_, text in found]


def test_graph_shows_nodes_shapes_parameters_and_how_they_are_used():
    batch = {"image": spec(4, 16), "label": spec(4, dtype="int32")}
    picture = kd.inspect.draw_model(models.two_headed(), batch=batch)
    texts = texts_of(picture)
    assert {"batch.image", "f32[4 16]", "batch.label", "i32[4]"} <= set(texts)
    assert {"both", "add", "encoder", "frozen, 136 parameters"} <= set(texts)
    assert texts.count("Block, weights of 'block'") == 2
    assert "in training only" in texts
    assert {"preds.score", "preds.side"} <= set(texts)
    # 8 + 8 of the norm, 72 of the layer: counted once.
    assert texts[-1] == f"Graph, {136 + 80 + 88 + 9 + 27} parameters"
    # An arrow for each key: those of the side head are dashed.
    arrows = re.findall(r'<path [^>]*marker-end="url\(#arrow\)"/>', picture.svg)
    assert len(arrows) == 10
    assert sum("dasharray" in arrow for arrow in arrows) == 2


def test_unet_of_31_nodes_can_be_read():
    batch = {"image": spec(2, 16, 16, 3)}
    texts = texts_of(kd.inspect.draw_model(models.unet(), batch=batch))
    assert set(models.unet().nodes) <= set(texts)
    assert texts.count("concatenate") == 4
    assert "f32[2 1 1 64]" in texts


def test_graph_shows_which_part_of_an_output_is_read():
    graph = kd.nn.Graph(
        nodes={
            "split": kd.nn.Node(lambda x: {"low": x, "high": [x, x]}, "batch.x"),
            "sum": kd.nn.Node(jnp.add, ["split.high[1]", "split.low"]),
        },
        outputs={"a": ["sum", "batch.y"], "low": "split.low"},
    )
    batch = {"x": spec(3), "y": spec(2)}
    texts = texts_of(kd.inspect.draw_model(graph, batch=batch))
    assert {"reads split.high[1]", "<lambda>"} <= set(texts)
    assert texts.count("reads split.low") == 2
    assert {"low f32[3]", "high[1] f32[3]", "preds.a[1]", "batch.y"} <= set(texts)


class Tower(nn.Module):
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, x, flag=True):
        layer = nn.Dense(8, name="layer")
        x = kd.nn.Dropout(0.5)(layer(layer(x)))
        return {"mean": x.mean(0), "all": (x, x)}


def test_other_models_are_the_tree_of_their_calls():
    picture = kd.inspect.draw_model(Tower(), spec(2, 8), flag=False)
    texts = texts_of(picture)
    assert "input" in texts
    assert "f32[2 8] → all[0] f32[2 8], all[1] f32[2 8], mean f32[8]" in texts
    assert texts.count("layer") == 2
    # The second call has no parameters of its own; a base class is no call.
    assert texts.count("the same parameters") == 1
    assert texts.count("Dropout_0") == 1
    assert texts[-1] == "Tower, 72 parameters"


def test_keys_of_a_model_name_its_inputs():
    model = kd.nn.Sequential([nn.Dense(3)], inputs="batch.x")
    assert "batch.x" in texts_of(kd.inspect.draw_model(model, inputs=spec(2, 8)))


def test_picture_is_shown_in_notebooks_and_saved(tmp_path):
    picture = kd.inspect.draw_model(nn.Dense(3), spec(2, 8))
    assert picture._repr_svg_() == picture.svg
    path = picture.save(tmp_path / "a.svg")
    assert path.read_text("utf-8") == picture.svg
    with pytest.raises(kd.inspect.PictureError, match=r"as \.svg: got '.*a\.png'"):
        picture.save(tmp_path / "a.png")
    with pytest.raises(
        kd.inspect.PictureError, match=r"no folder '.*none' for 'a.svg'"
    ):
        picture.save(tmp_path / "none" / "a.svg")
    with pytest.raises(kd.inspect.PictureFileError, match="Not a directory") as e:
        picture.save(path / "a.svg")
    assert isinstance(e.value, errors.Failure)


def test_example_of_the_docstring_runs(tmp_path):
    text = inspect.getdoc(kd.inspect.draw_model)
    assert docs_snippets.run_docstring("draw_model", text, tmp_path) == 1


def test_names_that_are_markup_are_escaped():
    def less(x):
        return x

    less.__name__ = "a<b & c"
    graph = kd.nn.Graph(nodes={"f": kd.nn.Node(less, "batch.x")}, outputs="f")
    assert "a<b & c" in texts_of(kd.inspect.draw_model(graph, batch={"x": spec(2)}))
