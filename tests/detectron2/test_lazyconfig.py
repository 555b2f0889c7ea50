"""Lazy configs: loading, instantiating, overriding and saving, against the golden figures."""

import builtins
import collections
import dataclasses
import datetime
import sys
import threading
import types

import project  # noqa: F401

import pytest
import torch
import yaml
from detectron2.config import LazyCall as L  # noqa: N817
from detectron2.config import LazyConfig, instantiate
from detectron2.config.lazy import LazyCall
from omegaconf import DictConfig, ListConfig, OmegaConf

BASE_KEYS = ["consts", "timer", "sched", "outer", "bystr", "made"]


@pytest.fixture(scope="module")
def figures(golden):
    return golden.json("lazyconfig")


@pytest.fixture
def folder(figures, tmp_path):
    """The config files of the golden figures."""
    for name, source in figures["files"].items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(source.replace("@PKG@", "detectron2"))
    return tmp_path


@pytest.fixture
def base(folder):
    return LazyConfig.load(str(folder / "base.py"))


def load(folder, name, keys=None):
    return LazyConfig.load(str(folder / name), keys)


def write(folder, name, source):
    (folder / name).write_text(source)
    return str(folder / name)


def container(cfg):
    """Plain containers of ``cfg``, callable targets as ``module.qualname``."""
    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg, resolve=False)
    if isinstance(cfg, dict):
        return {key: container(value) for key, value in cfg.items()}
    if isinstance(cfg, list):
        return [container(value) for value in cfg]
    return f"{cfg.__module__}.{cfg.__qualname__}" if callable(cfg) else cfg


