import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raysplit.config import (
    DEFAULT_LEVEL,
    UNCOMPRESSED,
    BottleneckConfig,
    DataSplits,
    Deprune,
    Fixed,
    Level,
    Phase,
    Plateau,
    Prune,
    SplitConfig,
    Stage,
    TrainConfig,
    loads,
    parse,
)
from raysplit.errors import ConfigError

BITS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16, 32])
PHASES = [{"level": "c4.b4/b4.zstd", "share": 15}, {"level": "all.b32/b32", "share": 7}]


def tree(**changes):
    plain = {"name": "demo", "data": {"name": "mnist5k"}, "model": {"name": "vgg11"}, "cut": "features.7"}
    return {**plain, **changes}


def config(**changes):
    return parse(SplitConfig, tree(**changes), where="recipe demo")


def fault(call, *args, **kwargs):
    """Return the text of the ConfigError that a call raises: one line, whatever was wrong."""
    with pytest.raises(ConfigError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


@st.composite
def levels(draw):
    up, down = draw(BITS), draw(BITS)
    top = draw(st.none() | st.integers(1, 10**6))
    return Level(
        channels=draw(st.none() | st.integers(1, 10**6)),
        top=top,
        top_random=0 if top is None else draw(st.integers(0, 99)),
        up_bits=up,
        down_bits=down,
        per_channel=top is None and min(up, down) <= 8 and draw(st.booleans()),
        feedback=2 <= down <= 16 and draw(st.booleans()),
        noise=draw(st.integers(0, 10_000)),
        entropy=draw(st.sampled_from(["none", "zstd"])),
    )


@given(levels())
def test_level_text_round_trip(level):
    for text in (str(level), str(level).replace("·", "."), f" {level} "):
        assert Level.model_validate(text) == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("c4·b4/b4·zstd", Level(channels=4, up_bits=4, down_bits=4, entropy="zstd")),
        ("all.b32/b32", UNCOMPRESSED),
        ("all·b4/b4·zstd", DEFAULT_LEVEL),
        ("c16.b2/b8", Level(channels=16, up_bits=2, down_bits=8)),
        ("all.k32r10.b32/b32.zstd", Level(top=32, top_random=10, entropy="zstd")),
        ("c8.k5.b4/b2.ef", Level(channels=8, top=5, up_bits=4, down_bits=2, feedback=True)),
        ("c8.b2/b32.ch", Level(channels=8, up_bits=2, per_channel=True)),
        ("all.b8/b8.ef.n50", Level(up_bits=8, down_bits=8, feedback=True, noise=50)),
        ("c4.b4/b4.n120.zstd", Level(channels=4, up_bits=4, down_bits=4, noise=120, entropy="zstd")),
        (
            "c8.b2/b4.ch.ef.zstd",
            Level(channels=8, up_bits=2, down_bits=4, per_channel=True, feedback=True, entropy="zstd"),
        ),
    ],
)
def test_level_text(text, level):
    assert Level.model_validate(text) == level
    assert str(level) == text.replace(".", "·")


@pytest.mark.parametrize(
    "text",
    [
        *("", "c4", "4.b4/b4", "c.b4/b4", "c4.b4", "c4.b4/b4.gzip", "c4-b4/b4", "all.b4/b4.zstd.", "c-1.b4/b4"),
        *("k4.b4/b4", "all.k.b4/b4", "all.r5.b4/b4", "all.k4r.b4/b4", "all.b4/b4.k4", "all.b4/b4.ef.ch"),
        *("all.b4/b4.zstd.ch", "all.b4/b4.ch.ch", "all.b4/b4.n", "all.b4/b4.n0.5", "all.b4/b4.zstd.n5", "n5"),
    ],
)
def test_text_that_is_no_level(text):
    found = fault(config, schedule={"kind": "fixed", "level": text})
    assert f"'{text}' is not a level; write it like c4.b4/b4.zstd or all.b32/b32" in found
    assert found.startswith("recipe demo: schedule.fixed.level: ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *(("c0.b4/b4", "channels"), ("c4.b9/b4", "up_bits"), ("c4.b4/b64", "down_bits")),
        *(("all.k0.b4/b4", "top"), ("all.k4r100.b4/b4", "top_random")),
    ],
)
def test_level_out_of_range(text, key):
    assert f"level.{key}: Input should be" in fault(config, schedule={"kind": "fixed", "level": text})


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (dict(top_random=10), "top_random=10 is a share of the picks of top-k: set top too"),
        ("all.k4.b4/b4.ch", "per_channel does not go with top"),
        ("all.b16/b32.ch", "per_channel is for 8 bits and below, this level has 16 up and 32 down"),
        ("all.b4/b32.ef", "feedback needs gradients of 2 to 16 bits, this level has 32: nothing is lost at 32 bits"),
        ("all.b4/b1.ef", "feedback needs gradients of 2 to 16 bits, this level has 1: it diverges at 1 bit"),
    ],
)
def test_levels_whose_parts_do_not_fit(level, text):
    found = fault(config, schedule={"kind": "fixed", "level": level})
    assert found.startswith("recipe demo: schedule.fixed.level: ") and text in found


