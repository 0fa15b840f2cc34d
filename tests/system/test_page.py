import base64
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
from pictures import encoded, png_header
from PIL import Image
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

from fertools.drawn.face.factors import Action, sample_identity, sample_nuisance
from fertools.drawn.face.render import render_colour
from manifests import files
from trainer import load
from trainer.cli.main import app
from trainer.data.fold_data import FoldData
from trainer.inference import photos
from trainer.inference.demo import NUM_FACES, NUM_NEAREST
from trainer.inference.demo import reader as open_reader
from trainer.inference.export import write_model
from trainer.inference.photos import Found
from trainer.inference.server import MAX_BYTES, MAX_CONNECTIONS, MAX_HELD_BYTES, PageError, Server, shown
from trainer.training.fit import fit

HEIGHT, WIDTH = 240, 320
GREY = np.full((120, 160, 3), 90, np.uint8)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def run(patterns, tmp_path_factory):
    """A run whose method has both codes."""
    return fit(replace(run_spec(patterns, "dicefer"), epochs=1), tmp_path_factory.mktemp("runs"), CPU, silent)


@pytest.fixture(scope="module")
def reader(run, patterns):
    return open_reader(run.folder, patterns.parent, "cpu")


@pytest.fixture(scope="module")
def photo():
    """A drawn face."""
    rng = np.random.default_rng(3)
    nuisance = replace(sample_nuisance(rng), glasses=0)
    return render_colour(sample_identity(rng), Action(), nuisance, HEIGHT, WIDTH, rng)


@contextmanager
def listening(reader):
    """Yield a server that answers."""
    with Server(reader, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(reader):
    with listening(reader) as server:
        yield server


def request(server, method, path, body=None, **headers):
    """Return the status, the headers and the body of an answer."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=30)
    path = path if "?" in path else f"{path}?token={server.token}"
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def ask(server, body, **headers):
    """Return the status and the answer to a photo."""
    status, _, answer = request(server, "POST", "/faces", body, **headers)
    return status, json.loads(answer)


def seen(address):
    """Return the pixels of a picture that stands in an answer."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


# --- what is answered


def test_a_photo_is_answered_with_what_the_model_says_of_its_faces(server, run, patterns, photo, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photo))
    model = load(run.folder, "cpu", patterns.parent)
    face = photos.read([path], model.network.crop, "cpu")[0].faces[0]
    status, answer = ask(server, path.read_bytes())
    assert (status, answer["found"], answer["width"], answer["height"]) == (200, 1, WIDTH, HEIGHT)
    told = answer["faces"][0]
    expected = model.predict([face.crop]).probabilities[0]
    assert told["probabilities"] == pytest.approx(dict(zip(model.expressions, expected.tolist(), strict=True)))
    assert told["expression"] == model.expressions[expected.argmax()]
    np.testing.assert_allclose(np.array(told["box"]) * ([WIDTH, HEIGHT] * 2), face.box, atol=1e-3)
    assert np.array_equal(seen(told["picture"]), face.crop[16:-16, 16:-16])
    assert np.abs(seen(answer["photo"]).astype(int) - photo).mean() < 6  # as JPEG


def test_nearest_to_a_training_face_is_itself_and_no_recording_comes_twice(reader, patterns):
    data = FoldData(patterns, 1, CPU)
    for place in (0, 17):
        crop = files.read_images(patterns, data.rows["train"])[place]
        posed = replace(reader, find=lambda _, crop=crop: (Found(np.zeros(4, np.float32), 1.0, crop),))
        nearest = posed.answer(encoded(GREY))["faces"][0]["nearest"]
        assert list(nearest) == ["expression", "identity"]
        for found in nearest.values():
            assert np.array_equal(seen(found[0]["picture"]), data.pictures("train")[place])
            assert found[0]["similarity"] == pytest.approx(1)
            assert found[0]["expression"] == data.column("train", "expression")[place]
            assert found[0]["subject"] == data.column("train", "subject")[place]
            assert [one["similarity"] for one in found] == sorted((one["similarity"] for one in found), reverse=True)
    recordings = np.resize(["a", "b"], len(reader.near.pictures))
    two = replace(reader.near, labels=reader.near.labels | {"sequence": recordings})
    assert len(two.nearest("identity", reader.near.centres["identity"])) == 2