class TestLoading:
    def test_a_file(self, figures, base):
        expected = figures["base"]
        assert list(base) == expected["keys"] == BASE_KEYS
        assert container(base) == expected["container"]
        assert type(base).__name__ == expected["type"]

    def test_relative_imports(self, figures, folder):
        derived = load(folder, "derived.py")
        assert list(derived) == figures["derived"]["keys"]
        assert container(derived) == figures["derived"]["container"]

    def test_each_import_gives_its_own_objects(self, figures, folder):
        again = load(folder, "derived.py", "again")
        assert container(again) == figures["derived_again_unmodified"]

    def test_importing_a_lazy_call_again_gives_another_one(self, folder):
        twice = "from .base import timer\nfrom .base import timer as again\ntimer.days = 9\n"
        cfg = LazyConfig.load(write(folder, "twice.py", twice))
        assert (cfg.timer.days, cfg.again.days) == (9, 1)

    def test_keys(self, figures, folder):
        assert container(load(folder, "base.py", "consts")) == figures["keys_str"]
        number, consts, names = found = load(folder, "base.py", ("number", "consts", "names"))
        assert [number, container(consts), names, type(found).__name__] == figures["keys_tuple"]
        private = load(folder, "base.py", "_private")
        assert isinstance(private, DictConfig)
        assert container(private) == figures["private_by_key"]

    def test_an_unknown_key(self, folder):
        with pytest.raises(KeyError, match="nothing"):
            load(folder, "base.py", "nothing")

    def test_yaml(self, figures, folder):
        assert container(load(folder, "plain.yaml")) == figures["yaml"]
        assert load(folder, "plain.yaml", "a") == 1
        assert load(folder, "plain.yaml", ["a", "b"])[1].days == 2

    def test_an_empty_yaml_file(self, folder):
        write(folder, "empty.yml", "")
        assert load(folder, "empty.yml") in ({}, None)

    def test_file_name_and_package(self, folder):
        path = write(folder, "who.py", "file = {'name': __file__}\npackage = {'name': __package__}")
        first, second = LazyConfig.load(path), LazyConfig.load(path)
        assert first.file.name == path
        assert first.package.name != second.package.name
        assert first.package.name not in sys.modules

    def test_load_rel_starts_at_the_caller(self, folder):
        path = write(
            folder / "sub",
            "caller.py",
            "from detectron2.config import LazyConfig\n"
            "def find():\n    return LazyConfig.load_rel('../base.py', 'number')\n",
        )
        namespace = {}
        exec(compile((folder / "sub/caller.py").read_text(), path, "exec"), namespace)
        assert namespace["find"]() == 5

    @pytest.mark.parametrize(
        "name, match",
        [
            ("bad_syntax.py", "bad_syntax.py"),
            ("bad_dir.py", "sub"),
            ("bad_missing.py", "nothere"),
            ("bad_dot.py", "import base|relative import"),
            ("bad_name.py", "no_such_name"),
            ("other.txt", "other.txt"),
            ("raises.py", "boom"),
            ("absent.py", "absent.py"),
        ],
    )
    def test_errors_leave_nothing_behind(self, figures, folder, name, match):
        plain_import = builtins.__import__
        expected = getattr(builtins, figures["errors"][name])
        try:
            with pytest.raises(expected, match=match):
                load(folder, name)
            if project.detectron2_source() == "bundled":
                assert builtins.__import__ is plain_import
            assert figures["after_failure_next_load_ok"]
            assert list(load(folder, "base.py")) == BASE_KEYS
        finally:
            builtins.__import__ = plain_import

    @pytest.mark.bundled
    def test_a_missing_name_is_an_import_error_too(self, folder):
        with pytest.raises(ImportError, match="from .base import no_such_name.*base.py defines no"):
            load(folder, "bad_name.py")

    @pytest.mark.bundled
    def test_a_circle_is_told(self, folder):
        write(folder, "one.py", "from .two import a\n")
        write(folder, "two.py", "from .one import b\n")
        with pytest.raises(ImportError, match="circular import: .*one.py -> .*two.py -> .*one.py"):
            load(folder, "one.py")

    @pytest.mark.bundled
    def test_other_threads_import_as_ever(self, folder):
        """While a config is running, an import elsewhere meets the interpreter's own function."""
        plain_import, seen = builtins.__import__, []
        watcher = types.ModuleType("watcher_of_imports")
        watcher.look = lambda: seen.append(builtins.__import__)
        sys.modules["watcher_of_imports"] = watcher
        try:
            write(folder, "looks.py", "import watcher_of_imports as w\nw.look()\n")
            thread = threading.Thread(target=load, args=(folder, "looks.py"))
            thread.start()
            thread.join()
        finally:
            del sys.modules["watcher_of_imports"]
        assert seen == [plain_import]

    def test_imports_are_resolved_by_place_alone(self, folder, monkeypatch):
        """Three levels up and down again, from a relative path."""
        (folder / "a/b").mkdir(parents=True)
        write(folder / "a/b", "deep.py", "from ...sub.sib import value\nx = dict(v=value)\n")
        monkeypatch.chdir(folder / "a")
        assert LazyConfig.load("b/deep.py").x.v == 10

    def test_plain_dicts_become_configs_on_import(self, folder):
        write(folder, "plain.py", "plain = dict(a=dict(b=1))\nother = [1]\n")
        write(
            folder,
            "uses.py",
            "from .plain import plain, other\nplain.a.c = 2\n"
            "kinds = dict(x=type(other).__name__)\n",
        )
        cfg = load(folder, "uses.py")
        assert cfg == {"plain": {"a": {"b": 1, "c": 2}}, "kinds": {"x": "list"}}


