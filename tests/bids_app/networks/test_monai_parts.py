import subprocess
import sys

import pytest
import torch

from bids_app.networks import monai_parts
from bids_app.networks.monai_parts import PARTS, plain_imports

PARTS_FIRST = f"import sys\nfrom bids_app.networks.monai_parts import {', '.join(PARTS)}\n"
#: Prints every module of MONAI that is loaded, with the names that it has.
WHOLE = """
import sys, monai
import monai.metrics, monai.networks.nets.segresnet_ds
assert monai.networks.nets.SegResNetDS is monai.networks.nets.segresnet_ds.SegResNetDS
print({n: sorted(k for k in vars(m) if k != "__warningregistry__")
       for n, m in sorted(sys.modules.items()) if n.partition(".")[0] == "monai"})
"""
THREADS = """
import threading
ready = threading.Barrier(3)
def whole():
    import torch
    ready.wait()
    from monai.transforms import Resize
    from monai.networks.nets import SegResNetDS, UNet
    assert SegResNetDS.__module__ == "monai.networks.nets.segresnet_ds"
def parts():
    ready.wait()
    from bids_app.networks.monai_parts import DiceCELoss, SegResNetDS
    found.append((DiceCELoss, SegResNetDS))
found, errors = [], []
threading.excepthook = errors.append
threads = [threading.Thread(target=one) for one in (whole, parts, parts)]
for one in threads: one.start()
for one in threads: one.join(300)
assert len(found) == 2 and found[0] == found[1] and not errors
"""


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def answer(network_class: type, loss_class: type) -> tuple[float, list[torch.Tensor]]:
    """A small network's loss and its gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        shape = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_filters": 4, "blocks_down": (1, 1)}
        network = network_class(**shape, norm=("GROUP", {"num_groups": 2}), upsample_mode="deconv", dsdepth=1)
        truth = torch.nn.functional.one_hot(torch.randint(3, (1, 8, 8, 8))).movedim(-1, 1).float()
        loss_of = loss_class(softmax=True, include_background=False, squared_pred=True, batch=True)
        loss = loss_of(network(torch.randn(1, 1, 8, 8, 8)), truth)
    loss.backward()
    return loss.item(), [weights.grad for weights in network.parameters()]


@pytest.fixture
def anew(monkeypatch):
    """The parts as if nothing of them had been loaded yet."""
    for name in PARTS:
        monkeypatch.delitem(vars(monai_parts), name, raising=False)
    monkeypatch.setattr(monai_parts, "PRIVATE", f"{monai_parts.__name__}.anew")
    yield monkeypatch
    for name in PARTS:
        vars(monai_parts).pop(name, None)
    for name in [name for name in sys.modules if name.startswith(f"{monai_parts.__name__}.anew")]:
        del sys.modules[name]


def test_the_rest_of_monai_stays_out():
    code = f"{PARTS_FIRST}print([m for m in ('monai', 'matplotlib', 'pandas', 'nibabel') if m in sys.modules])"
    assert in_a_process(code) == "[]"


def test_whoever_imports_monai_gets_all_of_it():
    alone = in_a_process(WHOLE)
    assert "'monai.transforms'" in alone
    assert in_a_process(PARTS_FIRST + WHOLE) == alone
    assert in_a_process(THREADS + WHOLE) == alone


@pytest.mark.parametrize("absent", [None, "monai.utils.misc", "monai.losses.dice"])
def test_parts_answer_as_the_whole_to_the_last_bit(anew, absent):
    """Also where another version of MONAI keeps things elsewhere, so that more of it is loaded, or all."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import SegResNetDS

    anew.setattr(monai_parts, "OWN", tuple(name for name in monai_parts.OWN if name != absent))
    loss, gradients = answer(SegResNetDS, DiceCELoss)
    other_loss, other_gradients = answer(monai_parts.SegResNetDS, monai_parts.DiceCELoss)
    assert other_loss == loss
    assert len(gradients) > 5
    assert all(map(torch.equal, gradients, other_gradients))


def test_what_cannot_be_loaded_in_parts_comes_from_the_whole(anew, tmp_path):
    from monai.losses import DiceCELoss

    anew.setattr(monai_parts, "_root", lambda: tmp_path)
    assert monai_parts.DiceCELoss is DiceCELoss


def test_a_name_that_is_no_part_is_none():
    with pytest.raises(AttributeError, match="has no attribute 'UNet'"):
        _ = monai_parts.UNet


def test_a_name_of_the_rest_is_monais_own_when_used(anew):
    from monai.transforms import CropForegroundD

    later = monai_parts._module("monai.metrics.utils").CropForegroundD
    assert later is not CropForegroundD
    made = later(["mask"], source_key="mask")
    assert isinstance(made, CropForegroundD)
    assert isinstance(made, later)
    assert not isinstance(3, later)
    assert later.backend == CropForegroundD.backend
    assert monai_parts._module("monai").transforms.CropForegroundD is CropForegroundD


def test_source_for_elsewhere_imports_from_monai():
    source = "import torch\nfrom bids_app.networks.monai_parts import SegResBlock, SegResNetDS\nx = 1\n"
    home = "from monai.networks.nets.segresnet_ds import"
    assert plain_imports(source) == f"import torch\n{home} SegResBlock\n{home} SegResNetDS\nx = 1\n"
