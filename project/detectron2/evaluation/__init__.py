"""Judging a model on a dataset; follows the API of ``detectron2.evaluation``."""

from ..utils.aliases import names_of_submodules
from .coco_evaluation import COCOEvaluator
from .evaluator import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)
from .sem_seg_evaluation import SemSegEvaluator
from .testing import print_csv_format

__all__ = [
    "COCOEvaluator",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "SemSegEvaluator",
    "inference_context",
    "inference_on_dataset",
    "print_csv_format",
]

__getattr__ = names_of_submodules(__name__, {"testing": ["flatten_results_dict"]})