class TestLazyCall:
    def test_describes_and_calls_nothing(self):
        def never(**kwargs):
            raise AssertionError("was called")

        cfg = L(never)(a=1, b=[1, 2])
        assert list(cfg) == ["a", "b", "_target_"]
        assert isinstance(cfg, DictConfig)
        assert isinstance(cfg.b, ListConfig)
        assert cfg._target_ is never
        cfg.a, cfg.c = 2, "new"
        del cfg.b
        assert list(cfg) == ["a", "_target_", "c"]
        assert LazyCall is L

    def test_holds_any_object(self, figures):
        assert figures["allow_objects"]
        assert tuple(L(datetime.timedelta)(a=torch.zeros(2)).a.shape) == (2,)

    def test_errors(self, figures):
        errors = figures["errors"]
        assert errors["LazyCall(3)"] == errors["positional"] == "TypeError"
        with pytest.raises(TypeError, match="3|int"):
            L(3)
        with pytest.raises(TypeError, match="positional"):
            L(datetime.timedelta)(3)

    def test_a_dataclass_as_target_is_stored_by_name(self, figures):
        shape_spec = pytest.importorskip("detectron2.layers").ShapeSpec
        assert figures["lazycall_of_dataclass_target_is_str"]
        assert L(shape_spec)(channels=3)._target_ == "detectron2.layers.ShapeSpec"
        assert instantiate(L(shape_spec)(channels=3)) == shape_spec(channels=3)

    @pytest.mark.bundled
    @pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
    def test_dict_like_targets(self, kind):
        made = instantiate(L(kind)(a=1))
        assert type(made) is kind
        assert made == {"a": 1}

    def test_a_described_target(self):
        """The target is itself the result of a call."""
        assert instantiate(L(L(Factory)(scale=3))(x=2)) == 6
        assert instantiate({"_target_": {"_target_": Factory, "scale": 3}, "x": 2}) == 6


