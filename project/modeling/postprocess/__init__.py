"""What happens to boxes and masks after the network: soft-NMS, and refinement of masks."""