def test_defaults():
    made = config()
    assert made.schedule == Fixed(level=DEFAULT_LEVEL) and made.bottleneck == BottleneckConfig()
    assert made.levels() == (DEFAULT_LEVEL,)


def test_levels_without_repeats_in_order():
    phases = [{"level": level, "share": 1} for level in ("c4.b4/b4", "all.b32/b32", "c4.b4/b4", "c16.b4/b4")]
    made = config(schedule={"kind": "deprune", "phases": phases})
    assert [str(level) for level in made.levels()] == ["c4·b4/b4", "all·b32/b32", "c16·b4/b4"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(trian={}), "unknown key 'trian'. Nearest: train"),
        (dict(train={"epoch": 3}), "train: unknown key 'epoch'. Nearest: epochs"),
        (dict(train={1: 2}), "train: unknown key '1'. Known: epochs"),
        (dict(data={"name": "x", "augmnt": "crop"}), "data: unknown key 'augmnt'. Nearest: augment"),
        (dict(bottleneck={"strid": 2}), "bottleneck: unknown key 'strid'. Nearest: stride"),
        (dict(schedule={"kind": "fixed", "levels": "all.b4/b4"}), "unknown key 'levels'. Nearest: level."),
        (dict(ray={"max_failure": 2}), "ray: unknown key 'max_failure'. Nearest: max_failures"),
        (dict(schedule={"kind": "pruned"}), "schedule: "),
        (dict(train={"epochs": 0}), "train.epochs: Input should be greater than or equal to 1 (got 0)"),
        (dict(train={"lr": "fast"}), "train.lr: Input should be a valid number"),
        (dict(train={"lr": float("nan")}), "train.lr: "),
        (dict(train=3), "train: Input should be"),
        (dict(bottleneck={"stride": 4}), "bottleneck.stride: Input should be 1, 2 or 3 (got 4)"),
        (dict(bottleneck={"sharpness": 0}), "bottleneck.sharpness: Input should be greater than 0"),
        (dict(schedule={"kind": "deprune", "phases": []}), "schedule.deprune.phases: "),
        (dict(schedule={"kind": "deprune", "phases": [{**PHASES[0], "share": 0}]}), "phases.0.share: "),
        (dict(model={"name": "x", "args": {1: 2}}), "model.args.1.[key]: Input should be a valid string"),
        (
            dict(train={"batch_size": 64, "in_flight": 3}),
            "train: batch_size 64 is not a multiple of in_flight 3",
        ),
        (
            dict(bottleneck=None, schedule={"kind": "fixed", "level": "c4.b4/b4"}),
            "level c4·b4/b4 keeps 4 channels, which needs a bottleneck",
        ),
        (dict(bottleneck=None, schedule={"kind": "deprune", "phases": PHASES}), "keeps 4 channels, which needs"),
        (
            dict(train={"epochs": 1}, schedule={"kind": "deprune", "phases": PHASES}),
            "2 phases do not fit into train.epochs=1",
        ),
        (dict(train={"epochs": 0, "threads": 0}), "train.threads: Input should be greater"),
    ],
    ids=str,
)
def test_faults(changes, text):
    found = fault(config, **changes)
    assert found.startswith("recipe demo: ") and text in found


