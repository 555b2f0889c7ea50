"""Which semantic model finds persons: three networks on the scenes, three paired seeds, nine runs.

    python tools/sweep.py configs/experiments/semantic.py
    python tools/compare.py --models output/sweeps/semantic --split test

Judged on the test split, from random weights, at most eight minutes a run on two cores.
"""

from project.experiments import Setting, Sweep

sweep = Sweep(
    base="semantic/unet_R34.py",
    column="network",
    settings={
        "U-Net R34": Setting(),
        "U²-Net small": Setting("semantic/u2net_small.py"),
        "DeepLabv3+ R50": Setting("semantic/deeplabv3plus.py"),
    },
    seeds=(0, 1, 2),
)
