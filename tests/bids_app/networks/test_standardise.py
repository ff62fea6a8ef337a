import torch

from bids_app.networks.standardise import normalise, standardise


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


def test_a_scale_of_the_cohort_is_kept_and_zero_stays_zero():
    stack = torch.rand(2, 8, 8, 8) + 1
    stack[:, 0] = 0
    done = normalise(stack, [{"kind": "scan"}, {"kind": "cohort", "mean": 1.0, "sd": 0.5}])
    torch.testing.assert_close(done[0], standardise(stack[0]))
    torch.testing.assert_close(done[1, 1:], (stack[1, 1:] - 1) / 0.5)
    assert (done[:, 0] == 0).all()


def test_a_batch_of_stacks_is_normalised_as_each_alone():
    stacks = torch.rand(3, 2, 4, 4, 4) + 1
    how = [{"kind": "scan"}, {"kind": "cohort", "mean": 1.0, "sd": 0.5}]
    torch.testing.assert_close(normalise(stacks, how)[1], normalise(stacks[1], how))
