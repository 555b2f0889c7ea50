"""Checkpoints: names, kinds of files, safety and atomic writing, against the golden figures."""

import collections
import enum
import io
import logging
import multiprocessing
import os
import pickle
import re
import types

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.checkpoint import Checkpointer, DetectionCheckpointer, PeriodicCheckpointer
from omegaconf import OmegaConf
from torch import nn

BOTTOM_UP = "backbone.bottom_up."


# ------------------------------------------------------------------ models of given keys and shapes
def small(key: str, shape: list[int]) -> tuple[int, ...]:
    """Shape with the square roots of its sizes, so that a whole R-50 fits into 0.3 MB.

    The layers that depend on the classes keep theirs: the golden file tells their shapes.
    """
    return tuple(shape) if "predictor" in key else tuple(int(np.ceil(n**0.5)) for n in shape)


def skeleton(shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """A module whose state dict has these keys and shapes, all zeros."""
    root = nn.Module()
    for key, shape in shapes.items():
        *path, name = key.split(".")
        node = root
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, nn.Module())
            node = getattr(node, part)
        node.register_buffer(name, torch.zeros(shape))
    return root


@pytest.fixture(scope="module")
def shapes(golden):
    """Shapes of Mask R-CNN R50-FPN by its number of classes."""
    keys = golden.json("mask_rcnn_keys")["keys"]
    return {
        classes: {k: small(k, shape) for k, shape in keys[f"R50_FPN_{classes}"].items()}
        for classes in (4, 80)
    }


@pytest.fixture(scope="module")
def figures(golden):
    return golden.json("checkpoint_names")


@pytest.fixture
def mask_rcnn(shapes):
    return skeleton(shapes[4])


def dump(path, content, protocol=None) -> str:
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


def first_values(model: nn.Module) -> dict[str, float]:
    return {key: float(value.flatten()[0]) for key, value in model.state_dict().items()}


def incompatible_keys(checkpointer: DetectionCheckpointer, monkeypatch) -> list:
    """Collects what the checkpointer reports about keys."""
    reported = []
    monkeypatch.setattr(checkpointer, "_log_incompatible_keys", reported.append)
    return reported


def caffe2_name(key: str, style: str) -> str | None:
    """Blob of a key of the R-50 in one of three published styles; None where it has none."""
    parts = key.removeprefix(BOTTOM_UP).split(".")
    if parts[0] == "stem":
        base = "res_conv1" if "norm" in parts else "conv1"
    else:
        branches = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}
        base = f"{parts[0]}_{parts[1]}_branch{branches[parts[2]]}"
    if "norm" not in parts:
        return f"{base}_w"
    ends = {
        "gamma": ["gamma", "beta", "running_mean", "running_var"],
        "s": ["s", "b", None, None],
        "riv": ["s", "b", "rm", "riv"],
    }[style]
    end = ends[["weight", "bias", "running_mean", "running_var"].index(parts[-1])]
    return end and f"{base}_bn_{end}"


UNUSED_BLOBS = {
    "conv1_b": np.zeros(64, np.float32),
    "fc1000_w": np.zeros((1000, 2048), np.float32),
    "fc1000_b": np.zeros(1000, np.float32),
    "conv1_w_momentum": np.zeros(1, np.float32),
}


