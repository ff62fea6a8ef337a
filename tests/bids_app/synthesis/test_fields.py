import torch

from bids_app.synthesis import fields


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_reading_at_the_voxels_gives_the_voxels():
    volume = torch.rand(2, 6, 7, 8, generator=generator())
    torch.testing.assert_close(fields.read(volume, fields.places((6, 7, 8), 0.5), 0.5), volume)


def test_places_are_in_mm_from_the_middle():
    at = fields.places((3, 3, 3), 2.0)
    assert at[0, 1, 2].tolist() == [-2.0, 0.0, 2.0]


def test_a_blur_keeps_the_sum():
    image = torch.zeros(21, 21, 21)
    image[10, 10, 10] = 1
    assert abs(float(fields.blur(image, (1.0, 2.0, 1.5)).sum()) - 1) < 1e-5


def test_a_rotation_is_one():
    turn = fields.rotation(torch.tensor([0.3, -0.2, 0.5]))
    torch.testing.assert_close(turn @ turn.T, torch.eye(3))
    assert torch.det(turn) > 0


def test_each_purpose_of_a_participant_has_numbers_of_its_own():
    def drawn(*key: int) -> list[float]:
        return torch.rand(3, generator=fields.stream(*key)).tolist()

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({tuple(drawn(*key)) for key in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4))}) == 4