class Factory:
    """An object that can be called."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return self.scale * x


@dataclasses.dataclass
class Schema:
    size: int = 3


class TestInstantiate:
    def test_golden_objects(self, figures, base):
        expected = figures["instantiate"]
        for key in ("timer", "outer", "bystr"):
            assert repr(instantiate(base[key])) == expected[key]
        assert instantiate(base.sched)(1.0) == expected["sched(1.0)"]
        outer = instantiate(base.outer)
        assert type(outer.plain["x"]).__name__ == expected["outer.plain.x type"]
        assert type(outer.lst).__name__ == expected["outer.lst type"]
        assert expected["made (no _target_) is same object"]
        assert instantiate(base.made) is base.made
        assert [repr(item) for item in instantiate([base.timer, 3])] == expected["list"]
        assert instantiate(3) == expected["plain int"]

    def test_tuples_and_dicts_are_left_alone(self):
        call = L(datetime.timedelta)(days=1)
        pair, mapping = (call, 1), {"a": call}
        assert instantiate(pair) is pair
        assert instantiate(mapping) is mapping

    def test_structured_configs_become_their_dataclass(self):
        made = instantiate(OmegaConf.structured(Schema(size=5)))
        assert made == Schema(size=5)
        assert type(made) is Schema

    def test_names(self):
        assert instantiate({"_target_": "datetime.timedelta", "days": 1}).days == 1
        assert instantiate({"_target_": "collections.OrderedDict.fromkeys", "iterable": []}) == {}

    @pytest.mark.bundled
    def test_the_function_wins_over_its_module(self):
        """``detectron2.engine.launch`` is a function, and a module of that name holds it."""
        module = types.ModuleType("shadowed_names.twin")
        package = types.ModuleType("shadowed_names")
        package.__path__, package.twin, module.twin = [], Factory, Factory
        sys.modules |= {"shadowed_names": package, "shadowed_names.twin": module}
        try:
            assert instantiate({"_target_": "shadowed_names.twin", "scale": 2})(2) == 4
            assert instantiate({"_target_": "shadowed_names.twin.twin", "scale": 2})(2) == 4
        finally:
            del sys.modules["shadowed_names"], sys.modules["shadowed_names.twin"]

    @pytest.mark.parametrize(
        "name", ["nope.nope", "datetime.nope", "datetime.timedelta.nope", "nope", "a..b"]
    )
    def test_unknown_names(self, figures, name):
        assert figures["errors"]["instantiate unknown string"] == "ImportError"
        with pytest.raises(ImportError, match=name):
            instantiate({"_target_": name})

    @pytest.mark.bundled
    def test_a_broken_module_tells_why(self, tmp_path, monkeypatch):
        write(tmp_path, "broken_target.py", "import no_such_package_here\n")
        write(tmp_path, "failing_target.py", "1 / 0\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ImportError, match="broken_target.f.*no_such_package_here"):
            instantiate({"_target_": "broken_target.f"})
        with pytest.raises(ImportError, match="failing_target.f.*ZeroDivisionError"):
            instantiate({"_target_": "failing_target.f"})

    def test_errors(self, figures, caplog):
        assert figures["errors"]["wrong kwarg"] == "TypeError"
        with pytest.raises(TypeError, match="foo"):
            instantiate(L(datetime.timedelta)(foo=1))
        assert "timedelta" in caplog.text
        assert figures["errors"]["non callable target"] == "AssertionError"
        with pytest.raises(AssertionError):
            instantiate({"_target_": 3})


class TestOverrides:
    def test_golden_overrides(self, figures, folder):
        before = container(load(folder, "base.py"))
        assert len(figures["overrides"]) == 19
        for case in figures["overrides"]:
            cfg = load(folder, "base.py")
            if "error" in case:
                with pytest.raises(Exception) as caught:
                    LazyConfig.apply_overrides(cfg, case["overrides"])
                assert type(caught.value).__name__ == case["error"], case
                continue
            assert LazyConfig.apply_overrides(cfg, case["overrides"]) is cfg
            assert case["same_object"]
            after = container(cfg)
            changed = {k: v for k, v in after.items() if before.get(k, "__none__") != v}
            assert changed == case["changed_top_level"], case

    def test_interpolations_follow(self, figures, base):
        LazyConfig.apply_overrides(base, ["outer.c=8"])
        found = [base.outer.inner.b, instantiate(base.outer).inner.b]
        assert found == figures["interpolation_follows_override"]

    def test_nothing_to_override(self, base):
        before = container(base)
        assert container(LazyConfig.apply_overrides(base, [])) == before

    def test_later_overrides_win(self, base):
        LazyConfig.apply_overrides(base, ["timer.days=4", "++timer.days=5"])
        assert base.timer.days == 5

    @pytest.mark.bundled
    def test_sweeps_are_refused(self, base):
        with pytest.raises(ValueError, match="timer.days=1,2.*sweep"):
            LazyConfig.apply_overrides(base, ["timer.days=1,2"])

    @pytest.mark.bundled
    def test_without_hydra(self, base, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "hydra"]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, "hydra.core.override_parser.overrides_parser", None)
        monkeypatch.setitem(sys.modules, "hydra", None)
        LazyConfig.apply_overrides(
            base,
            ["a.b=x=y=z", "+c=[1, 'd']", "e=path/to/file", "f=1e-3", "g=null", "h=false", "i=word"],
        )
        assert base.a.b == "x=y=z"
        assert base.c == [1, "d"]
        assert (base.e, base.f, base.g, base.h, base.i) == (
            "path/to/file",
            0.001,
            None,
            False,
            "word",
        )
        with pytest.raises(NotImplementedError, match="~a"):
            LazyConfig.apply_overrides(base, ["~a"])
        for text in ("timer.days", "=3"):
            with pytest.raises(ValueError, match=f"key=value, got '{text}'"):
                LazyConfig.apply_overrides(base, [text])


class TestSaving:
    def test_text(self, figures, base, folder):
        file = folder / "saved.yaml"
        LazyConfig.save(base, str(file))
        assert file.read_text() == figures["saved_yaml"]
        assert figures["save_leaves_cfg_target_callable"]
        assert base.timer._target_ is datetime.timedelta

    def test_it_loads_back(self, figures, base, folder):
        LazyConfig.save(base, str(folder / "saved.yaml"))
        again = load(folder, "saved.yaml")
        assert container(again) == figures["saved_reload"]
        assert repr(instantiate(again.timer)) == figures["saved_reload_instantiate"]
        assert not (folder / "saved.yaml.pkl").exists()

    @pytest.mark.parametrize(
        "cfg, key",
        [
            (
                {
                    "x": L(torch.nn.Conv2d)(in_channels=3),
                    "y": L(torch.optim.SGD)(lr=0.1),
                },
                "shortest_target_saved",
            ),
            ({"x": L("detectron2.layers.ShapeSpec")(channels=3)}, "shape_spec_saved"),
        ],
    )
    def test_targets_get_their_shortest_name(self, figures, tmp_path, cfg, key):
        cfg = DictConfig(cfg, flags={"allow_objects": True})
        LazyConfig.save(cfg, str(tmp_path / "c.yaml"))
        assert (tmp_path / "c.yaml").read_text() == figures[key]

    def test_lambdas_are_pickled(self, figures, folder, caplog):
        """For the person who wants them: nothing of ours opens such a pickle."""
        import cloudpickle

        LazyConfig.save(load(folder, "lam.py"), str(folder / "lam.yaml"))
        saved = sorted(file.name for file in folder.glob("lam.yaml*"))
        assert saved == figures["lambda_saved_files"]
        assert any(record.levelname == "WARNING" for record in caplog.records)
        cfg = cloudpickle.loads((folder / "lam.yaml.pkl").read_bytes())
        assert instantiate(cfg.f).fn(2) == figures["lambda_pickle_roundtrip"]

    @pytest.mark.bundled
    def test_a_target_without_a_name_is_pickled(self, folder, caplog):
        write(
            folder,
            "own.py",
            "from detectron2.config import LazyCall as L\n"
            "def double(x):\n    return 2 * x\n"
            "y = L(double)(x=4)\n",
        )
        LazyConfig.save(load(folder, "own.py"), str(folder / "own.yaml"))
        assert "double" in caplog.text
        assert (folder / "own.yaml.pkl").exists()

    def test_what_yaml_cannot_hold_is_pickled(self, tmp_path, caplog):
        cfg = DictConfig({"x": Unwritable()}, flags={"allow_objects": True})
        LazyConfig.save(cfg, str(tmp_path / "c.yaml"))
        assert (tmp_path / "c.yaml.pkl").exists()
        assert any(record.levelname == "ERROR" for record in caplog.records)

    @pytest.mark.bundled
    def test_what_nothing_can_hold_is_told(self, tmp_path, caplog):
        cfg = DictConfig({"x": threading.Lock()}, flags={"allow_objects": True})
        LazyConfig.save(cfg, str(tmp_path / "c.yaml"))
        assert not list(tmp_path.iterdir())
        assert "can't be pickled" in caplog.text

    def test_unicode_and_long_lines_stay(self, tmp_path):
        cfg = DictConfig({"text": "Straße " * 100, "list": list(range(200))})
        LazyConfig.save(cfg, str(tmp_path / "c.yaml"))
        text = (tmp_path / "c.yaml").read_text(encoding="utf-8")
        assert text.count("\n") == 2
        assert "Straße" in text
        assert yaml.safe_load(text) == OmegaConf.to_container(cfg)


class Unwritable:
    """YAML can't represent it, cloudpickle can."""

    def __reduce_ex__(self, protocol):
        if protocol == 2:  # what YAML asks for
            raise TypeError("not for YAML")
        return Unwritable, ()


