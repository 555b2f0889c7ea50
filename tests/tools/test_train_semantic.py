"""A semantic run as a user starts it, at a tiny size: train, keep the best, resume, judge, draw."""

import json
import shutil
from pathlib import Path

from project.data.catalog import register_subset
from project.data.scenes import make_person_scenes
from project.engine.config import load_run
from project.engine.evaluate import predict_dataset, results_file

import pytest
import torch

SHAPE = "[48,48]"
TINY = [
    "--config-file",
    "configs/person_u2net.py",
    "dataset.name=people",
    "model.network.size=small",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    f"dataloader.train.mapper.augmentations.0.shape={SHAPE}",
    f"dataloader.test.mapper.augmentations.0.shape={SHAPE}",
    "train.log_period=1",
    "train.max_iter=4",
    "train.eval_period=2",
    "train.checkpointer.period=2",
]


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("tools/train_net.py").main


@pytest.fixture(scope="module")
def people_root(tmp_path_factory) -> Path:
    """A datasets folder with the subset ``people``: persons of scenes, 8 / 4 / 2 images."""
    root = tmp_path_factory.mktemp("datasets")
    made = make_person_scenes(root, sizes={"train": 8, "val": 4, "test": 2})
    made.rename(root / "people")
    return root


@pytest.fixture(autouse=True)
def datasets(people_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(people_root))
    monkeypatch.chdir(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def trained(main, people_root, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(people_root))
        patch.chdir(Path(__file__).resolve().parents[2])
        assert main([*TINY, f"train.output_dir={run}", "train.num_pictures=2"]) == 0
    return run


def read(file: Path):
    return json.loads(file.read_text())


def rows(run: Path, key: str) -> list[float]:
    lines = map(json.loads, (run / "metrics.json").read_text().splitlines())
    return [line[key] for line in lines if key in line]


def test_the_run_folder_is_that_of_any_model(trained):
    names = {p.name for p in trained.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "results.json", "model_final.pth"} <= names
    assert (trained / "pictures/contact_sheet.png").is_file()
    assert len(list((trained / "previews").glob("*.png"))) == 2
    predictions = read(trained / "inference/people_val/sem_seg_predictions.json")
    assert {"image_id", "category_id", "bbox", "score", "segmentation"} == set(predictions[0])
    assert len({p["image_id"] for p in predictions}) == len(predictions) <= 4
    results = read(trained / "results.json")["results"]
    assert {"IoU-person", "ImageDice-person", "pACC"} <= set(results["sem_seg"])


def test_the_best_model_has_the_smallest_validation_loss(trained):
    content = torch.load(trained / "model_best.pth", weights_only=True)
    losses = rows(trained, "validation/total_loss")
    assert content["val_metric"] == "validation/total_loss"
    assert content["best_metric"] == min(losses)
    assert len(losses) == 2
    assert content["classes"] == ["person"]


def test_a_resumed_run_is_the_unbroken_one(main, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "last_checkpoint").write_text("model_0000001.pth")
    assert main(["--resume", *TINY, f"train.output_dir={run}", "train.num_pictures=0"]) == 0
    ours, theirs = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (run, trained)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert read(run / "results.json")["results"] == read(trained / "results.json")["results"]


def test_evaluation_alone_gives_the_same_numbers(main, trained):
    options = [f"train.output_dir={trained}", "train.num_pictures=0"]
    assert main(["--eval-only", *TINY, *options]) == 0
    results = [read(trained / f"{name}.json")["results"] for name in ("evaluation", "results")]
    assert results[0] == results[1]


def test_another_split_is_predicted_into_the_run(trained):
    cfg = load_run(trained)
    cfg.train.device = "cpu"
    name = register_subset("people", "test")
    file = predict_dataset(cfg, "", name)
    assert file == results_file(cfg, name) == trained / "inference/people_test" / file.name
    assert {p["image_id"] for p in read(file)} <= {1, 2}


@pytest.mark.parametrize(
    "overrides, text",
    [
        (["model.num_classes=2"], "2 classes and the dataset has 1 (person); leave model.num_"),
        (["train.hooks.classes_seen={_target_: project.engine.hooks.ClassesSeen, "
          "classes: [person], period: 1}"], "leave it out with train.hooks.classes_seen=null"),
        (["dataloader.train.mapper.num_classes=300"], "a map of classes holds 1 to 254"),
        (["dataloader.evaluator._target_=project.evaluation.coco.InstanceEvaluator"],
         "judged by project.evaluation.semantic.SemanticEvaluator"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(main, tmp_path, capfd, overrides, text):
    options = [f"train.output_dir={tmp_path / 'run'}", "train.max_iter=1"]
    tiny = [o for o in TINY if "max_iter" not in o]
    assert main([*tiny, *options, *overrides]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert text in last
