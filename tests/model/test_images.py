"""Vision transformers: pixels and logits of another implementation, steps of an image processor, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.conversion.measures.bounds import stage_bounds
from freediv.conversion.measures.headroom import measure_headroom
from freediv.errors import UserError
from freediv.model import convert_functions, fold, forward, prepare_inputs, read_model, read_reader, write_model
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.patches import Patches
from freediv.model.reading import parse_reader
from freediv.model.reading.images import ImageReader
from freediv.model.reading.processor import parse_processor
from PIL import Image

FAMILIES = Path(__file__).parent / "families"
VISION = ("vit-classifier", "deit-classifier")


def told(directory: Path, name: str = "expected.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    return found


def changed(tmp_path: Path, file: str, source: str = "vit-classifier", **changes: Any) -> Path:
    """A copy whose `file` says something else (None: says nothing)."""
    directory = tmp_path / "model"
    shutil.copytree(FAMILIES / source, directory)
    found = told(directory, file) | changes
    found = {key: value for key, value in found.items() if value is not None}
    (directory / file).write_text(json.dumps(found), encoding="utf-8")
    return directory


def processor(**settings: Any) -> Any:
    return parse_processor({"size": {"height": 4, "width": 4}, **settings}, "vit")


def rows(directory: Path) -> np.ndarray:
    model = read_model(directory)
    images = [directory / item["image"] for item in told(directory)["items"]]
    return np.stack(read_reader(directory).sequences(images, model.architecture))


@pytest.mark.parametrize("name", VISION)
def test_pixels_and_logits_are_those_of_another_implementation(name: str) -> None:
    directory = FAMILIES / name
    model, reader = read_model(directory), read_reader(directory)
    assert isinstance(reader, ImageReader)
    patches = model.architecture.patches
    assert patches is not None
    items = told(directory)["items"]
    pixels = [reader.processor.pixels(directory / item["image"], patches).reshape(-1)[:12] for item in items]
    np.testing.assert_allclose(pixels, [item["pixels"] for item in items], atol=1e-5)
    given, wanted = rows(directory), [item["output"] for item in items]
    np.testing.assert_allclose(forward(model.architecture, model.parameters, {"rows": given}), wanted, atol=1e-5)
    folded, ones = fold(model.architecture, model.parameters), np.ones(given.shape[:2])
    inputs = prepare_inputs(model.architecture, given, ones)
    assert inputs.keys() == {"rows"}  # no mask: an image has no length to hide
    np.testing.assert_allclose(forward(model.architecture, folded, inputs, folded=True), wanted, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ATTENTIONS))
def test_every_attention_folds_without_a_mask_and_keeps_within_its_bounds(name: str) -> None:
    directory = FAMILIES / "vit-classifier"
    model, given = read_model(directory), rows(directory)
    functions = tuple(one.model_copy(update={"attention": name}) for one in model.architecture.functions)
    model = convert_functions(model, functions=functions)
    plain = forward(model.architecture, model.parameters, {"rows": given})
    folded = fold(model.architecture, model.parameters)
    secure = forward(model.architecture, folded, {"rows": given}, folded=True)
    np.testing.assert_allclose(secure, plain, rtol=1e-3, atol=1e-4)
    bounds = stage_bounds(model)
    for stage, largest in measure_headroom(model, list(given)).largest.items():
        assert largest <= bounds[stage], stage


def test_a_mean_is_of_patches_and_is_written_down(tmp_path: Path) -> None:
    directory = FAMILIES / "deit-classifier"
    model, given = read_model(directory), rows(directory)
    mean = replace(model, architecture=model.architecture.model_copy(update={"pooling": "mean"}))
    write_model(mean, tmp_path / "mean")
    again = read_model(tmp_path / "mean")
    assert again.architecture == mean.architecture
    seen: dict[str, np.ndarray] = {}
    logits = forward(again.architecture, again.parameters, {"rows": given}, observe=seen.__setitem__)
    stream = np.asarray(seen["encoder.2.feed_forward/output"], np.float64)
    own = {key: value.astype(np.float64) for key, value in model.parameters["classifier"].items()}
    centred = stream - stream.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * own["norm.weight"] + own["norm.bias"]
    wanted = normed[:, 2:].mean(1) @ own["weight"] + own["bias"]  # without the two tokens
    np.testing.assert_allclose(logits, wanted, atol=1e-4)


def test_patches_are_cut_as_a_convolution_reads_them() -> None:
    patches = Patches(height=5, width=6, patch_height=2, patch_width=3, channels=2, tokens=1)
    pixels = np.arange(60, dtype=np.float32).reshape(2, 5, 6)
    found = patches.cut(pixels)
    assert found.shape == (patches.rows, patches.row_size) == (5, 12)  # the fifth line of pixels is not seen
    assert not found[0].any()
    assert found[4].tolist() == [15, 16, 17, 21, 22, 23, 45, 46, 47, 51, 52, 53]


def test_an_image_is_the_right_way_up_in_colour_and_cropped_from_the_middle(tmp_path: Path) -> None:
    patches = Patches(height=4, width=4, patch_height=2, patch_width=2)
    plain = {"do_resize": False, "do_normalize": False, "do_center_crop": True, "crop_size": 4}
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7
    Image.fromarray(grey).save(tmp_path / "grey.png")
    found = processor(**plain).pixels(tmp_path / "grey.png", patches)
    np.testing.assert_allclose(found, np.broadcast_to(grey[1:5, 1:5] / 255, (3, 4, 4)), atol=1e-6)
    small = Image.fromarray(grey[:2, :4])
    small.save(tmp_path / "small.png")
    around = processor(**plain).pixels(tmp_path / "small.png", patches)[0]
    np.testing.assert_allclose(around, np.pad(grey[:2, :4], ((1, 1), (0, 0))) / 255, atol=1e-6)
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    Image.fromarray(grey).save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_allclose(processor(**plain).pixels(tmp_path / "turned.png", patches), found[:, ::-1, ::-1])


def test_what_is_left_out_of_a_configuration_is_what_its_class_has() -> None:
    deit = parse_processor({"feature_extractor_type": "DeiTFeatureExtractor"}, "deit")
    assert (deit.size, deit.crop_size, deit.resample) == (
        {"height": 256, "width": 256},
        {"height": 224, "width": 224},
        3,
    )
    vit = parse_processor({"size": 384, "image_processor_type": "ViTImageProcessorFast"}, "vit")
    assert (vit.size, vit.resample, vit.do_center_crop) == ({"height": 384, "width": 384}, 2, False)
    assert vit.largest_pixel == pytest.approx(1.0)
    usual = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    assert processor(**usual).largest_pixel == pytest.approx((1 - 0.406) / 0.225)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("preprocessor_config.json", {"size": 32}, "makes images of 32 x 32 pixels, and the model reads 24 x 24"),
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}, "freediv reads ViTImageProc"),
        ("preprocessor_config.json", {"size": {"longest_edge": 3}}, "size"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "image_std: deviations are above zero"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}, "image_mean has 2 numbers, and an image 3 channels"),
        ("preprocessor_config.json", {"resample": 9}, "resample: "),
        ("config.json", {"patch_size": 32}, "a patch of 32 x 32 pixels is larger than an image of 24 x 24"),
        ("config.json", {"image_size": "24"}, "image_size: '24' is neither a number of pixels nor"),
        (
            "config.json",
            {"patch_size": 6},
            r"projection.weight gives shape \[48, 32\], config.json asks for \[108, 32\]",
        ),
        ("config.json", {"num_channels": 4}, "the model reads 4 channels; images have 1 or 3"),
        ("config.json", {"architectures": ["ViTForMaskedImageModeling"]}, "which answers pixels for the masked ones"),
        ("config.json", {"architectures": ["ViTForTokenClassification"]}, "ViTForImageClassification .one label out"),
        ("config.json", {"freediv": {"answer": "pieces"}}, "gives none of 'pieces'"),
    ],
)
def test_directories_that_cannot_be_read_are_refused_by_one_line(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_model(changed(tmp_path, file, **changes))
    assert "\n" not in str(caught.value)


def test_classes_of_one_name_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    """ImageNet's 134 and 517 are both called crane in the checkpoints that are published."""
    directory = changed(tmp_path, "config.json", id2label={"0": "crane", "1": "dog", "2": "crane"})
    assert read_model(directory).architecture.label_names == ("crane (0)", "dog", "crane (2)")


