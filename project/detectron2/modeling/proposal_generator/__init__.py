"""Proposal generators; API of ``detectron2.modeling.proposal_generator``."""

from ...utils.aliases import names_of_submodules
from .rpn import RPN, StandardRPNHead

__all__ = ["RPN", "StandardRPNHead"]

__getattr__ = names_of_submodules(
    __name__, {"proposal_utils": ["add_ground_truth_to_proposals", "find_top_rpn_proposals"]}
)
