"""Headers with bytes that have changed: what the preflight lets pass, every step after it can read."""

import contextlib
import time

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.preflight import check_image
from bids_app.errors import TandemError
from bids_app.imaging.conform import conform

pytestmark = pytest.mark.faults

#: Bytes of a NIfTI-1 header that say dimensions, type, offset, scale, units, forms, magic and extension.
FIELDS = [*range(40, 56), *range(70, 124), *range(252, 344), *range(344, 352)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "sub-01_T1w.nii"
    values = np.random.default_rng(0).integers(0, 200, (14, 14, 14)).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([5.0, 5, 5, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 50))
    nib.save(image, path)
    return path.read_bytes()


def damaged(content: bytes, seed: int) -> bytes:
    draw, changed = np.random.default_rng(seed), bytearray(content)
    for place in draw.choice(FIELDS, draw.integers(1, 4)):
        changed[place] = draw.choice([0, 1, 127, 128, 255, int(draw.integers(256))])
    return bytes(changed)


def test_what_passes_the_check_can_be_conformed(tmp_path, whole):
    passed, path = 0, tmp_path / "sub-01_T1w.nii"
    for seed in range(600):
        path.write_bytes(damaged(whole, seed))
        begin = time.perf_counter()
        with contextlib.suppress(TandemError):
            check_image(path)
            passed += 1
            conform_or_say(path, tmp_path / "out.nii", seed)
        assert time.perf_counter() - begin < 20, seed
    assert 30 < passed < 570  # else nothing was tried


def conform_or_say(path, out, seed):
    try:
        conform(path, out)
    except TandemError as error:
        pytest.fail(f"seed {seed}: the check lets pass what cannot be conformed: {error}")
    assert np.isfinite(np.asarray(nib.load(out).dataobj)).all(), seed


@pytest.mark.parametrize("seed", range(40))
def test_a_compressed_file_with_changed_bytes_ends_in_a_sentence(tmp_path, whole, seed):
    import gzip

    draw, path = np.random.default_rng(seed), tmp_path / "sub-01_T1w.nii.gz"
    content = bytearray(gzip.compress(damaged(whole, seed) if seed % 2 else whole))
    for place in draw.integers(0, len(content), 3):
        content[place] = draw.integers(256)
    path.write_bytes(bytes(content))
    with contextlib.suppress(TandemError):
        check_image(path)
        conform_or_say(path, tmp_path / "out.nii", seed)