def test_faces_in_colour_are_near_themselves_too(large_patterns, tmp_path):
    run = fit(replace(run_spec(large_patterns, "ifgan", "color=true"), epochs=1), tmp_path, CPU, silent)
    reader = open_reader(run.folder, large_patterns.parent, "cpu")
    crop = files.read_images(large_patterns, FoldData(large_patterns, 1, CPU).rows["train"][5:6])[0]
    posed = replace(reader, find=lambda _: (Found(np.zeros(4, np.float32), 1.0, crop),))
    face = posed.answer(encoded(GREY))["faces"][0]
    assert list(face["nearest"]) == ["expression"]
    found = face["nearest"]["expression"][0]
    assert found["similarity"] == pytest.approx(1) and found["picture"] == face["picture"]


def test_an_exported_model_shows_no_training_faces_and_says_so(reader, photo, tmp_path):
    write_model(tmp_path, reader.model.network, reader.model.config)
    exported = open_reader(tmp_path, tmp_path / "nowhere", "cpu")
    face, of_run = (one.answer(encoded(photo))["faces"][0] for one in (exported, reader))
    assert face["nearest"] == {} and face["probabilities"] == of_run["probabilities"]
    said = "Nearest training faces are not shown: this is an exported model"
    assert said in shown(exported) and said not in shown(reader)


def test_a_large_photo_is_shown_smaller_and_a_crowd_in_part(reader):
    face = Found(np.array([-5, 0, 1280, 640], np.float32), 1.0, np.zeros((144, 144), np.uint8))
    crowded = replace(reader, find=lambda _: (face,) * (NUM_FACES + 3))
    answer = crowded.answer(encoded(np.zeros((1280, 2560, 3), np.uint8)))
    assert seen(answer["photo"]).shape == (640, 1280, 3)
    assert answer["found"] == NUM_FACES + 3 and len(answer["faces"]) == NUM_FACES
    assert answer["faces"][0]["box"] == [0, 0, 0.5, 0.5]


# --- what is refused


@pytest.mark.parametrize(
    "body, status, words",
    [
        (b"", 400, "This file is empty. Choose a JPEG, PNG or WebP."),
        (b"dear diary", 415, "cannot be read: not an image: it starts with 'dear diary'. Choose a whole JPEG"),
        (encoded(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8), "JPEG")[:2000], 415, "cut short"),
        (png_header(60_000, 60_000), 415, "too large: 60000 x 60000 px"),
        (encoded(GREY), 422, "This photo (160 x 120 px): no face found. Show one upright, well lit"),
    ],
    ids=["empty", "text", "cut off", "bomb", "no face"],
)
def test_what_shows_no_face_is_answered_with_what_to_do(server, body, status, words):
    found, answer = ask(server, body)
    assert found == status and words in answer["error"] and list(answer) == ["error"]


def test_an_upload_is_bounded_by_what_it_declares(server):
    status, answer = ask(server, bytes(MAX_BYTES + 1))
    assert (status, answer["error"]) == (
        413, "This file has 21 MB; at most 20 MB are taken. Choose a smaller photo."
    )  # fmt: skip
    assert ask(server, b"", Content_Length=str(10**14))[0] == 413  # at once: nothing is waited for
    for length in ("-1", "²", "1e3", str(10**30), "0" * 20 + "9" * 9):
        assert ask(server, b"", Content_Length=length)[0] == 411
    assert ask(server, iter([b"in", b"parts"]))[0] == 411
    assert ask(server, encoded(GREY))[0] == 422


def test_an_upload_that_breaks_off_is_no_photo(server):
    with held(server) as line:
        line.sendall(bytes(999))
        line.shutdown(socket.SHUT_WR)
        assert b"400" in (answer := line.makefile("rb").read()) and b"did not arrive whole" in answer


@pytest.mark.parametrize(
    "headers",
    [{"Host": "attacker.example:{}"}, {"Host": "127.0.0.1"}, {"Host": "127.0.0.1:1"}, {"Origin": "null"},
     {"Origin": "http://attacker.example"}, {"Origin": "https://127.0.0.1:{}"}, {"Origin": "http://127.0.0.1:1"}],
    ids=str,
)  # fmt: skip
def test_other_pages_and_other_names_are_refused(server, photo, headers):
    sent = {name: value.format(server.server_port) for name, value in headers.items()}
    status, answer = ask(server, encoded(photo), **sent)
    assert status == 403 and answer == {"error": "This page answers itself only. Open the address in the terminal."}
    assert request(server, "GET", "/", **sent)[0] == 403


