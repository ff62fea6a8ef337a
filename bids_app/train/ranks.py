"""Several processes that train one network together, as ``torchrun`` starts them: joining them, and parting."""

from __future__ import annotations

import gc
import os

from bids_app.train.loop import Worker


def join(device: str) -> Worker:
    """This process among those that ``torchrun`` started; alone where it did not."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return Worker(device)
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    cuda = device.startswith("cuda")
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return Worker(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device, rank, processes)


def leave() -> None:
    """Part from the other processes, where there are any.

    A group that something still refers to (the wrapper of the network, in a circle of references) outlives its end, and
    its threads abort the process when it exits; so what is no longer used is collected first.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()
