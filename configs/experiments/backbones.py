"""R50 against R101 on cake_car_dog_person: data set sizes, epochs and learning rates, three seeds.

    python tools/sweep.py configs/experiments/backbones.py             # one process a GPU
    python tools/compare.py output/sweeps/backbones

One number is varied at a time around 300 images, 24 epochs and a learning rate of 0.005: ten
combinations, 60 runs. The images of a smaller size are among those of a larger one; which they are
depends on the seed.
"""

from project.experiments import Setting, Sweep

sweep = Sweep(
    base="../mask_rcnn_R_50_FPN.py",
    column="backbone",
    settings={
        "R50": Setting("../mask_rcnn_R_50_FPN.py"),
        "R101": Setting("../mask_rcnn_R_101_FPN.py"),
    },
    center={"dataset.num_images": 300, "train.epochs": 24, "optimizer.lr": 0.005},
    grid=[
        {"dataset.num_images": [40, 75, 150, 300]},
        {"train.epochs": [6, 12, 24, 48]},
        {"optimizer.lr": [0.00125, 0.0025, 0.005, 0.01]},
    ],
    seeds=(0, 1, 2),
)