def numbered(keys: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Each key filled with its own number, from 1."""
    return {k: np.full(shape, i, np.float32) for i, (k, shape) in enumerate(keys.items(), 1)}


class Net(nn.Module):
    """The hand-made model of the golden file."""

    def __init__(self):
        super().__init__()
        self.head = nn.Module()
        self.head.conv1 = nn.Conv2d(1, 1, 1)
        self.conv1 = nn.Conv2d(1, 1, 1)
        self.my_conv1 = nn.Conv2d(1, 2, 1)
        self.alone = nn.Linear(2, 2)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


# --------------------------------------------------------------------------------- finding the keys
class TestNames:
    @pytest.mark.parametrize("style", ["gamma", "s", "riv"])
    def test_caffe2_backbones(self, figures, shapes, mask_rcnn, tmp_path, style):
        keys = {k: shape for k, shape in shapes[4].items() if k.startswith(BOTTOM_UP)}
        names = {caffe2_name(k, style): shape for k, shape in keys.items() if caffe2_name(k, style)}
        blobs = numbered(names) | UNUSED_BLOBS
        file = dump(tmp_path / "R-50.pkl", blobs if style == "gamma" else {"blobs": blobs})

        rest = DetectionCheckpointer(mask_rcnn).load(file)

        by_value = {value: key for key, value in first_values(mask_rcnn).items() if value}
        found = {name: by_value.get(float(blob.flatten()[0])) for name, blob in blobs.items()}
        expected = figures["caffe2_to_model"][style]
        if style == "s":
            # There the real model's running variances, filled with 1 by its own layers, were taken
            # for the blob that holds 1.
            assert expected["conv1_w"].endswith("running_var")
            expected = expected | {"conv1_w": BOTTOM_UP + "stem.conv1.weight"}
        assert found == expected
        assert [name for name, key in found.items() if key is None] == list(UNUSED_BLOBS)
        assert figures["caffe2_unmatched_are_null"] is True
        kinds = {key: type(value).__name__ for key, value in rest.items()}
        assert kinds == figures["load_return_keys_for_caffe2"]
        if style == "gamma":
            stem = {
                k: v for k, v in first_values(mask_rcnn).items() if k.startswith(BOTTOM_UP + "stem")
            }
            golden_stem = figures["stem_values_after_gamma_style"]
            assert {key: [value] for key, value in stem.items()} == golden_stem

    def test_other_caffe2_layers(self, tmp_path):
        """Group norms, and the classifier of the ResNeXt files."""
        model = skeleton(
            {
                "body.stem.conv1.norm.weight": (2,),
                "body.stem.conv1.norm.bias": (2,),
                "body.res3.11.conv2.norm.bias": (3,),
                "body.linear.weight": (4,),
                "body.linear.bias": (5,),
            }
        )
        blobs = numbered(
            {
                "conv1_gn_s": (2,),
                "conv1_gn_bias": (2,),
                "res3_11_branch2b_gn_b": (3,),
                "pred_w": (4,),
                "pred_b": (5,),
            }
        )
        DetectionCheckpointer(model).load(dump(tmp_path / "x.pkl", blobs))
        assert list(first_values(model).values()) == [1, 2, 3, 4, 5]

    def test_torchvision_style(self, figures, shapes, mask_rcnn, tmp_path):
        weights = numbered(
            {
                key.removeprefix(BOTTOM_UP): shape
                for key, shape in shapes[4].items()
                if key.startswith(BOTTOM_UP)
            }
        )
        weights["stem.fc.weight"] = np.zeros((4, 5), np.float32)
        content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
        DetectionCheckpointer(mask_rcnn).load(dump(tmp_path / "tv.pkl", content))
        by_value = {value: key for key, value in first_values(mask_rcnn).items() if value}
        found = {key: by_value.get(float(value.flatten()[0])) for key, value in weights.items()}
        assert found == figures["torchvision_style"]

    def test_model_zoo_into_other_classes(self, figures, shapes, mask_rcnn, tmp_path, monkeypatch):
        weights = {key: np.full(shape, 2.0, np.float32) for key, shape in shapes[80].items()}
        anchors = "proposal_generator.anchor_generator.cell_anchors.0"
        weights[anchors] = np.zeros((3, 4), np.float32)
        content = {"model": weights, "__author__": "Detectron2 Model Zoo"}
        checkpointer = DetectionCheckpointer(mask_rcnn)
        reported = incompatible_keys(checkpointer, monkeypatch)
        rest = checkpointer.load(dump(tmp_path / "zoo.pkl", content))

        expected = figures["zoo"]
        (keys,) = reported
        assert keys.missing_keys == expected["incompatible"]["missing"]
        assert keys.unexpected_keys == expected["incompatible"]["unexpected"]
        found = [[key, list(theirs), list(ours)] for key, theirs, ours in keys.incorrect_shapes]
        assert found == expected["incompatible"]["shapes"]
        not_loaded = [key for key, value in first_values(mask_rcnn).items() if value == 0]
        assert not_loaded == expected["not_loaded_keys"]
        assert sorted(rest) == expected["returned_keys"]

    def test_pixel_statistics_are_never_missing(self, tmp_path, monkeypatch):
        model = skeleton({"pixel_mean": (3, 1, 1), "pixel_std": (3, 1, 1), "w": (1,)})
        torch.save({"model": {"w": torch.ones(1), "extra": torch.ones(1)}}, tmp_path / "a.pth")
        checkpointer = DetectionCheckpointer(model)
        reported = incompatible_keys(checkpointer, monkeypatch)
        checkpointer.load(str(tmp_path / "a.pth"))
        assert (reported[0].missing_keys, reported[0].unexpected_keys) == ([], ["extra"])

    def test_the_longest_suffix_wins(self, figures, tmp_path, caplog):
        hand = {
            key: np.full(shape, value, np.float32)
            for key, (shape, value) in figures["hand"]["checkpoint"].items()
        }
        net = Net()
        content = {"model": hand, "__author__": "x", "matching_heuristics": True}
        with caplog.at_level(logging.WARNING):
            DetectionCheckpointer(net).load(dump(tmp_path / "h.pkl", content))
        assert first_values(net) == figures["hand"]["result"]
        assert re.search(r"my_conv1.weight.*\(3, 1, 1, 1\).*\(2, 1, 1, 1\)", caplog.text)
        assert "zzz" in caplog.text

    def test_one_key_for_two_is_an_error(self, figures, tmp_path):
        assert figures["ambiguous"] == "ValueError"
        model = skeleton({"a.conv1.weight": (1,), "b.conv1.weight": (1,)})
        weights = {"conv1.weight": np.ones(1, np.float32)}
        content = {"model": weights, "__author__": "x", "matching_heuristics": True}
        with pytest.raises(ValueError, match="a.conv1.weight.*b.conv1.weight|conv1.weight"):
            DetectionCheckpointer(model).load(dump(tmp_path / "amb.pkl", content))

    def test_nothing_fits(self, tmp_path, caplog):
        net = Net()
        weights = {"else.weight": np.ones(1, np.float32)}
        content = {"model": weights, "__author__": "x", "matching_heuristics": True}
        DetectionCheckpointer(net).load(dump(tmp_path / "n.pkl", content))
        assert set(first_values(net).values()) == {0.0}
        assert any(record.levelname == "WARNING" for record in caplog.records)

    def test_query_switches_heuristics_on(self, figures, tmp_path):
        expected = figures["query_matching_heuristics"]
        model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2))}).requires_grad_(False)
        model.body[0].bias.zero_()
        assert list(model.state_dict()) == expected["model"]
        file = str(tmp_path / "sub.pth")
        torch.save(
            dict(zip(expected["checkpoint"], [torch.full((2,), 4.0), torch.zeros(1)], strict=True)),
            file,
        )
        DetectionCheckpointer(model).load(file)
        assert float(model.body[0].bias[0]) == expected["body.0.bias without query"]
        DetectionCheckpointer(model).load(file + "?matching_heuristics=True")
        assert float(model.body[0].bias[0]) == expected["with query"]

    @pytest.mark.parametrize("query", ["", "?matching_heuristics=True"])
    def test_prefix_of_data_parallel(self, tmp_path, query):
        torch.save({"module.alone.bias": torch.full((2,), 3.0)}, tmp_path / "m.pth")
        net = Net()
        DetectionCheckpointer(net).load(f"{tmp_path}/m.pth{query}")
        assert first_values(net)["alone.bias"] == 3.0

    def test_prefix_of_some_keys_stays(self, tmp_path):
        state = {"module.alone.bias": torch.full((2,), 3.0), "alone.weight": torch.ones(2, 2)}
        torch.save(state, tmp_path / "m.pth")
        net = Net()
        DetectionCheckpointer(net).load(f"{tmp_path}/m.pth?matching_heuristics=True")
        assert first_values(net)["alone.bias"] == 0.0

    def test_pycls(self, tmp_path):
        file = tmp_path / "model.pyth"
        state = {"conv1.weight": torch.ones(2), "bn.num_batches_tracked": torch.tensor(3)}
        torch.save({"model_state": state, "epoch": 3}, file)
        model = skeleton({"body.conv1.weight": (2,), "body.bn.num_batches_tracked": ()})
        DetectionCheckpointer(model).load(str(file))
        assert first_values(model) == {
            "body.conv1.weight": 1.0,
            "body.bn.num_batches_tracked": 0.0,
        }


# ----------------------------------------------------------------------------------- kinds of files
class TestLoading:
    def test_empty_path(self, figures):
        assert DetectionCheckpointer(Net()).load("") == figures["empty_path_returns"] == {}

    def test_a_bare_state_dict(self, figures, tmp_path):
        torch.save({"head.conv1.weight": torch.full((1, 1, 1, 1), 9.0)}, tmp_path / "raw.pth")
        net = Net()
        assert DetectionCheckpointer(net).load(str(tmp_path / "raw.pth")) == {}
        assert first_values(net)["head.conv1.weight"] == figures["raw_state_dict_pth"]

    def test_errors(self, figures, tmp_path):
        assert figures["missing_file"] == "AssertionError"
        with pytest.raises(AssertionError, match="none.pth"):
            DetectionCheckpointer(Net()).load(str(tmp_path / "none.pth"))
        assert figures["unsupported_query"] == "ValueError"
        torch.save({}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="foo"):
            DetectionCheckpointer(Net()).load(f"{tmp_path}/a.pth?foo=1")

    def test_a_failed_load_leaves_nothing_behind(self, tmp_path):
        """Upstream's next load fails with an AssertionError."""
        torch.save({"alone.bias": torch.ones(2)}, tmp_path / "good.pth")
        net = Net()
        checkpointer = DetectionCheckpointer(net)
        with pytest.raises(AssertionError):
            checkpointer.load(str(tmp_path / "none.pth"))
        with pytest.raises(ValueError):
            checkpointer.load(str(tmp_path / "good.pth?foo=1"))
        checkpointer.load(str(tmp_path / "good.pth"))
        assert first_values(net)["alone.bias"] == 1.0

    def test_without_network(self, monkeypatch, tmp_path):
        from iopath.common.file_io import HTTPURLHandler

        def fail(self, path, **kwargs):
            raise OSError(f"no network for {path}")

        monkeypatch.setattr(HTTPURLHandler, "_get_local_path", fail)
        for address in (
            "https://x.invalid/a.pth",
            "detectron2://a.pkl",
            "catalog://ImageNetPretrained/MSRA/R-50",
        ):
            with pytest.raises(OSError, match="no network for https://"):
                DetectionCheckpointer(Net()).load(address)

    @pytest.mark.parametrize(
        "value",
        [
            np.full(2, 5.0, np.float32),
            np.full(2, 5.0, ">f4"),
            np.full((2, 2), 5.0, np.float64)[::-1, 0],
            torch.full((2,), 5.0),
            nn.Parameter(torch.full((2,), 5.0)),
            torch.full((2,), 5.0, dtype=torch.bfloat16),
        ],
        ids=["float32", "big-endian", "reversed", "tensor", "parameter", "bfloat16"],
    )
    @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
    @pytest.mark.bundled
    def test_values_in_pickles(self, tmp_path, value, protocol):
        content = {"model": {"alone.bias": value}, "__author__": "me", "score": np.float64(0.5)}
        net = Net()
        rest = DetectionCheckpointer(net).load(dump(tmp_path / "v.pkl", content, protocol))
        assert net.alone.bias.tolist() == [5.0, 5.0]
        assert rest == {"__author__": "me", "score": 0.5}

    def test_pickles_of_python_2(self, tmp_path):
        """Written by hand, as Python 2 wrote old Detectron's files: bytes where we have text."""
        data = (
            b"\x80\x02}q\x00U\x05blobsq\x01}q\x02U\x07fc_9a_bq\x03"
            b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85q\x06"
            b"U\x01bq\x07\x87q\x08Rq\x09(K\x01K\x02\x85q\x0acnumpy\ndtype\nq\x0bU\x02f4q\x0cK\x00K\x01"
            b"\x87q\x0dRq\x0e(K\x03U\x01<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b"
            b"\x89U\x08" + np.array([-1.5, 300.25], "<f4").tobytes() + b"q\x11tq\x12bss."
        )
        (tmp_path / "old.pkl").write_bytes(data)
        model = skeleton({"fc.9a.bias": (2,)})
        DetectionCheckpointer(model).load(str(tmp_path / "old.pkl"))
        assert model.state_dict()["fc.9a.bias"].tolist() == [-1.5, 300.25]

    @pytest.mark.bundled
    def test_numpy_values_in_pth(self, tmp_path):
        """Safe loading refuses these upstream, where torch's default changed in 2.6."""
        content = {
            "model": {"alone.bias": np.ones(2, np.float32)},
            "best": np.float64(0.25),
            "count": np.int64(3),
            "names": np.array(["a", "b"]),
        }
        torch.save(content, tmp_path / "a.pth")
        net = Net()
        rest = DetectionCheckpointer(net).load(str(tmp_path / "a.pth"))
        assert net.alone.bias.tolist() == [1, 1]
        assert (rest["best"], rest["count"], rest["names"].tolist()) == (0.25, 3, ["a", "b"])

    def test_checkpointables(self, tmp_path):
        """All by default; resume takes all, a plain start only the model."""
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        DetectionCheckpointer(net, str(tmp_path), optimizer=optimizer).save("a", iteration=7)

        def fresh():
            other = Net()
            sgd = torch.optim.SGD(other.parameters(), lr=0.1)
            return DetectionCheckpointer(other, str(tmp_path), optimizer=sgd), sgd

        checkpointer, sgd = fresh()
        assert checkpointer.load(str(tmp_path / "a.pth")) == {"iteration": 7}
        assert sgd.param_groups[0]["lr"] == 0.5
        checkpointer, sgd = fresh()
        rest = checkpointer.resume_or_load(str(tmp_path / "a.pth"), resume=False)
        assert sorted(rest) == ["iteration", "optimizer"]
        assert sgd.param_groups[0]["lr"] == 0.1
        checkpointer, sgd = fresh()
        assert checkpointer.resume_or_load("", resume=True) == {"iteration": 7}
        assert sgd.param_groups[0]["lr"] == 0.5


# ------------------------------------------------------------------------------------------- safety
class Calls:
    """Unpickling one calls a function."""

    def __init__(self, function, *arguments):
        self._reduced = function, arguments

    def __reduce__(self):
        return self._reduced


def touch(path):
    with open(path, "w"):
        pass


@pytest.mark.bundled
class TestSafety:
    @pytest.mark.parametrize(
        "name", ["a.pkl", "a.pyth", "a.pth", "torch.pkl", "torch.pth", "old.pth"]
    )
    def test_code_in_a_checkpoint_is_refused(self, tmp_path, name):
        content = {"model": {"w": torch.ones(1)}, "x": Calls(os.system, f"touch {tmp_path}/ran")}
        if name.startswith(("torch", "old")):
            torch.save(
                content, tmp_path / name, _use_new_zipfile_serialization=not name.startswith("old")
            )
        else:
            dump(tmp_path / name, content)
        with pytest.raises(ValueError, match=f"{re.escape(name)} asks for (posix|nt).system"):
            DetectionCheckpointer(Net()).load(str(tmp_path / name))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "value, refused",
        [
            (Calls(eval, "1"), "builtins.eval"),
            (Calls(getattr, {}, "get"), "builtins.getattr"),
            (Calls(__import__, "os"), "builtins.__import__"),
            (Calls(np.load, "x"), "numpy.load"),
            (Calls(torch.load, "x"), "torch.serialization.load"),
            (types.SimpleNamespace(a=1), "types.SimpleNamespace"),
            (np.random.default_rng(0), r"numpy.random.\S+"),
            (collections.Counter("a"), "collections.Counter"),
        ],
    )
    def test_refused_globals(self, tmp_path, value, refused):
        file = dump(tmp_path / "a.pkl", {"model": {}, "__author__": "", "x": value})
        with pytest.raises(ValueError, match=f"a.pkl asks for {refused}, which is code"):
            DetectionCheckpointer(Net()).load(file)

    def test_code_inside_a_tensors_bytes_is_refused(self, tmp_path):
        """torch's own function for a pickled tensor's memory unpickles whatever is in there."""
        inner = io.BytesIO()
        torch.save(Calls(touch, str(tmp_path / "ran")), inner)
        hidden = Calls(torch.storage._load_from_bytes, inner.getvalue())
        file = dump(tmp_path / "a.pkl", {"model": {"w": hidden}, "__author__": ""})
        with pytest.raises(ValueError, match=r"a.pkl asks for \S+touch"):
            DetectionCheckpointer(Net()).load(file)
        assert not (tmp_path / "ran").exists()

    def test_allowed_functions_can_not_be_changed(self, tmp_path):
        """BUILD sets attributes of whatever is on the stack, here of a function for arrays."""
        data = (
            b"\x80\x04\x8c\x16numpy._core.multiarray\x8c\x0c_reconstruct\x93"
            b"N}\x8c\x05_callK\x01s\x86b."
        )
        (tmp_path / "a.pkl").write_bytes(data)
        with pytest.raises(ValueError, match="a.pkl"):
            DetectionCheckpointer(Net()).load(str(tmp_path / "a.pkl"))
        self.test_a_good_file_still_loads(tmp_path)

    def test_a_good_file_still_loads(self, tmp_path):
        content = {"model": {"alone.bias": np.ones(2, np.float32)}, "__author__": "", "s": {1, 2}}
        rest = DetectionCheckpointer(Net()).load(dump(tmp_path / "good.pkl", content))
        assert rest == {"__author__": "", "s": {1, 2}}

    @pytest.mark.parametrize("name", ["a.pth", "a.pkl", "a.pyth"])
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"hello, this is text\n",
            b"{}",
            b"PK\x03\x04 no archive",
            bytes(range(256)),
            b"\x80\x04}",
        ],
        ids=["empty", "text", "json", "zip start", "bytes", "cut pickle"],
    )
    def test_what_is_no_checkpoint(self, tmp_path, name, data):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            ValueError, match=f"^{re.escape(str(tmp_path / name))} is no checkpoint"
        ):
            DetectionCheckpointer(Net()).load(str(tmp_path / name))

    def test_the_reason_is_no_advice_to_load_unsafely(self, tmp_path):
        torch.save({"w": np.array([1, "x"], object)}, tmp_path / "a.pth")
        with pytest.raises(ValueError) as caught:
            DetectionCheckpointer(Net()).load(str(tmp_path / "a.pth"))
        assert "weights_only" not in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
    def test_truncated_files(self, tmp_path, kept):
        for name, write in (("a.pth", torch.save), ("a.pkl", lambda content, f: dump(f, content))):
            file = tmp_path / name
            write({"model": {"w": torch.ones(100)}, "__author__": ""}, file)
            data = file.read_bytes()
            file.write_bytes(data[: int(kept * len(data))])
            with pytest.raises(ValueError, match=f"^{re.escape(str(file))} is no checkpoint"):
                DetectionCheckpointer(Net()).load(str(file))

    @pytest.mark.parametrize(
        "name, content, match",
        [
            ("a.pth", [1, 2], "a.pth holds a list"),
            ("a.pth", {"epoch": 3}, "a.pth holds no weights: 'epoch'.*int"),
            ("a.pth", {"model": 3}, "a.pth holds no dict 'model'"),
            ("a.pth", {"model": {"w": "text"}}, "a.pth holds no weights: 'w'.*str"),
            ("a.pkl", {"w": [1.0]}, "a.pkl holds no weights: 'w'.*list"),
            ("a.pkl", {"w": np.array([1, None])}, "a.pkl holds no weights: 'w'"),
            ("a.pkl", {3: np.ones(1)}, "a.pkl holds no weights: 3"),
            ("a.pkl", {"blobs": 3}, "a.pkl.*'blobs'"),
            ("a.pyth", {"model": {}}, "a.pyth.*'model_state'"),
        ],
    )
    def test_data_that_are_no_weights(self, tmp_path, name, content, match):
        file = tmp_path / name
        torch.save(content, file) if name == "a.pth" else dump(file, content)
        with pytest.raises(ValueError, match=match):
            DetectionCheckpointer(Net()).load(str(file))


