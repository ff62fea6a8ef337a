"""What a cohort knows of resting-state series, from the sessions' records."""

from __future__ import annotations

import numpy as np

from bids_app.bids.record import ImageFiles, Images, Preprocessing, empty_record
from bids_app.cohort.cohort import usable
from bids_app.recipes.recipe import load_recipe

FILES = ("T1w.nii.gz", "alff.nii.gz", "falff.nii.gz", "reho.nii.gz", "mask.nii.gz", "courses.tsv")


def record(courses: str | None):
    maps = {name: f"{name}.nii.gz" for name in ("alff", "falff", "reho")}
    files = ImageFiles(
        reference={"preproc": "T1w.nii.gz"}, sequences={"preproc": maps}, brain_mask="mask.nii.gz", courses=courses
    )
    done = Preprocessing(to_template=np.eye(4).tolist(), functional={"mean_fd_mm": 0.21})
    one = empty_record("01", None)
    one.images["T1w"] = Images(reference="T1w", files=files, preprocessing=done)
    return one


def test_courses_and_motion_come_with_a_session(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    session, why = usable(load_recipe("restingstate"), tmp_path, record("courses.tsv"))
    assert why == ""
    assert session.courses == tmp_path / "courses.tsv"
    assert session.motion == 0.21


def test_a_session_of_an_earlier_version_has_no_courses(tmp_path):
    for name in FILES[:-1]:
        (tmp_path / name).write_bytes(b"")
    assert usable(load_recipe("restingstate"), tmp_path, record(None))[0].courses is None
    assert usable(load_recipe("restingstate"), tmp_path, record("courses.tsv"))[0].courses is None
