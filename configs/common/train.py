"""How long a run lasts, where it lives and what it keeps."""

from .hooks import hooks

train = dict(
    output_dir="./output/run",
    init_checkpoint="",  # a file or URL; "" starts from random weights
    init_classes=None,  # of that file's heads, where it doesn't tell: a list of names
    epochs=12,
    # An override with a plain number wins over the epochs.
    max_iter="${iterations:${train.epochs},${dataloader.train.total_batch_size},"
    "${dataset.name},${dataset.train},${dataset.root},${dataloader.train.dataset.filter_empty},"
    "${dataset.num_images}}",
    seed=0,
    device="cuda",  # our tool takes the CPU where there is no GPU
    compile=False,  # the backbone, by torch.compile: pays on GPUs
    checkpoint_activations=False,  # of the backbone: less memory, a third more time
    amp=dict(enabled=False, precision="float16"),
    accumulate=1,  # micro-batches a step; the batch and the learning rate stay
    ema=dict(decay=0),  # of averaged weights, e.g. 0.999; 0: off
    watchdog=dict(timeout=600),  # seconds a step may take before the run counts as stuck; 0: never
    guard=dict(max_rollbacks=3, lr_factor=0.5),  # where the loss becomes infinite
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    eval_period="${part:${train.max_iter},0.25}",  # iterations; 0: only at the end
    checkpointer=dict(period="${part:${train.max_iter},0.25}", max_to_keep=3),
    disk_wait=3600,  # seconds to wait for room on a full disk for the last checkpoint
    best_metric="segm/AP",  # keeps model_best.pth
    hooks=hooks,
    writers=[],  # beside console, metrics.json and TensorBoard: `project.engine.trackers`
    log_period=20,
    num_pictures=16,  # overlays of the last evaluation
)