# ------------------------------------------------------------------------------------------- saving
class Holder:
    """Something with a state."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


class Mode(enum.IntEnum):
    FAST = 2


class TestSaving:
    def test_files_and_content(self, tmp_path):
        checkpointer = DetectionCheckpointer(Net(), str(tmp_path), holder=Holder(n=3))
        assert not checkpointer.has_checkpoint()
        checkpointer.save("one", iteration=4)
        checkpointer.save("two", iteration=5)
        assert sorted(f.name for f in tmp_path.iterdir()) == [
            "last_checkpoint",
            "one.pth",
            "two.pth",
        ]
        assert checkpointer.has_checkpoint()
        assert (tmp_path / "last_checkpoint").read_text() == "two.pth"
        assert checkpointer.get_checkpoint_file() == str(tmp_path / "two.pth")
        content = torch.load(tmp_path / "one.pth", weights_only=True)
        assert list(content) == ["model", "holder", "iteration"]
        assert (content["holder"], content["iteration"]) == ({"n": 3}, 4)
        assert list(content["model"]) == list(Net().state_dict())
        checkpointer.tag_last_checkpoint("one.pth")
        assert checkpointer.get_checkpoint_file() == str(tmp_path / "one.pth")

    def test_a_disabled_one_writes_nothing(self, tmp_path):
        DetectionCheckpointer(Net(), str(tmp_path), save_to_disk=False).save("a")
        DetectionCheckpointer(Net()).save("a")
        assert not list(tmp_path.iterdir())

    def test_names_have_no_folder(self, tmp_path):
        with pytest.raises(AssertionError, match="b"):
            DetectionCheckpointer(Net(), str(tmp_path)).save("a/b")

    def test_the_periodic_one_keeps_the_newest(self, tmp_path):
        checkpointer = DetectionCheckpointer(Net(), str(tmp_path))
        assert isinstance(checkpointer, Checkpointer)
        periodic = PeriodicCheckpointer(checkpointer, period=2, max_iter=7, max_to_keep=2)
        for iteration in range(7):
            periodic.step(iteration)
        names = sorted(file.name for file in tmp_path.glob("*.pth"))
        assert names == ["model_0000003.pth", "model_0000005.pth", "model_final.pth"]
        assert DetectionCheckpointer(Net()).load(str(tmp_path / names[0])) == {"iteration": 3}

    def test_versions_of_modules_are_kept(self, tmp_path):
        """Batch norm's state has version 2; without it, loading would reset a counter."""
        model = nn.BatchNorm2d(2)
        model.num_batches_tracked.fill_(9)
        DetectionCheckpointer(model, str(tmp_path)).save("a")
        state = torch.load(tmp_path / "a.pth", weights_only=True)["model"]
        assert state._metadata == model.state_dict()._metadata

    @pytest.mark.bundled
    def test_only_plain_data_are_written(self, tmp_path):
        """NumPy values, enumerations, configs and odd containers load with torch's safe default."""
        tensor = torch.arange(3)
        holder = Holder(
            scalar=np.float32(0.5),
            count=np.int64(3),
            flag=np.bool_(True),
            array=np.arange(4, dtype=np.uint8),
            swapped=np.arange(2, dtype=">i4"),
            texts=np.array(["a", "b"]),
            mode=Mode.FAST,
            config=OmegaConf.create({"a": [1, {"b": 2}]}),
            counter=collections.Counter("aab"),
            pair=(np.float64(1.5), None),
            parameter=nn.Parameter(torch.ones(2)),
            kind=torch.float16,
            names={"x", "y"},
            bytes=b"ab",
            views=[tensor, tensor],
        )
        DetectionCheckpointer(Net(), str(tmp_path), holder=holder).save("a", best=np.float64(0.25))
        content = torch.load(tmp_path / "a.pth", weights_only=True)
        assert type(content["best"]) is float
        saved = content["holder"]
        assert (saved["scalar"], saved["count"], saved["flag"]) == (0.5, 3, True)
        assert [type(saved[key]) for key in ("scalar", "count", "flag")] == [float, int, bool]
        assert saved["array"].tolist() == [0, 1, 2, 3]
        assert saved["array"].dtype == torch.uint8
        assert saved["swapped"].tolist() == [0, 1]
        assert saved["texts"] == ["a", "b"]
        assert (saved["mode"], type(saved["mode"])) == (2, int)
        assert saved["config"] == {"a": [1, {"b": 2}]}
        assert saved["counter"] == {"a": 2, "b": 1}
        assert saved["pair"] == (1.5, None)
        assert saved["parameter"].tolist() == [1, 1]
        assert saved["kind"] is torch.float16
        assert saved["names"] == {"x", "y"}
        assert saved["bytes"] == b"ab"
        assert saved["views"][0].data_ptr() == saved["views"][1].data_ptr()

    @pytest.mark.bundled
    def test_what_is_no_data_is_told_before_writing(self, tmp_path):
        checkpointer = DetectionCheckpointer(Net(), str(tmp_path), h=Holder(deep=[{"x": object()}]))
        with pytest.raises(TypeError, match=r"^h.deep\[0\].x is a builtins.object"):
            checkpointer.save("a")
        assert not list(tmp_path.iterdir())

    @pytest.mark.bundled
    @pytest.mark.parametrize("broken", ["torch.save", "os.fsync", "os.replace"])
    def test_a_crash_while_saving_leaves_the_old_file(self, tmp_path, monkeypatch, broken):
        net = Net()
        checkpointer = DetectionCheckpointer(net, str(tmp_path))
        checkpointer.save("a", iteration=1)
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

        def crash(content, file=None):
            if broken == "torch.save":
                file.write(b"half of it")
            raise OSError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(broken, crash)
            with pytest.raises(OSError, match="disk full"):
                checkpointer.save("a", iteration=2)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
        assert DetectionCheckpointer(net).load(str(tmp_path / "a.pth")) == {"iteration": 1}

    def test_saved_files_have_ordinary_permissions(self, tmp_path):
        DetectionCheckpointer(Net(), str(tmp_path)).save("a")
        (tmp_path / "ordinary").touch()
        assert (tmp_path / "a.pth").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# -------------------------------------------------------------------------------- several processes
