"""Views and body parts that are stated by code."""

import pytest

from cxr_edge.prediction.gate import scope_warnings
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.dicom import coded
from dicoms import NAME, dataset, item, parsed, written
from dicoms import coded as sequence


def said(**elements):
    source = read_radiograph(written(dataset(**elements))).source
    warnings = scope_warnings(source, None)
    assert not any("Mustermann" in text for text in (*warnings, str(source.to_json())))
    return warnings


@pytest.mark.parametrize(
    ("value", "scheme", "meaning"),
    [
        ("399067008", "SCT", "lateral"),
        ("R-102CD", "SRT", "lateral"),
        ("R-10236", "SNM3", "left lateral"),
        ("399198007", "SCT", "right lateral"),
        ("399198007", "", "right lateral"),
        ("r-10232", "99sdm ", "right lateral"),
        ("399182000", "SCT", "oblique"),
        ("R-102C1", "SRT", "oblique"),
        ("399006002", "SCT", "left posterior oblique"),
        ("R-10242", "SRT", "cranio-caudal"),
        ("123456789", "SCT", "code 123456789 (SCT)"),
    ],
)
def test_a_view_that_is_no_frontal_one_is_named_by_the_words_of_the_standard(value, scheme, meaning):
    (warning,) = said(ViewCodeSequence=sequence(value, scheme))
    assert warning == f"ViewCodeSequence (0054,0220) is {meaning}: the network is made for AP or PA views."


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("399348003", "SCT"), ("R-10206", "SRT"), ("272479007", "SCT"), ("R-10214", "SRT"), ("399033003", "SCT")],
)
def test_frontal_views_are_not_warned_about(value, scheme):
    assert said(ViewCodeSequence=sequence(value, scheme)) == ()


@pytest.mark.parametrize(
    ("value", "scheme", "meaning"),
    [
        ("85562004", "SCT", "Hand"),
        ("T-D8700", "SRT", "Hand"),
        ("72696002", "SCT", "Knee"),
        ("T-D9200", "SRT", "Knee"),
        ("818981001", "SCT", "ABDOMEN"),
        ("T-D4000", "SRT", "ABDOMEN"),
        ("416550000", "SCT", "Chest and Abdomen"),
        ("T-11300", "SNM3", "Rib"),
        ("816092008", "SCT", "Pelvis"),
    ],
)
def test_every_body_part_but_the_chest_is_named(value, scheme, meaning):
    (warning,) = said(AnatomicRegionSequence=sequence(value, scheme))
    assert warning.startswith(f"AnatomicRegionSequence (0008,2218) is {meaning}: the network is made for CHEST")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("51185008", "SCT"), ("T-D3000", "SRT"), ("816094009", "SCT"), ("39607008", "SCT"), ("T-28000", "SRT")],
)
def test_the_chest_is_not_warned_about(value, scheme):
    assert said(AnatomicRegionSequence=sequence(value, scheme)) == ()


@pytest.mark.parametrize(("value", "scheme"), [("MUSTERMANN", "99LOCAL"), ("MUSTERMANN", "SCT"), ("4711", "")])
def test_codes_of_other_schemes_and_what_is_no_code_are_not_quoted(value, scheme):
    assert coded(parsed(item(ViewCodeSequence=sequence(value, scheme))), "ViewCodeSequence") is None
    assert said(ViewCodeSequence=sequence(value, scheme), AnatomicRegionSequence=sequence(value, scheme)) == ()


def test_an_empty_sequence_states_nothing():
    assert said(ViewCodeSequence=[], AnatomicRegionSequence=[item()]) == ()


def test_a_modifier_makes_another_view():
    view = sequence("399348003", ViewModifierCodeSequence=sequence("260461000"))
    (warning,) = said(ViewCodeSequence=view)
    assert warning.startswith("ViewCodeSequence (0054,0220) is AP, ")


def test_the_region_of_a_frame_is_read():
    groups = [item(FrameAnatomySequence=[item(AnatomicRegionSequence=sequence("85562004"))])]
    (warning,) = said(SharedFunctionalGroupsSequence=groups)
    assert "(0008,2218) is Hand" in warning


def test_text_and_code_are_both_held_against_the_scope():
    warnings = said(ViewPosition="LL", BodyPartExamined="Hand", ViewCodeSequence=sequence("399173006"))
    assert [text.split(":")[0] for text in warnings] == [
        "BodyPartExamined (0018,0015) is HAND",
        "ViewPosition (0018,5101) is LL",
        "ViewCodeSequence (0054,0220) is left lateral",
    ]


def test_what_is_stated_but_is_no_code_is_said_without_quoting_it():
    data = written(dataset(BodyPartExamined="Chest of Erika", ViewPosition="von vorn"))
    warnings = read_radiograph(data).warnings
    assert warnings == (
        "BodyPartExamined (0018,0015) is stated, but not as a code that is known: it was not taken into account.",
        "ViewPosition (0018,5101) is stated, but not as a code that is known: it was not taken into account.",
    )
    assert NAME not in str(warnings)
