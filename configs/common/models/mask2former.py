"""Mask2Former of transformers (Cheng et al. 2022), the paper's settings for instances.

``model`` has Swin-T (Liu et al. 2021) and the published model's structure, so that its weights fit:
``train.init_checkpoint=transformers://facebook/mask2former-swin-tiny-coco-instance``. ``small``
starts from random weights and trains on a CPU: a ResNet of one basic block a stage, few queries and
layers. Both take RGB with ImageNet's mean and deviation; the data must follow: its mapper's
``image_format`` is ``${model.input_format}``.
"""

from project.data.catalog import num_classes
from project.modeling.transformers_network import build_mask2former
from project.modeling.transformers_segmenter import TransformersSegmenter

from detectron2.config import LazyCall as L


def segmenter(**network):
    return L(TransformersSegmenter)(
        network=L(build_mask2former)(num_classes="${..num_classes}", **network),
        num_classes=L(num_classes)(subset="${dataset.name}", root="${dataset.root}"),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
        input_format="RGB",
        max_detections=100,
        test_score_thresh=0.0,
    )


model = segmenter(
    backbone=dict(
        model_type="swin",
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
    ),
    num_queries=100,
    decoder_layers=10,  # of which the first is the queries themselves
    encoder_layers=6,
    class_weight=2.0,
    mask_weight=5.0,
    dice_weight=5.0,
    no_object_weight=0.1,
    train_num_points=12544,  # 112 x 112
)

small = segmenter(
    backbone=dict(
        model_type="resnet",
        layer_type="basic",
        embedding_size=24,
        hidden_sizes=[24, 48, 96, 192],
        depths=[1, 1, 1, 1],
    ),
    feature_size=64,
    mask_feature_size=64,
    hidden_dim=64,
    encoder_feedforward_dim=128,
    dim_feedforward=256,
    num_attention_heads=4,
    encoder_layers=2,
    decoder_layers=4,
    num_queries=20,
    train_num_points=1024,
)