def load_on_rank(rank: int, folder: str, files: list[str], queue) -> None:
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(files)
    )
    try:
        net = Net()
        wrapped = nn.parallel.DistributedDataParallel(net)
        checkpointer = DetectionCheckpointer(
            wrapped, f"{folder}/{rank}", holder=(holder := Holder())
        )
        try:
            rest = checkpointer.load(files[rank])
            value = first_values(net)["alone.bias"]
            queue.put((rank, (value, holder.state, rest, checkpointer.save_to_disk)))
        except OSError as error:
            queue.put((rank, str(error)))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def on_two_ranks(folder, files: list[str]) -> list:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [
        context.Process(target=load_on_rank, args=(rank, str(folder), files, queue))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    results = dict(queue.get() for _ in processes)
    return [results[0], results[1]]


class TestSeveralProcesses:
    @pytest.fixture
    def file(self, tmp_path):
        content = {
            "model": {"alone.bias": torch.full((2,), 3.0)},
            "holder": {"n": 1},
            "iteration": 5,
        }
        torch.save(content, tmp_path / "a.pth")
        return str(tmp_path / "a.pth")

    @pytest.mark.bundled
    def test_ranks_without_the_file_get_it_from_rank_0(self, tmp_path, file):
        """Upstream sends the weights only, so that the ranks disagree about the rest."""
        results = on_two_ranks(tmp_path, [file, str(tmp_path / "none.pth")])
        assert results == [
            (3.0, {"n": 1}, {"iteration": 5}, True),
            (3.0, {"n": 1}, {"iteration": 5}, False),
        ]

    def test_rank_0_must_have_the_file(self, tmp_path, file):
        results = on_two_ranks(tmp_path, [str(tmp_path / "none.pth"), file])
        assert all("none.pth" in result or "a.pth" in result for result in results)
