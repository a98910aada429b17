"""Who is held out: by patient, transitively by copies, stored once and looked up ever after."""

import json
from pathlib import Path

import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_train.dataset import Sample, count_samples, find_samples, patient_of
from cxr_train.split import (
    Split,
    derive_split,
    describe_misfit,
    group_patients,
    split_of_bundle,
    stored_split,
    without_straddlers,
)


def sample(name, digest, *, split="train"):
    patient, family = patient_of(name)
    return Sample(Path(split, name), int(name.startswith("person")), split, patient, family, digest)


@pytest.fixture
def pool():
    """Two radiographs of each of 40 patients of four families."""
    names = [
        f"person{n}_{kind}_{n}{again}.jpeg" for n in range(10) for kind in ("bacteria", "virus") for again in (1, 2)
    ]
    names += [
        f"{series}-{n:04}-000{again}.jpeg" for n in range(10) for series in ("IM", "NORMAL2-IM") for again in (1, 2)
    ]
    return [sample(name, name) for name in names]


def test_the_same_share_of_every_family_is_held_out_and_nobody_is_on_both_sides(pool):
    sides = Split.of(pool, seed=3, fraction=0.2).sides(pool)
    assert len(sides.learned) == 64
    assert not sides.unknown
    assert sorted({(s.label, s.family) for s in sides.held_out}) == [
        (0, "IM"),
        (0, "NORMAL2-IM"),
        (1, "bacteria"),
        (1, "virus"),
    ]
    assert count_samples(sides.held_out) == {"NORMAL": 8, "PNEUMONIA": 8, "patients": 8}
    assert not {s.patient for s in sides.learned} & {s.patient for s in sides.held_out}


def test_the_seed_decides(pool):
    assert Split.of(pool, seed=1) == Split.of(pool, seed=1)
    assert Split.of(pool, seed=1).held_out != Split.of(pool, seed=2).held_out


def test_every_patient_is_held_out_in_one_of_the_folds_each_with_its_share_of_every_family(pool):
    folds = [Split.fold(pool, number, 5, seed=1).sides(pool) for number in range(1, 6)]
    assert sorted(s.path for fold in folds for s in fold.held_out) == sorted(s.path for s in pool)
    for fold in folds:
        assert count_samples(fold.held_out) == {"NORMAL": 8, "PNEUMONIA": 8, "patients": 8}
        assert not {s.patient for s in fold.learned} & {s.patient for s in fold.held_out}


def test_copies_join_patients_through_others():
    # a and b share one image, b and c another: all three are one child, whatever order the files come in
    names = ["IM-0001-0001.jpeg", "IM-0002-0001.jpeg", "IM-0002-0002.jpeg", "IM-0003-0001.jpeg", "IM-0004-0001.jpeg"]
    digests = ["x", "x", "y", "y", "z"]
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1], [4, 2, 3, 1, 0]):
        grouped = group_patients([sample(names[i], digests[i]) for i in order])
        by_name = {s.path.name: s.patient for s in grouped}
        assert len({by_name[name] for name in names[:4]}) == 1
        assert by_name[names[4]] == "IM-0004"


@pytest.mark.parametrize("seed", range(8))
def test_joined_patients_are_on_one_side(seed):
    samples = [sample(f"IM-{n:04}-0001.jpeg", f"c{n // 2}") for n in range(40)]
    samples += [sample(f"IM-{n:04}-0002.jpeg", f"d{(n + 1) // 2}") for n in range(20)]  # a chain of 20
    split = Split.of(samples, seed=seed, fraction=0.3)
    sides = split.sides(samples)
    chain = {f"IM-{n:04}" for n in range(20)}
    sides_of_chain = [
        any(patient_of(s.path.name)[0] in chain for s in side) for side in (sides.learned, sides.held_out)
    ]
    assert sides_of_chain.count(True) == 1
    assert not {s.digest for s in sides.learned} & {s.digest for s in sides.held_out}