@pytest.mark.parametrize("query", ["?", "?token=", "?token=guess", "?token=guess&token=another"])
def test_other_accounts_of_the_machine_do_not_know_the_token(server, photo, query):
    status, _, answer = request(server, "POST", f"/faces{query}", encoded(photo))
    assert status == 403 and b"lacks its token" in answer
    assert request(server, "GET", f"/{query}")[0] == 403
    assert len(server.token) > 20 and f"token={server.token}" in server.url


def held(server, length=1000):
    """A connection that has sent all but one byte of a photo."""
    line = socket.create_connection(server.server_address, timeout=30)
    host = f"Host: 127.0.0.1:{server.server_port}"
    line.sendall(f"POST /faces?token={server.token} HTTP/1.1\r\n{host}\r\nContent-Length: {length}\r\n\r\n".encode())
    return line


def when_answered(server, status, body):
    """Ask until the answer has a status: what was held before may take a moment to go."""
    for _ in range(200):
        if (answer := ask(server, body))[0] == status:
            return answer[1]
        time.sleep(0.05)
    raise AssertionError(answer)


def test_only_so_many_requests_are_held_and_the_next_one_is_told(reader):
    with listening(reader) as server, ExitStack() as lines:
        opened = [lines.enter_context(held(server)) for _ in range(MAX_CONNECTIONS)]
        assert "busy" in when_answered(server, 503, encoded(GREY))["error"]
        opened[0].close()
        assert "no face found" in when_answered(server, 422, encoded(GREY))["error"]


