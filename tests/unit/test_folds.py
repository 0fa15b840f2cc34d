from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fertools.folds.assign import FoldError, step_folds

# The published list CK+_10-fold_sample_IDascendorder_step10: the people of each fold and their labelled sequences.
CKPLUS = """
005:1 035:3 054:3 064:3 074:4 084:2 094:2 106:3 116:3 130:5 147:1 501:3
010:3 037:3 055:5 065:4 075:4 085:3 095:4 107:2 117:3 131:4 148:1 502:3
011:6 042:4 056:3 066:4 076:3 086:2 096:3 108:3 119:3 132:5 149:1 503:3
014:4 044:3 057:3 067:4 077:2 087:4 097:3 109:3 122:1 133:3 151:1 504:4
022:3 045:2 058:3 068:4 078:3 088:2 098:2 110:1 124:4 134:3 154:1 505:2
026:4 046:4 059:2 069:3 079:3 089:3 099:3 111:3 125:5 135:2 155:1 506:4
028:1 050:4 060:3 070:3 080:3 090:3 100:3 112:1 126:2 136:4 156:1 895:1
029:1 051:2 061:3 071:5 081:3 091:2 101:1 113:3 127:3 137:3 157:1 999:2
032:5 052:3 062:4 072:2 082:3 092:3 102:3 114:2 128:2 138:5 158:1
034:3 053:2 063:2 073:2 083:1 093:2 105:1 115:3 129:4 139:1 160:1
"""
CONTEMPT_ONLY = ["S139", "S147", "S148", "S149", "S151", "S154", "S155", "S156", "S157", "S158", "S160", "S895"]


def published():
    """Return {subject: (fold, sequences)} of the published list."""
    return {
        f"S{entry[:3]}": (fold, int(entry[4:]))
        for fold, line in enumerate(CKPLUS.strip().splitlines(), 1)
        for entry in line.split()
    }


def test_the_published_ckplus_folds():
    subjects = [subject for subject, (_, sequences) in published().items() for _ in range(sequences)]
    folds = step_folds(subjects, 10)
    assert {subject: fold for subject, fold in zip(subjects, folds, strict=True)} == {
        subject: fold for subject, (fold, _) in published().items()
    }
    assert [Counter(folds)[fold] for fold in range(1, 11)] == [33, 39, 40, 35, 30, 37, 29, 29, 33, 22]


def test_the_published_sizes_without_contempt():
    # 106 people, dealt anew after the class filter. Ten of those with contempt have other sequences too.
    both = ["S138", "S502", "S503", "S504", "S505", "S506"]
    sequences = {s: count - (s in both) for s, (_, count) in published().items() if s not in CONTEMPT_ONLY}
    subjects = [subject for subject, count in sequences.items() for _ in range(count)]
    assert (len(sequences), len(subjects)) == (106, 309)
    sizes = Counter(step_folds(subjects, 10))
    assert [sizes[fold] for fold in range(1, 11)] == [31, 37, 39, 31, 30, 34, 27, 26, 31, 23]


@given(subjects=st.lists(st.text(min_size=1, max_size=3), min_size=2), num_folds=st.integers(2, 10))
def test_a_subject_is_in_one_fold_and_folds_are_balanced(subjects, num_folds):
    assume(num_folds <= len(set(subjects)))
    folds = step_folds(subjects, num_folds)
    fold_of = dict(zip(subjects, folds, strict=True))
    assert [fold_of[subject] for subject in subjects] == folds
    sizes = Counter(fold_of.values())
    assert set(sizes) == set(range(1, num_folds + 1)) and max(sizes.values()) - min(sizes.values()) <= 1


def test_a_face_without_subject_is_refused():
    with pytest.raises(FoldError, match="1 of 2 faces have no subject"):
        step_folds(["a", None], num_folds=2)


def test_more_folds_than_people_are_refused():
    with pytest.raises(FoldError, match="3 folds asked of 2 subjects"):
        step_folds(["a", "b", "b"], num_folds=3)


def test_the_published_ckplus_folds_hold_the_published_numbers_of_fear():
    lines = (Path(__file__).parents[1] / "ckplus_sequences.txt").read_text().splitlines()  # of the same list
    sequences = [line.split() for line in lines]
    folds = step_folds([name[:4] for name, _ in sequences], 10)
    fearful = Counter(fold for fold, (_, expression) in zip(folds, sequences, strict=True) if expression == "fear")
    assert [fearful[fold] for fold in range(1, 11)] == [4, 4, 3, 1, 2, 4, 1, 2, 4, 0]
