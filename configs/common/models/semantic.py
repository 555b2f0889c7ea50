"""Semantic models: one label for each pixel, the dataset's classes or the background.

U-Net (Ronneberger et al. 2015), DeepLabv3+ (Chen et al. 2018) and FPN (Kirillov et al. 2019) of
segmentation-models-pytorch, with encoders trained on ImageNet from the hub; from random weights:
``model.network.encoder_weights=null``. U²-Net (Qin et al. 2020) starts from random weights. RGB
input with ImageNet's mean and deviation. A single class has one output with a sigmoid; with
``model.network.num_outputs.sigmoid=False`` two with a softmax.
"""

from project.data.catalog import num_classes
from project.modeling.semantic import SemanticSegmenter, build_smp, num_outputs
from project.modeling.semantic_losses import SemanticLoss
from project.modeling.u2net import U2Net

from detectron2.config import LazyCall as L


def outputs():
    return L(num_outputs)(num_classes="${...num_classes}", sigmoid=True)


def segmenter(network, **options):
    return L(SemanticSegmenter)(
        network=network,
        num_classes=L(num_classes)(subset="${dataset.name}", root="${dataset.root}"),
        loss=L(SemanticLoss)(
            num_classes="${..num_classes}",
            ce_weight=1.0,
            dice_weight=1.0,
            focal_gamma=0.0,
            class_weights=None,
            background_weight=1.0,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
        input_format="RGB",
        smallest_part=0.0,
        **options,
    )


def smp(architecture, encoder_name):
    network = L(build_smp)(
        architecture=architecture,
        encoder_name=encoder_name,
        encoder_weights="imagenet",
        num_outputs=outputs(),
    )
    return segmenter(network, size_divisibility=32)


unet_R34 = smp("Unet", "resnet34")
unet_mobilenetv3 = smp("Unet", "tu-mobilenetv3_large_100")
unet_efficientnet_b0 = smp("Unet", "efficientnet-b0")
deeplabv3plus_R50 = smp("DeepLabV3Plus", "resnet50")
deeplabv3plus_R101 = smp("DeepLabV3Plus", "resnet101")
deeplabv3plus_mobilenetv3 = smp("DeepLabV3Plus", "tu-mobilenetv3_large_100")
fpn_R50 = smp("FPN", "resnet50")
fpn_efficientnet_b0 = smp("FPN", "efficientnet-b0")

# Takes images of any size as they are.
u2net = segmenter(L(U2Net)(num_outputs=outputs(), size="full"), size_divisibility=1)
u2net_small = segmenter(L(U2Net)(num_outputs=outputs(), size="small"), size_divisibility=1)
