"""`tools/replace_background.py` from files to files, with a model made by hand."""

import os
import subprocess
import sys
from pathlib import Path

from project.applications.inputs import Frame, Source
from project.applications.picture_files import PictureFiles

import cv2
import numpy as np
import pytest
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
GREEN = (0, 177, 64)


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("tools/replace_background.py")


@pytest.fixture
def replace(tool, semantic_run, tmp_path):
    """``replace("photo.png", "--color", "white")`` → exit code; outputs in ``tmp_path/out``."""

    def call(*arguments: object) -> int:
        options = ["--run", semantic_run, "--output", tmp_path / "out"]
        return tool.main([*map(str, arguments), *map(str, options)])

    return call


@pytest.fixture
def photo(people, tmp_path) -> Path:
    cv2.imwrite(str(tmp_path / "photo.png"), people[..., ::-1])
    return tmp_path / "photo.png"


@pytest.fixture
def empty(tmp_path) -> Path:
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((60, 100, 3), 100, np.uint8))
    return tmp_path / "empty.png"


def write_video(file: Path, frames: list[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    for frame in frames:
        video.write(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    return file


def read_video(file: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(file)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def load(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


def test_a_colour_behind_both_persons(replace, photo, people, tmp_path, capsys):
    assert replace(photo, "--color", "#00b140") == 0
    printed = capsys.readouterr().out
    assert printed == f"Replaced the background of 1 image, written to {tmp_path}/out\n"
    made = load(tmp_path / "out/photo.png")
    assert made.shape == (60, 100, 3)
    persons = people[..., 2] >= 200
    deep = cv2.erode(persons.astype(np.uint8), np.ones((9, 9))) == 1
    assert np.abs(made - people)[deep].max() <= 2
    away = cv2.dilate(persons.astype(np.uint8), np.ones((9, 9))) == 0
    assert (made[away] == GREEN).all()  # the cake went, too


@pytest.mark.parametrize(
    "who, kept, gone",
    [
        (["largest"], (30, 80), (30, 15)),
        (["left", "1"], (30, 15), (30, 80)),
        (["at", "80", "30"], (30, 80), (30, 15)),
    ],
)
def test_one_of_the_persons(replace, photo, people, tmp_path, who, kept, gone):
    assert replace(photo, "--color", "#00b140", "--objects", *who) == 0
    made = load(tmp_path / "out/photo.png")
    assert np.abs(made[kept] - people[kept]).max() <= 2
    assert tuple(made[gone]) == GREEN


def test_a_transparent_cake(replace, photo, people, tmp_path):
    assert replace(photo, "--transparent", "--class", "cake") == 0
    made = load(tmp_path / "out/photo.png")
    assert made.shape == (60, 100, 4)
    assert np.array_equal(made[42:48, 42:48, :3], people[42:48, 42:48])
    assert (made[42:48, 42:48, 3] == 255).all()
    assert not made[:30].any()


def test_a_picture_and_its_light(replace, photo, people, tmp_path):
    beach = np.full((30, 80, 3), (200, 150, 100), np.uint8)
    cv2.imwrite(str(tmp_path / "beach.jpg"), beach[..., ::-1])
    assert replace(photo, "--background", tmp_path / "beach.jpg") == 0
    plain = load(tmp_path / "out/photo.png")
    assert np.abs(plain[2, 50] - beach[0, 0]).max() <= 2
    assert replace(photo, "--background", tmp_path / "beach.jpg", "--harmonise", "1") == 0
    lit = load(tmp_path / "out/photo.png")
    assert np.array_equal(lit[2, 50], plain[2, 50])
    assert lit[30, 80, 0] > plain[30, 80, 0] + 50
    flags = ["--fit", "contain", "--border", "0,0,255"]
    assert replace(photo, "--background", tmp_path / "beach.jpg", *flags) == 0
    bordered = load(tmp_path / "out/photo.png")  # 100 x 37.5 of 100 x 60 pixels
    assert (bordered[:8, 40:60] == (0, 0, 255)).all()
    assert np.abs(bordered[30, 50] - beach[0, 0]).max() <= 2


def test_blur_keeps_the_size_and_the_persons(replace, photo, people, tmp_path):
    assert replace(photo, "--blur") == 0
    made = load(tmp_path / "out/photo.png")
    assert np.abs(made[30, 80] - people[30, 80]).max() <= 2
    assert made[45, 45, 0] < 250  # the cake is out of focus
    assert np.abs(made[5:8, 45:55] - 100).max() <= 1


def test_an_image_that_lies_on_its_side(replace, people, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned a quarter to the right
    Image.fromarray(np.rot90(people)).save(tmp_path / "lying.png", exif=exif)
    assert replace(tmp_path / "lying.png", "--color", "white") == 0
    made = load(tmp_path / "out/lying.png")
    assert made.shape == (60, 100, 3)
    assert np.abs(made[30, 80] - people[30, 80]).max() <= 2


def test_a_folder_with_nobody_and_a_broken_file(replace, photo, empty, tmp_path, capsys, caplog):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    assert replace(tmp_path, "--color", "white") == 0
    line = capsys.readouterr().out
    assert "of 1 image, written to" in line
    assert "; skipped 1 without the person asked for; skipped 1 that can't be read" in line
    assert f"skipped: {empty}: no person found" in caplog.text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["photo.png"]


def test_a_video_round_trip(replace, people, tmp_path, capsys):
    moved = [np.roll(people, 3 * step, axis=1) for step in range(4)]
    nobody = np.full_like(people, 100)
    clip = write_video(tmp_path / "clip.mp4", [*moved, nobody])
    assert replace(clip, "--color", "#00b140", "--smoothing", "0.5") == 0
    line = capsys.readouterr().out
    assert "of 5 images" in line
    assert "; 1 of them without a person" in line
    frames = read_video(tmp_path / "out/clip.mp4")
    assert [f.shape for f in frames] == [(60, 100, 3)] * 5
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FPS) == 10
    for step, frame in enumerate(frames[:4]):
        middle = frame[20:40, 75 + 3 * step : 85 + 3 * step].astype(int)
        assert np.abs(middle.mean(axis=(0, 1)) - (60, 60, 200)).max() < 25  # video is lossy
    for frame in frames:
        assert np.abs(frame[2:6, 40:60].mean(axis=(0, 1)) - GREEN).max() < 12
    assert np.abs(frames[4][20:40, 20:60].astype(int).mean(axis=(0, 1)) - GREEN).max() < 12


def test_a_transparent_video_is_a_folder_of_frames(replace, people, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", [people] * 3)
    assert replace(clip, "--transparent", "--every", "2") == 0
    assert [p.name for p in sorted((tmp_path / "out/clip").iterdir())] == [
        "000000.png", "000002.png"
    ]  # fmt: skip
    assert load(tmp_path / "out/clip/000002.png").shape == (60, 100, 4)


def test_no_input_is_replaced(replace, photo, people, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    inside = photo.rename(tmp_path / "out/photo.png")
    before = inside.read_bytes()
    assert replace(inside, "--color", "white") == 2
    clip = write_video(tmp_path / "out/clip.mp4", [people] * 2)
    assert replace(clip, "--color", "white") == 2
    assert capsys.readouterr().err.count("would be replaced; take another output folder") == 2
    assert inside.read_bytes() == before
    assert len(read_video(clip)) == 2
    assert replace(clip, "--transparent") == 0  # becomes clip/000000.png, ...
    cv2.imwrite(str(tmp_path / "out/dog.jpg"), people[..., ::-1])
    assert replace(tmp_path / "out/dog.jpg", "--color", "white") == 0  # becomes dog.png


def test_the_background_is_not_replaced(replace, photo, people, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    background = tmp_path / "out/photo.png"
    cv2.imwrite(str(background), people)
    before = background.read_bytes()
    assert replace(photo, "--background", background) == 2
    assert f"the input {background} would be replaced" in capsys.readouterr().err
    assert background.read_bytes() == before


@pytest.mark.parametrize("rate, written", [(119.3471, 119.3), (0.0002, 0.1), (29.97, 29.97)])
def test_rates_that_the_encoder_does_not_take(people, tmp_path, rate, written):
    source = Source("clip.mp4", "clip", "video")
    files = PictureFiles(tmp_path)
    files.add(Frame(people, source, 0, rate), people)
    files.close()
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(written, rel=1e-3)


def test_an_instance_model_does_too(tool, run_dir, predictor, photos, tmp_path):
    found = predictor(photos[0])
    name = predictor.class_names[found.pred_classes[0]]
    arguments = [photos[0], "--run", run_dir, "--threshold", "0.2", "--class", name, "--color",
                 "white", "--output", tmp_path / "out"]  # fmt: skip
    assert tool.main([*map(str, arguments)]) == 0
    made = load(tmp_path / "out" / f"{photos[0].stem}.png")
    assert made.shape == (*found.image_size, 3)
    assert (made == 255).all(2).any()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["{empty}", "--color", "white"], "none of the 1 inputs can be used: {empty}: no person"),
        (["{photo}", "{empty}", "--color", "white", "--on-nobody", "fatal"], "no person found"),
        (["{clip}", "--color", "white"], "no person found in any of the 2 frames"),
        (["{photo}", "--background", "gone.jpg"], "background: image gone.jpg does not exist"),
        (["{photo}", "--background", "{torn}"], "torn.png can't be read"),
        (["{torn}", "--color", "white"], "none of the 1 inputs can be used: image"),
        (["{photo}", "--color", "greenish"], "unknown color 'greenish'"),
        (["{photo}", "--blur", "90"], "the blur is 90 %"),
        (["{photo}", "--color", "white", "--class", "cat"], "unknown class of the model 'cat'"),
        (["{photo}", "--color", "white", "--objects", "surest", "7"], "no person number 7 found"),
        (["{photo}", "--color", "white", "--objects", "first"], "unknown choice of objects"),
        (["{photo}", "--color", "white", "--fit", "cover"], "--fit is for --background"),
        (["{photo}", "--background", "{photo}", "--border", "red"], "--border is for"),
        (["{photo}", "--transparent", "--harmonise", "1"], "harmonise needs a background"),
        (["{photo}", "--blur", "--harmonise", "1"], "harmonise needs a background"),
        (["{photo}", "--color", "white", "--smoothing", "1"], "the smoothing is 1"),
        (["{photo}", "--color", "white", "--output", "{photo}"], "can't be made"),
        (["{photo}", "--color", ""], "unknown color ''"),
        (["{photo}", "--background", "{photo}", "--fit", "contain", "--border", ""], "color ''"),
        (["{photo}", "--color", "white", "--objects", "at", "nan", "3"], "finite numbers"),
    ],
)
def test_mistakes_are_one_line(
    tool, semantic_run, photo, empty, people, tmp_path, capsys, flags, message
):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    clip = write_video(tmp_path / "clip.mp4", [np.full_like(people, 100)] * 2)
    places = {"photo": photo, "empty": empty, "torn": tmp_path / "torn.png", "clip": clip}
    usual = ["--run", str(semantic_run), "--output", str(tmp_path / "out")]
    flags = [flag.format(**places) for flag in flags]
    first = next(i for i, flag in enumerate(flags) if flag.startswith("--"))
    assert tool.main([*flags[:first], *usual, *flags[first:]]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message.format(**places) in error


def test_as_a_command(semantic_run, photo, people, tmp_path):
    command = [sys.executable, "tools/replace_background.py", str(photo), "--run"]
    command += [str(semantic_run), "--color", "white", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=REPO, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"Replaced the background of 1 image, written to {tmp_path}/out\n"
    assert np.abs(load(tmp_path / "out/photo.png")[30, 80] - people[30, 80]).max() <= 2
