"""Images at the door, and on its page: the labels of plaintext, by clients that nobody here wrote; what is none is told
so, before the parties are asked.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from browser import Browser
from deployment.conftest import Cluster
from freediv.model import read_model
from huggingface_hub import InferenceClient
from PIL import Image
from tiny import SENTENCES
from vision import PICTURES, bomb, make_vision, said

from .asking_page import AskingPage
from .conftest import DoorProcess, serving, shown


@pytest.fixture(scope="module")
def labels(opened: DoorProcess, own: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of the pictures, by the model that the door serves from now on."""
    model = make_vision(tmp_path_factory.mktemp("vision") / "model")
    serving(opened, own, model, "classifier")
    found = [one.prediction.name for one in said(read_model(model))]
    assert len(set(found)) > 1
    return found


def sent(door: DoorProcess, content: bytes, path: str = "/", kind: str = "image/png") -> httpx2.Response:
    with door.client() as client:
        return client.post(path, content=content, headers={"content-type": kind})


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def saved(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_hugging_faces_client_classifies_a_picture(opened: DoorProcess, labels: list[str]) -> None:
    client = InferenceClient(model=opened.address)
    for picture, label in zip(PICTURES, labels, strict=True):
        [found] = client.image_classification(str(picture))
        assert (found.label, found.score) == (label, None)  # the parties reveal no score, and none is made up
    [found] = client.image_classification(PICTURES[0].read_bytes())  # sent without a type
    assert found.label == labels[0]
    [found] = client.image_classification(PICTURES[1], top_k=2)  # sent in base64
    assert found.label == labels[1]


def test_pictures_are_answered_in_every_form_that_texts_have(opened: DoorProcess, labels: list[str]) -> None:
    one, other = ({"score": None, "label": label} for label in labels[:2])
    first, second = map(in_base64, PICTURES[:2])
    for path in ("/", "/predict", "/models/kinds", "/models/kinds/predict"):
        assert sent(opened, PICTURES[0].read_bytes(), path).json() == [one]
        several = opened.post(path, {"inputs": [[first], [f"data:image/png;base64,{second}"]]})
        assert several.json() == [[one], [other]], shown(several)
    assert opened.post("/", {"inputs": [first, second], "parameters": {}}).json() == [[one], [other]]
    [told] = sent(opened, PICTURES[1].read_bytes(), "/answers", "application/octet-stream").json()["answers"]
    assert told["entry"] == {"label": labels[1]}
    with Image.open(PICTURES[0]) as file:  # what it says that it is, is not looked at
        assert sent(opened, saved(np.asarray(file), "JPEG", quality=100), kind="image/png").json() == [one]


def test_the_door_says_that_its_model_reads_images(opened: DoorProcess, labels: list[str], door: DoorProcess) -> None:
    size = {"height": 16, "width": 16}
    about = opened.get("/status").json()["models"][0]["about"]
    for told in (opened.get("/info").json(), about):
        assert (told["reads"], told["image_size"], told["max_input_length"]) == ("images", size, 18)
    told = door.get("/info").json()
    assert (told["reads"], told["image_size"]) == ("texts", None)
    described = door.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(described) == {"application/json", "image/png", "image/jpeg"}


WHOLE = PICTURES[0].read_bytes()
WIDE = saved(np.zeros((4, 4), np.uint16), "PNG")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (WHOLE[: len(WHOLE) // 2], 422, "image 0 cannot be read as a PNG or JPEG image"),
        (WHOLE[:8] + bytes(100), 422, "image 0 cannot be read as a PNG or JPEG image"),
        (saved(np.zeros((4, 4), np.uint8), "GIF"), 422, "image 0 cannot be read as a PNG or JPEG image"),
        (b"a warm and funny film", 422, "image 0 cannot be read as a PNG or JPEG image"),
        (b'{"inputs": "a warm and funny film"}', 422, "image 0 cannot be read as a PNG or JPEG image"),
        (b"", 422, "`inputs` 0 is a text, and the model reads images: send a PNG or JPEG"),
        (WIDE, 422, "image 0 has more than 8 bits a channel"),
        (bomb(8200), 422, "image 0 has more than 67,108,864 pixels"),
        (WHOLE + bytes(16_000_000), 413, "the body has more than 16000000 bytes"),
    ],
    ids=["truncated", "damaged", "gif", "text", "json", "nothing", "16 bits", "bomb", "huge"],
)
def test_what_is_no_picture_is_refused_in_one_line(
    opened: DoorProcess, labels: list[str], content: bytes, status: int, words: str
) -> None:
    response = sent(opened, content)
    assert response.status_code == status, shown(response)
    assert response.json()["error"].startswith(words)
    assert (response.json()["error_type"], "\n" in response.json()["error"]) == ("Validation", False)


def test_bombs_are_not_decoded_however_many_there_are(opened: DoorProcess, labels: list[str]) -> None:
    """Two of which each could be read, and together would take 200 MB."""
    each = base64.b64encode(bomb(8000)).decode()
    response = opened.post("/predict", {"inputs": [[each], [each]]})
    assert response.status_code == 413, shown(response)
    assert "more than 67,108,864 pixels together" in response.json()["error"]


def test_a_text_to_a_model_of_images_and_an_image_to_one_of_texts(
    opened: DoorProcess, labels: list[str], door: DoorProcess
) -> None:
    for inputs in (SENTENCES[0], [SENTENCES[0], SENTENCES[1]], [[SENTENCES[0]]]):
        response = opened.post("/predict", {"inputs": inputs})
        assert response.status_code == 422, shown(response)
        assert "`inputs` 0 is a text, and the model reads images" in response.json()["error"]
    image = in_base64(PICTURES[0])
    as_json = (door.post("/predict", {"inputs": one}) for one in (image, f"data:image/png;base64,{image}"))
    for response in (sent(door, WHOLE), sent(door, WHOLE, "/predict"), *as_json):
        assert response.status_code == 422, shown(response)
        assert "`inputs` 0 is an image, and the model reads texts" in response.json()["error"]
    form = {"file": ("cat.png", WHOLE, "image/png")}
    with opened.client() as client:
        assert client.post("/predict", files=form).status_code == 415
    refused = opened.post("/answers", {"inputs": [[image], [base64.b64encode(b"no image").decode()]]})
    assert (refused.status_code, refused.json()["row"]) == (422, 1)


def test_no_log_says_what_was_sent(opened: DoorProcess, labels: list[str]) -> None:
    client = InferenceClient(model=opened.address)
    client.image_classification(str(PICTURES[2]))
    sent(opened, b"zyzzyva" + WHOLE)
    log = "".join(opened.log)
    assert "POST / 422" in log
    for mark in (PICTURES[2].name, PICTURES[2].stem, "zyzzyva", in_base64(PICTURES[2])[:16], "PNG"):
        assert mark not in log


# --- on the page ---


@pytest.fixture
def page(browser: Browser, opened: DoorProcess, labels: list[str]) -> AskingPage:
    shown_page = AskingPage(browser, opened)
    shown_page.wait("document.getElementById('about').textContent.includes('reads images')")
    return shown_page


def shown_pixels(page: AskingPage, canvas: str) -> np.ndarray:
    """What a canvas holds, [height, width, red green blue]."""
    found = page.do(
        f"""(() => {{ const one = document.querySelector({canvas!r});
        const {{ width, height }} = one, seen = one.getContext("2d").getImageData(0, 0, width, height);
        return [height, width, [...seen.data]] }})()"""
    )
    return np.array(found[2]).reshape(found[0], found[1], 4)[..., :3]


def test_pictures_are_chosen_seen_and_answered_in_their_order(
    browser: Browser, page: AskingPage, labels: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "<img src=x onerror=hacked=1>.png"
    broken.write_bytes(WHOLE[:60])
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    with Image.open(PICTURES[0]) as file:
        pixels = np.asarray(file.convert("RGB"))
    (tmp_path / "turned.png").write_bytes(saved(pixels[::-1, ::-1], "PNG", exif=turned))
    files = [*PICTURES, broken, tmp_path / "turned.png"]
    browser.choose("#file", *files)
    page.wait("document.querySelectorAll('#previews li').length === 6")
    names = page.do("[...document.querySelectorAll('#previews small')].map(one => one.textContent)")
    assert names == [file.name for file in files]
    assert page.text("pictures-name") == "6 images"
    for place in (1, 6):  # the right way up
        np.testing.assert_allclose(shown_pixels(page, f"#previews li:nth-child({place}) canvas"), pixels, atol=1)
    assert page.do("document.querySelectorAll('#previews canvas').length") == 5
    assert page.do("document.getElementById('text-field').hidden && document.getElementById('truncate-field').hidden")
    said_then = page.ask()
    assert "5 images answered" in said_then and "1 not asked" in said_then
    rows = page.rows()
    assert [row[2] for row in rows] == [
        *labels, "not asked: cannot be read as a PNG or JPEG image (OSError)", labels[0]
    ]  # fmt: skip
    assert [row[1].strip() for row in rows] == [file.name for file in files]
    assert page.do("document.querySelectorAll('#answers-body canvas').length") == 5
    assert sorted(page.asked()) == sorted(file.stat().st_size for file in files)  # as they are, each once
    entries = page.download("as-json", tmp_path, "answers.json", json.loads)["predictions"]
    assert entries[0] == {"image": PICTURES[0].name, "label": labels[0]}
    assert not [one for one in browser.requested() if PICTURES[0].name in one]
    page.is_inert(refused="status of 422")


def test_pictures_are_asked_by_keyboard_alone_and_dropped(
    browser: Browser, page: AskingPage, opened: DoorProcess, labels: list[str]
) -> None:
    page.click("ask")
    assert "choose an image" in page.said()
    assert page.do("document.activeElement.id") == "file"
    encoded = in_base64(PICTURES[1])
    page.do(
        f"""(() => {{ const bytes = Uint8Array.from(atob({encoded!r}), (one) => one.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        for (const name of ["one.png", "two.png"]) dataTransfer.items.add(new File([bytes], name));
        document.body.dispatchEvent(new DragEvent("drop", {{dataTransfer, bubbles: true, cancelable: true}})); }})()"""
    )
    page.wait("document.querySelectorAll('#previews canvas').length === 2")
    for _ in range(9):
        browser.press("Tab")
        if page.do("document.activeElement.id") == "ask":
            break
        assert page.do("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press("Enter", text="\r")
    page.wait("document.getElementById('said').textContent.includes('2 images answered')")
    assert [row[2] for row in page.rows()] == [labels[1]] * 2
    assert page.text("cost-about").startswith("1 image in 1 request (1 of 18 rows)")
    page.click("pictures-away")
    page.wait("document.getElementById('pictures').hidden")
    assert page.do("document.querySelector('h1').textContent") == "Ask, and show nobody the image"
    assert page.do("document.documentElement.scrollWidth <= innerWidth")
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    browser.call("Accessibility.disable")
    named = {(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one.get("ignored")}
    assert ("image", "one.png") in named
    page.is_inert()