def test_missing_key():
    assert "cut: Field required" in fault(parse, SplitConfig, {k: v for k, v in tree().items() if k != "cut"}, "x")


def test_all_faults_on_one_line():
    found = fault(config, train={"epochs": 0, "threads": 0, "momentum": 1})
    assert found.count("; ") == 2 and all(f"train.{key}: " in found for key in ("epochs", "threads", "momentum"))


@pytest.mark.parametrize("phases", [1, 2])
def test_as_many_phases_as_epochs(phases):
    made = config(train={"epochs": phases}, schedule={"kind": "deprune", "phases": PHASES[:phases]})
    assert len(made.schedule.phases) == phases


@pytest.mark.parametrize(
    ("setting", "read", "value"),
    [
        ("train.epochs=3", lambda c: c.train.epochs, 3),
        ("train.lr=1e-3", lambda c: c.train.lr, 1e-3),
        ("train.threads=null", lambda c: c.train.threads, None),
        ("train.channels_last=true", lambda c: c.train.channels_last, True),
        ("name=a=b", lambda c: c.name, "a=b"),
        ("bottleneck.penalty=2", lambda c: c.bottleneck.penalty, 2),
        ("schedule.phases.1.share=9", lambda c: c.schedule.phases[1].share, 9),
        ("schedule.phases.0.level=c2.b1/b1", lambda c: str(c.schedule.phases[0].level), "c2·b1/b1"),
        ("schedule.phases.0.level.up_bits=8", lambda c: str(c.schedule.phases[0].level), "c4·b8/b4·zstd"),
        ("schedule={kind: fixed, level: all.b8/b8}", lambda c: c.schedule, Fixed(level=Level(up_bits=8, down_bits=8))),
        ("model.args.width=0.5", lambda c: c.model.args, {"width": 0.5, "norm": {"eps": 1}}),
        ("model.args.norm.eps=2", lambda c: c.model.args, {"norm": {"eps": 2}}),
        ("model.args={a: [1, 2]}", lambda c: c.model.args, {"a": [1, 2]}),
    ],
)
def test_with_settings(setting, read, value):
    before = config(
        schedule={"kind": "deprune", "phases": PHASES}, model={"name": "vgg11", "args": {"norm": {"eps": 1}}}
    )
    copy = before.model_copy(deep=True)
    assert read(before.with_settings([setting])) == value
    assert before == copy


@pytest.mark.parametrize(
    ("setting", "read", "value"),
    [
        ("cut=1", lambda c: c.cut, "1"),
        ("cut='1'", lambda c: c.cut, "1"),
        ('cut="1"', lambda c: c.cut, "1"),
        ("cut=007", lambda c: c.cut, "007"),
        ("cut=1.10", lambda c: c.cut, "1.10"),
        ("data.root=1.5", lambda c: c.data.root, "1.5"),
        ("data.root=null", lambda c: c.data.root, None),
        ("data.root='null'", lambda c: c.data.root, "null"),
        ("data.root=/data #2", lambda c: c.data.root, "/data #2"),
        ("data.root=[a]: b", lambda c: c.data.root, "[a]: b"),
        ("data.name=true", lambda c: c.data.name, "true"),
        ("data.name=2024-01-01", lambda c: c.data.name, "2024-01-01"),
        ("data.name=12:30", lambda c: c.data.name, "12:30"),
        ("model.name=1e3", lambda c: c.model.name, "1e3"),
        ("model.name=null", lambda c: c.model.name, "null"),
        ("name=0x10", lambda c: c.name, "0x10"),
        ("ray.storage=1_000", lambda c: c.ray.storage, "1_000"),
        ("model={name: 1e3, args: {depth: 1e1}}", lambda c: (c.model.name, c.model.args), ("1e3", {"depth": 10})),
        ("data={name: no, size: 8}", lambda c: (c.data.name, c.data.size), ("no", 8)),
        ("model.args.variant='1'", lambda c: c.model.args["variant"], "1"),
        ("model.args.variant=1", lambda c: c.model.args["variant"], 1),
        ("model.args.names=['1', b, 2]", lambda c: c.model.args["names"], ["1", "b", 2]),
        ("train.device=0", lambda c: c.train.device, "0"),
        ("train.lr=1", lambda c: c.train.lr, 1.0),
    ],
)
def test_text_stays_text(setting, read, value):
    found = read(config().with_settings([setting]))
    assert found == value and type(found) is type(value)
    assert read(config().with_settings(["data.size=16", "model.args.x=1", setting])) == value  # after edits of its node