def test_whoever_is_in_test_is_dropped_from_train_with_all_copies():
    samples = [
        sample("person1_virus_1.jpeg", "a", split="test"),
        sample("person1_virus_2.jpeg", "b"),  # the same child
        sample("person2_virus_1.jpeg", "b"),  # a copy of that child's image under another name
        sample("person2_virus_2.jpeg", "c"),  # another image of the child of that name
        sample("person3_virus_1.jpeg", "d", split="test"),
        sample("person4_virus_1.jpeg", "d", split="val"),  # a copy of an image in test
        sample("person5_virus_1.jpeg", "e"),
    ]
    kept, found = without_straddlers(samples)
    assert [s.path.name for s in kept] == ["person1_virus_1.jpeg", "person3_virus_1.jpeg", "person5_virus_1.jpeg"]
    assert [(f.reason, f.key, f.splits, len(f.dropped)) for f in found] == [
        ("patient", "person1_virus", ("test", "train"), 3),
        ("digest", "d", ("test", "val"), 1),
    ]


def test_a_stored_split_survives_another_folder(pool, tmp_path):
    split = Split.of(pool, seed=3)
    (tmp_path / "split.json").write_text(json.dumps(split.to_json()), "utf-8")
    stored = Split.read(tmp_path / "split.json")
    assert stored == split
    held_out = {s.path.name for s in split.sides(pool).held_out}
    fewer = [s for s in pool if s.patient != "person0_virus"]
    later = {s.path.name for s in stored.sides(fewer).held_out}
    assert later == held_out - {s.path.name for s in pool if s.patient == "person0_virus"}
    assert {s.path.name for s in Split.of(fewer, seed=3).sides(fewer).held_out} != later  # derived again: others


def test_strangers_and_copies_are_told_apart(pool):
    split = Split.of(pool, seed=3)
    sides = split.sides(pool)
    learned, held_out = sides.learned[0], sides.held_out[0]
    more = [
        *pool,
        sample("IM-7777-0001.jpeg", "new"),
        sample("IM-8888-0001.jpeg", learned.digest),
        sample("IM-9999-0001.jpeg", held_out.digest),
    ]
    found = split.sides(more)
    assert [s.path.name for s in found.unknown] == ["IM-7777-0001.jpeg"]
    assert "IM-8888-0001.jpeg" in {s.path.name for s in found.learned}
    assert "IM-9999-0001.jpeg" in {s.path.name for s in found.held_out}
    assert list(describe_misfit(split, found)) == [
        "1 radiographs are of patients whom the split does not know; left out: IM-7777-0001.jpeg"
    ]
    gone = split.sides([s for s in pool if s.patient != held_out.patient])
    count = len(split.held_out)
    assert list(describe_misfit(split, gone)) == [f"the folder holds {count - 1} of the {count} held-out patients"]


def test_names_of_patients_are_not_written(pool):
    text = json.dumps(Split.of([*pool, sample("Jane Doe 1970-01-01.png", "j")], seed=0).to_json())
    assert "Jane" not in text
    assert "person" not in text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "split", "schema": 1}', '{"kind": "split", "schema": 2}'])
def test_a_damaged_split_is_named(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"split\.json"):
        Split.read(path)


def test_without_a_stored_split_the_folder_has_to_fit_the_record(kermany_copy):
    samples = find_samples(kermany_copy)
    pool = [s for s in samples if s.split != "test"]
    split = Split.of(pool, seed=5)
    sides = split.sides(pool)
    record = {
        "seed": 5,
        "data": {"training": count_samples(sides.learned), "validation": count_samples(sides.held_out)},
    }
    assert derive_split(record, samples, Path("run")) == split
    with pytest.raises(UsageError, match="names no seed"):
        derive_split({"data": record["data"]}, samples, Path("run"))
    min((kermany_copy / "train" / "NORMAL").iterdir()).unlink()
    with pytest.raises(UsageError, match=r"run: stores no split.*point --data"):
        derive_split(record, find_samples(kermany_copy), Path("run"))


def test_the_shipped_bundle_states_its_split():
    split = stored_split(Bundle.open())
    record = Bundle.open().manifest.training
    assert split.seed == record["seed"]
    assert len(split.learned) == record["data"]["training"]["patients"]
    assert len(split.held_out) == record["data"]["validation"]["patients"]
    assert not split.learned & split.held_out


@pytest.mark.data
def test_the_shipped_split_is_that_of_the_training(data_folder):
    bundle, samples = Bundle.open(), find_samples(data_folder / "kermany224", ["train", "val"])
    sides = split_of_bundle(bundle, samples).sides(samples)
    data = bundle.manifest.training["data"]
    assert count_samples(sides.learned) == data["training"]
    assert count_samples(sides.held_out) == data["validation"]
    assert not sides.unknown
