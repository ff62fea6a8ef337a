import torch

from bids_app.synthesis.scanner import contrast


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_reading_at_the_voxels_gives_the_voxels():
    volume = torch.rand(2, 6, 7, 8, generator=generator())
    torch.testing.assert_close(contrast.read(volume, contrast.places((6, 7, 8), 0.5), 0.5), volume)


def test_places_are_in_mm_from_the_middle():
    at = contrast.places((3, 3, 3), 2.0)
    assert at[0, 1, 2].tolist() == [-2.0, 0.0, 2.0]


def test_a_blur_keeps_the_sum():
    image = torch.zeros(21, 21, 21)
    image[10, 10, 10] = 1
    assert abs(float(contrast.blur(image, (1.0, 2.0, 1.5)).sum()) - 1) < 1e-5


def test_a_rotation_is_one():
    turn = contrast.rotation(torch.tensor([0.3, -0.2, 0.5]))
    torch.testing.assert_close(turn @ turn.T, torch.eye(3))
    assert torch.det(turn) > 0


def test_acquisition_does_not_move_the_image():
    image = torch.zeros(48, 48, 48)
    image[18:26, 22:30, 20:28] = 1
    middle = torch.stack([(contrast.places((48,) * 3, 0.5)[..., a] * image).sum() / image.sum() for a in range(3)])
    for seed in range(4):
        scanned = contrast.acquire(image, 0.5, generator(seed), noise=0.0)
        found = torch.stack(
            [(contrast.places((48,) * 3, 0.5)[..., a] * scanned).sum() / scanned.sum() for a in range(3)]
        )
        assert (found - middle).norm() < 0.1


def test_finishing_keeps_the_order_of_brightness():
    ramp = torch.linspace(1, 2, 27000).reshape(30, 30, 30)
    finished = contrast.finish(ramp, generator(), bias=0.0)
    assert finished.min() == 0
    assert finished.max() == 1
    assert (finished.flatten().diff() >= 0).all()
