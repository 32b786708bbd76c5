"""A bare DDP loop over a tensor in memory, for torchrun: prints the seconds of each epoch, worker 0 alone.

python -m torch.distributed.run --nproc-per-node 2 benchmarks/peers/ddp.py IMAGES.npy TRUTH.npy resnet18 32 4
"""

import os
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from medimg.models.architecture import Architecture


def main(images: str, truth: str, name: str, batch: int, epochs: int) -> None:
    """Train ``name`` with batches of ``batch`` over all workers."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // world))
    stored, answers = np.load(images, mmap_mode="r"), torch.from_numpy(np.load(truth)).float()
    network = DistributedDataParallel(Architecture(name, stored.shape[1:], answers.shape[1]).network(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(stored))
        start = time.perf_counter()
        for step in range(len(stored) // batch):
            mine = order[step * batch + rank : (step + 1) * batch : world]
            optimizer.zero_grad()
            logits = network(torch.from_numpy(stored[mine]).float() / 255)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, answers[mine]).backward()
            optimizer.step()
        if rank == 0:
            print(time.perf_counter() - start, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