def test_settings_are_a_list():
    assert "write ['train.epochs=3']" in fault(config().with_settings, "train.epochs=3")


def test_settings_add_up():
    made = config().with_settings(["train.epochs=3", "train.batch_size=32", "train.epochs=4"])
    assert (made.train.epochs, made.train.batch_size) == (4, 32)
    assert config().with_settings([]) == config()
    assert config().with_settings(["bottleneck=null"]).bottleneck is None


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("train.epochs", "setting 'train.epochs' has no '='; write key.path=value"),
        ("train.epoch=3", "unknown key 'epoch' in train (setting train.epoch). Nearest: epochs"),
        ("trian.epochs=3", "unknown key 'trian' in the recipe (setting trian.epochs). Nearest: train"),
        ("=3", "unknown key '' in the recipe"),
        ("data.name.first=x", "unknown key 'first' in data.name"),
        (
            "schedule.phases.2.share=1",
            "unknown key '2' in schedule.phases (setting schedule.phases.2.share). Known: 0, 1",
        ),
        ("schedule.phases.-1.share=1", "unknown key '-1' in schedule.phases"),
        ("schedule.phases.first.share=1", "unknown key 'first' in schedule.phases"),
        ("schedule.level=all.b4/b4", "unknown key 'level' in schedule"),
        ("train.epochs=0", "recipe demo: train.epochs: Input should be greater than or equal to 1 (got 0)"),
        ("train.in_flight=3", "recipe demo: train: batch_size 64 is not a multiple of in_flight 3"),
        ("name=", "recipe demo: name: is empty; give some text"),
        ("name=''", "recipe demo: name: is empty; give some text"),
        ("data.name= ", "recipe demo: data.name: is empty; give some text"),
        ("data={name: }", "recipe demo: data.name: is empty; give some text"),
        ("model.name=", "recipe demo: model.name: is empty; give some text"),
        ("cut=", "recipe demo: cut: is empty; give some text"),
        ("bottleneck.mode=1", "recipe demo: bottleneck.mode: Input should be 'paper' or 'raysplit' (got 1)"),
        ("train={1: 2}", "recipe demo: train: unknown key '1'"),
    ],
)
def test_settings_that_do_not_apply(setting, text):
    assert text in fault(config(schedule={"kind": "deprune", "phases": PHASES}).with_settings, [setting])


@pytest.mark.parametrize("text", ["[1,", ": :", "@", "!!python/object:os.system x"])
def test_setting_that_is_not_yaml(text):
    assert "train.lr" in fault(config().with_settings, [f"train.lr={text}"])


def test_setting_below_a_missing_model_argument():
    assert "norm" in fault(config().with_settings, ["model.args.norm.eps=2"])


@pytest.mark.parametrize(
    "changes",
    [
        dict(train={"lr": float("inf")}),
        dict(bottleneck={"penalty": float("inf")}),
        dict(schedule={"kind": "deprune", "phases": [{**PHASES[0], "share": float("inf")}]}),
    ],
    ids=["lr", "penalty", "share"],
)
def test_infinite_numbers(changes):
    assert "finite number" in fault(config, **changes)


@pytest.mark.parametrize(
    ("made", "field", "value"),
    [
        (config(), "cut", "x"),
        (config().train, "epochs", 1),
        (UNCOMPRESSED, "channels", 4),
        (Phase(level=UNCOMPRESSED, share=1), "share", 2),
    ],
    ids=["config", "train", "level", "phase"],
)
def test_frozen(made, field, value):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, field, value)


