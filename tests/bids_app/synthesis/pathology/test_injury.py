import pytest

from bids_app.synthesis.pathology.injury import AGE_SHARES, AGES, SITE_SHARES, SITES, draw_injury
from bids_app.synthesis.pathology.shapes import Canvas
from tests.bids_app.synthesis.drawn_people import placed, seeded


def test_shares_of_sites_and_ages_add_up():
    assert (len(SITES), sum(SITE_SHARES)) == (len(SITE_SHARES), pytest.approx(1))
    assert (len(AGES), sum(AGE_SHARES)) == (len(AGE_SHARES), pytest.approx(1))


def test_the_free_have_nothing_labelled_and_the_others_blood_of_their_age():
    free, chronic = [], []
    for seed in range(14):
        parts, facts = draw_injury(Canvas(placed(), seeded(seed)))
        labelled = {part.name for part in parts if part.region}
        if facts["free"]:
            free.append(labelled)
        elif AGES[int(facts["age"])] == "chronic":
            chronic.append(labelled)
    assert free == [set()] * len(free)
    assert free
    assert chronic
    assert all(labelled & {"haemosiderin", "blood"} and "oedema" not in labelled for labelled in chronic)