def test_a_checkpoint_without_biases_of_queries_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    directory = changed(tmp_path, "config.json", qkv_bias=False)
    tensors = load_file(directory / "model.safetensors")
    names = [name for name in tensors if name.endswith((".query.bias", ".key.bias", ".value.bias"))]
    save_file({name: value for name, value in tensors.items() if name not in names}, directory / "model.safetensors")
    assert len(names) == 9
    assert not read_model(directory).parameters["encoder.1.attention"]["qkv.bias"].any()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"size": 7}', '{"image_processor_type": "Own"}', "9" * (1 << 17)])
def test_a_strangers_image_processor_is_refused_where_it_does_not_fit(content: str) -> None:
    architecture = read_model(FAMILIES / "vit-classifier").architecture
    with pytest.raises(ValueError):
        parse_reader(architecture, content)


def test_two_classifiers_answer_with_the_mean_of_their_logits(tmp_path: Path) -> None:
    """DeiTForImageClassificationWithTeacher: a classifier of the class token, and one of the distillation token."""
    from safetensors.numpy import load_file, save_file

    source, random = FAMILIES / "deit-classifier", np.random.default_rng(0)
    classes = ["DeiTForImageClassificationWithTeacher"]
    directory = changed(tmp_path, "config.json", "deit-classifier", architectures=classes)
    tensors = load_file(source / "model.safetensors")
    del tensors["classifier.weight"], tensors["classifier.bias"]
    weights = {name: random.normal(0, 0.3, (3, 32)).astype(np.float32) for name in ("cls", "distillation")}
    biases = {name: random.normal(0, 0.3, 3).astype(np.float32) for name in weights}
    tensors |= {f"{name}_classifier.weight": weight for name, weight in weights.items()}
    save_file(
        tensors | {f"{name}_classifier.bias": bias for name, bias in biases.items()}, directory / "model.safetensors"
    )
    given, seen = rows(source), dict[str, np.ndarray]()
    model, one = read_model(directory), read_model(source)
    forward(one.architecture, one.parameters, {"rows": given}, observe=seen.__setitem__)
    stream, own = np.asarray(seen["encoder.2.feed_forward/output"], np.float64), one.parameters["classifier"]
    centred = stream - stream.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * own["norm.weight"] + own["norm.bias"]
    both = [normed[:, row] @ weights[name].T + biases[name] for row, name in enumerate(("cls", "distillation"))]
    wanted = np.mean(both, axis=0)
    logits = forward(model.architecture, model.parameters, {"rows": given})
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    folded = fold(model.architecture, model.parameters)
    np.testing.assert_allclose(forward(model.architecture, folded, {"rows": given}, folded=True), wanted, atol=1e-5)
    assert all(np.isfinite(bound) for bound in stage_bounds(model).values())
    write_model(model, tmp_path / "again")
    again = read_model(tmp_path / "again")
    assert told(tmp_path / "again", "config.json")["architectures"] == classes
    assert again.architecture == model.architecture
    np.testing.assert_allclose(forward(again.architecture, again.parameters, {"rows": given}), wanted, atol=1e-5)
