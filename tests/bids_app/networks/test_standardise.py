import torch

from bids_app.networks.standardise import standardise


def test_brightness_unit_does_not_matter():
    image = torch.rand(1, 8, 8, 8) + 1
    torch.testing.assert_close(standardise(image), standardise(image * 700), atol=1e-4, rtol=1e-4)


def test_zero_stays_zero_and_does_not_count():
    image = torch.rand(1, 8, 8, 8) + 1
    wide = torch.zeros(1, 8, 8, 16)
    wide[..., :8] = image
    torch.testing.assert_close(standardise(wide)[..., :8], standardise(image))
    assert (standardise(wide)[..., 8:] == 0).all()


def test_missing_sequence_is_all_zero():
    assert (standardise(torch.zeros(2, 4, 4, 4)) == 0).all()
