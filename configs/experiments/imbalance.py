"""What helps rare classes: seven settings on the scenes, five paired seeds, 35 runs.

    python tools/sweep.py configs/experiments/imbalance.py
    python tools/compare.py output/sweeps/imbalance

A run takes about two and a half minutes on one core. Settings with "+" add to target-balanced.
"""

from project.experiments import Setting, Sweep

sweep = Sweep(
    base="imbalance/plain.py",
    settings={
        "plain": Setting(),
        "repeat-factor": Setting("imbalance/repeat_factor.py"),
        "class-weighted": Setting("imbalance/class_weighted.py"),
        "target-balanced": Setting("imbalance/target_balanced.py"),
        "+ loss weights": Setting("imbalance/loss_weights.py"),
        "+ focal": Setting("imbalance/focal.py"),
        "+ copy-paste": Setting("imbalance/copy_paste.py"),
    },
    seeds=range(5),
)