class TestToPy:
    def test_golden_text(self, figures, folder):
        expected = figures["to_py"]
        assert LazyConfig.to_py(load(folder, expected["file"])) == expected["out"]

    @pytest.mark.bundled
    def test_targets_that_are_strings(self, figures, folder):
        assert figures["errors"]["to_py with a string _target_ (upstream defect)"]
        text = LazyConfig.to_py(load(folder, "plain.yaml"), prefix="c.")
        assert text == "c.a = 1\nc.b = datetime.timedelta(c=[1, 2], days=2)\n"

    @pytest.mark.bundled
    def test_nested_calls_and_values(self):
        cfg = OmegaConf.create(
            {
                "lr": 0.1,
                "model": L(torch.nn.Sequential)(
                    inner=L("pkg.f")(rate="${...lr}", names=["a", 'say "b"']), d={"k": None}
                ),
                "odd key": {"x": True},
                "empty": {},
            },
            flags={"allow_objects": True},
        )
        assert LazyConfig.to_py(cfg).splitlines() == [
            "cfg.empty = {}",
            "cfg.lr = 0.1",
            'cfg.model = torch.nn.Sequential(d={"k": None}, '
            'inner=pkg.f(names=["a", \'say "b"\'], rate=0.1))',
            'cfg["odd key"].x = True',
        ]
