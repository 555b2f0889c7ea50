"""How long a run lasts, where it lives and what it keeps."""

train = dict(
    output_dir="./output/run",
    init_checkpoint="",  # a file or URL; "" starts from random weights
    epochs=12,
    # An override with a plain number wins over the epochs.
    max_iter="${iterations:${train.epochs},${dataloader.train.total_batch_size},"
    "${dataset.name},${dataset.train},${dataset.root},${dataloader.train.dataset.filter_empty}}",
    seed=0,
    device="cuda",  # our tool takes the CPU where there is no GPU
    amp=dict(enabled=False, precision="float16"),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    eval_period="${part:${train.max_iter},0.25}",  # iterations; 0: only at the end
    checkpointer=dict(period="${part:${train.max_iter},0.25}", max_to_keep=3),
    best_metric="segm/AP",  # keeps model_best.pth
    log_period=20,
    num_pictures=16,  # overlays of the last evaluation
)
