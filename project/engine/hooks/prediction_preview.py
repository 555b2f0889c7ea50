"""The same few images at each evaluation: what the model makes of them by now."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from project.engine.checks import check_whole
from project.engine.hooks.moments import has_finished, is_due
from project.errors import UserError, one_line
from project.visualization.render import SHEET_NAME, render_results

from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class PredictionPreview(HookBase):
    """Draws predictions beside labels into ``<output_dir>/iter_<iteration>.png``.

    The picture is made from the predictions that the evaluation has just written. One that can't be
    drawn is told in the log; the run goes on.

    Args:
        dataset_name: registered name of the dataset that is evaluated.
        results_file: what the evaluation writes: ``.../coco_instances_results.json``, or of maps of
            classes ``.../sem_seg_predictions.json``.
        output_dir: made when needed.
        period: iterations between evaluations: ``train.eval_period``; one more comes at the end.
        num_images: how many of the dataset's images are drawn, always the same.
        threshold: predictions with a lower score are left out.
        seed: chooses the images.
    """

    stage = "evaluation"

    def __init__(
        self,
        dataset_name: str,
        results_file: str,
        output_dir: str,
        *,
        period: int,
        num_images: int = 6,
        threshold: float = 0.5,
        seed: int = 0,
    ) -> None:
        check_whole("prediction preview's period", period, 0)
        check_whole("prediction preview's num_images", num_images, 1)
        self._dataset_name, self._results_file = dataset_name, Path(results_file)
        self._output_dir, self._period = Path(output_dir), period
        self._choice = {"limit": num_images, "threshold": threshold, "seed": seed}

    def after_step(self) -> None:
        if is_due(self.trainer, self._period):
            self._draw()

    def after_train(self) -> None:
        if has_finished(self.trainer):
            self._draw()

    def _draw(self) -> None:
        if not comm.is_main_process():
            return
        file = self._output_dir / f"iter_{self.trainer.iter:07d}.png"
        try:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._output_dir, prefix=".drawing") as folder:
                render_results(self._dataset_name, self._results_file, Path(folder), **self._choice)
                os.replace(Path(folder, SHEET_NAME), file)
        except (UserError, OSError) as error:
            logger.warning("%s was not drawn: %s", file, one_line(error))