def test_photos_held_at_once_take_a_bounded_memory(reader, monkeypatch):
    monkeypatch.setattr("trainer.inference.server.DEADLINE", 600)  # on a busy machine, too, they are held
    with listening(reader) as server, ExitStack() as lines:
        for _ in range(MAX_HELD_BYTES // MAX_BYTES):
            lines.enter_context(held(server, MAX_BYTES))
        body = encoded(GREY).ljust(MAX_BYTES, b"\0")
        assert "busy" in when_answered(server, 503, body)["error"]
        lines.close()
        when_answered(server, 422, encoded(GREY))


def test_who_sends_too_slowly_is_dropped(reader, monkeypatch):
    monkeypatch.setattr("trainer.inference.server.DEADLINE", 0.3)
    with listening(reader) as server, held(server) as line:
        assert b"photo" not in line.makefile("rb").read()  # the line ends, without an answer to a photo
        with socket.create_connection(server.server_address, timeout=30) as dripping:
            dripping.sendall(b"GET / HT")
            assert dripping.recv(1) == b""


def test_this_machines_own_names_are_answered(server, photo):
    name = f"localhost:{server.server_port}"
    assert ask(server, encoded(photo), Host=name, Origin=f"http://{name}")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_there_is_a_page_and_nothing_else(server):
    status, headers, body = request(server, "GET", "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"] and "Set-Cookie" not in headers
    assert set(re.findall(r"https?://[^\"']+", body.decode())) == {"http://www.w3.org/2000/svg"}
    text = " ".join(body.decode().split())
    assert "An expression shown is not an emotion felt." in text and "Nothing leaves this machine" in text
    assert request(server, "GET", "/../page.py")[0] == request(server, "POST", "/", b"")[0] == 404


def test_an_upload_is_neither_written_nor_logged(server, photo, capfd):
    written, on = [], True

    def watch(event, details):
        if on and event == "open" and (details[1] is None or set(details[1]) & set("wxa+")):
            written.append(details)

    sys.addaudithook(watch)
    assert ask(server, encoded(photo))[0] == 200 and ask(server, b"dear diary")[0] == 415
    on = False
    assert written == [] and capfd.readouterr() == ("", "")


def test_a_bug_is_shown_in_the_terminal_and_the_page_goes_on(reader, capfd):
    def fails(_):
        raise ZeroDivisionError

    with listening(replace(reader, find=fails)) as server:
        for _ in range(2):
            status, answer = ask(server, encoded(GREY))
            assert status == 500 and "its terminal shows where" in answer["error"]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_port_that_is_taken_is_named(server, reader):
    with pytest.raises(PageError, match=rf"port {server.server_port} cannot be used .* leave out --port"):
        Server(reader, server.server_port)


def test_the_command_opens_a_browser_and_ctrl_c_ends_it(run, patterns, monkeypatch):
    opened = []

    def browse(url):
        with urllib.request.urlopen(url) as answer:
            opened.append((url, answer.status))
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(webbrowser, "open", browse)
    command = ["demo", str(run.folder), "--manifests", str(patterns.parent)]
    ended = CliRunner().invoke(app, command)
    assert opened == [(ended.stdout.partition(" ")[0], 200)] and ended.stdout.endswith("Ctrl-C ends it\n")
    assert (ended.exit_code, ended.stderr) == (0, "")
    monkeypatch.setattr(Server, "serve_forever", lambda _: signal.raise_signal(signal.SIGINT))
    assert CliRunner().invoke(app, [*command, "--no-browser"]).exit_code == 0
    assert len(opened) == 1


# --- in a browser


@pytest.fixture(scope="module")
def browser(photo, tmp_path_factory):
    """Chromium, if it is installed, with a camera that sees the photo."""
    driver = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on the path")
    film = tmp_path_factory.mktemp("camera") / "photo.mjpeg"
    film.write_bytes(encoded(photo, "JPEG", quality=95) * 2)
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=BROWSER, args=[*camera, f"--use-file-for-fake-video-capture={film}"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(params=[400, 1200])
def tab(browser, server, request):
    """The page, as wide as a telephone's and as a desk's."""
    opened, failures = browser.new_page(viewport={"width": request.param, "height": 900}), []
    opened.on("pageerror", lambda error: failures.append(error))
    opened.goto(server.url)
    yield opened
    assert failures == []
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.close()


def told(tab):
    return tab.locator("#told:not(.busy)").inner_text()


def check_one_face(tab, found="1 face found."):
    assert told(tab) == found
    article = tab.get_by_role("article")
    widths = [row.bounding_box()["width"] for row in article.locator(".part").all()]
    shares = [float(re.sub(r"[^\d.]", "", text)) for text in article.locator(".bars td:last-child").all_inner_texts()]
    assert len(widths) == len(shares) == 3 and np.argmax(widths) == np.argmax(shares)
    assert article.get_by_role("listitem").count() == 2 * NUM_NEAREST
    box, stage = tab.locator(".box").last.bounding_box(), tab.locator("#stage").bounding_box()
    assert stage["x"] < box["x"] and box["x"] + box["width"] < stage["x"] + stage["width"]


def test_a_browser_shows_faces_and_answers_what_shows_none(tab, photo, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(MAX_BYTES + 1))

    def choose(name, body):
        tab.set_input_files("#file", {"name": name, "mimeType": "", "buffer": body})

    heading = tab.locator("#heading").bounding_box()
    choose("face.png", encoded(photo))
    check_one_face(tab)
    for name, body, words in (
        ("grey.png", encoded(GREY), "no face found"),
        ("diary.txt", b"dear diary", "not an image: it starts with 'dear diary'"),
    ):
        choose(name, body)
        assert words in told(tab)
        assert tab.get_by_role("article").count() == tab.locator(".box").count() == 0
    assert tab.locator("#heading").bounding_box() == heading  # nothing jumps
    tab.set_input_files("#file", large)
    assert "This file has 21 MB; at most 20 MB are taken" in told(tab)
    refused = (
        "async () => (await fetch('/faces' + location.search, { method: 'POST', body: new Uint8Array(4e7) })).status"
    )
    assert tab.evaluate(refused) == 413
    choose("face.jpg", encoded(photo, "JPEG"))
    check_one_face(tab)


def test_a_browser_takes_the_camera_and_what_is_dropped_by_keyboard_too(tab, photo):
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    take = tab.get_by_role("button", name="Take the picture")
    take.wait_for()
    tab.keyboard.press("Enter")
    check_one_face(tab)
    assert take.count() == tab.locator("video").count() == 0
    tab.get_by_role("link", name="Face 1").focus()
    tab.keyboard.press("Enter")
    tab.locator("article:focus").wait_for()
    dropped = tab.evaluate_handle(
        """(text) => {
          const sent = new DataTransfer(), bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
          for (const name of ["first.png", "second.png"]) sent.items.add(new File([bytes], name));
          return sent;
        }""",
        base64.b64encode(encoded(photo)).decode(),
    )
    tab.dispatch_event("#stage", "drop", {"dataTransfer": dropped})
    check_one_face(tab, "1 face found. Of 2 files dropped, the first was read.")


def test_a_browser_says_when_the_program_has_ended(tab, photo):
    tab.route("**/faces?*", lambda route: route.abort())
    tab.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": encoded(photo)})
    assert "The program does not answer" in told(tab)