@pytest.mark.parametrize(
    "made",
    [
        config(),
        config(bottleneck=None, schedule={"kind": "fixed", "level": "all.b1/b2.zstd"}),
        config(schedule={"kind": "deprune", "phases": PHASES, "reset_logits": False}),
        config(model={"name": "m.py:f", "args": {"width": 0.5, "layers": [1, "M"], "norm": {"eps": None}}}),
        config(train={"lr": 1e-7, "in_flight": 4, "device": "cuda:0", "threads": 3}, ray={"storage": "s3://b/p"}),
    ],
)
def test_json_round_trip(made):
    assert loads(SplitConfig, made.model_dump_json(), "record") == made
    assert loads(SplitConfig, json.dumps(made.model_dump(mode="json")), "record") == made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "record is not JSON: "),
        ("{", "record is not JSON: "),
        ("[]", "record: Input should be a valid dictionary"),
        ("null", "record: Input should be a valid dictionary"),
        ("{}", "record: name: Field required"),
    ],
)
def test_loads_faults(text, found):
    assert fault(loads, SplitConfig, text, "record").startswith(found)


def test_replaced():
    made = config()
    longer = made.replaced(name="longer", train=made.train.replaced(epochs=20))
    assert (longer.name, longer.train.epochs, made.train.epochs) == ("longer", 20, 10)
    assert isinstance(longer, SplitConfig) and longer.replaced(name="demo", train=made.train) == made
    assert longer.replaced() == longer


@pytest.mark.parametrize(
    ("made", "changes", "text"),
    [
        (TrainConfig(), dict(epochs=0), "greater than or equal to 1"),
        (TrainConfig(), dict(epoch=1), "unknown key 'epoch'. Nearest: epochs"),
        (TrainConfig(), dict(in_flight=3), "not a multiple"),
        (config(schedule=Fixed(level=Level(channels=4))), dict(bottleneck=None), "needs a bottleneck"),
        (Deprune(phases=(Phase(level=UNCOMPRESSED, share=1),)), dict(phases=()), "at least 1 item"),
        (
            Prune(phases=(Stage(level="c4.b4/b4", share=1),)),
            dict(phases=[Stage(level="c4.b4/b4", share=1), Stage(level="c4·b4/b4", share=2)]),
            "level c4·b4/b4 is in 2 phases; a family has one model for each level",
        ),
        (
            Plateau(ladder=("c2.b4/b4", "c4.b4/b4")),
            dict(ladder=("c2.b4/b4", "c4.b4/b4", "c2·b4/b4")),
            "level c2·b4/b4 is in the ladder 2 times",
        ),
    ],
)
def test_replaced_validates(made, changes, text):
    with pytest.raises(ValidationError, match=text):
        made.replaced(**changes)


def test_in_flight_divides_the_batch():
    assert TrainConfig(batch_size=64, in_flight=16).in_flight == 16
    assert TrainConfig(batch_size=6, in_flight=3).in_flight == 3


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("data.image=photo", "image", "photo"),
        ("data.label=1", "label", "1"),
        ("data.splits={train: 'p-*.pq', test: [a, 2]}", "splits", DataSplits(train="p-*.pq", test=("a", "2"))),
        ("data.unused_labels=drop", "unused_labels", "drop"),
    ],
)
def test_settings_of_parquet_data(setting, key, value):
    plain = config(data={"name": "parquet:photos"})
    changed = plain.with_settings([setting])
    assert getattr(changed.data, key) == value
    assert loads(SplitConfig, changed.model_dump_json(), where="a file") == changed != plain


def test_data_that_need_no_setting_are_written_as_ever():
    assert not {"image", "label", "splits", "unused_labels"} & set(config().data.model_dump())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"name": "cifar10", "label": "x"}, "label name columns and files of Parquet data, and name is 'cifar10'"),
        ({"name": "folder:a", "image": "x", "splits": {"train": "a"}}, "data: image and splits name columns and files"),
        ({"name": "parquet:a", "image": "x", "label": "x"}, "data: image and label are the same column, 'x'; name two"),
        ({"name": "parquet:a", "splits": {"test": "a"}}, "data.splits.train: Field required"),
        ({"name": "parquet:a", "splits": {"train": "a", "valid": "b"}}, "unknown key 'valid'. Nearest: validation"),
        ({"name": "parquet:a", "unused_labels": "skip"}, "data.unused_labels: Input should be 'keep' or 'drop'"),
        ({"name": "parquet:a", "splits": {"train": []}}, "data.splits.train"),
    ],
)
def test_wrong_settings_of_parquet_data(data, text):
    assert text in fault(config, data=data)
