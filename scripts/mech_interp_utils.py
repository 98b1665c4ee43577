"""The one import of every lab: `from scripts.mech_interp_utils import *`. The work is in scripts/interp."""

from scripts.interp.activations import load_activations, save_activations
from scripts.interp.datasets import (
    IOI_TEMPLATES,
    TEXTBOOK,
    WHEN_TEMPLATES,
    create_induction_dataset,
    create_ioi_dataset,
)
from scripts.interp.figures import (
    plot_attention_heads,
    plot_attention_pattern,
    plot_head_scores,
    plot_logit_lens,
    plot_residual_norms,
    save_figure,
)
from scripts.interp.hooks import check_hooks, run_with_hooks, zero_head
from scripts.interp.logits import compute_logit_diff, get_top_predictions, logit_lens
from scripts.interp.memory import cache_filter, cache_megabytes, cpu_hooks, free_memory, memory_report
from scripts.interp.models import available_models, load_model, random_weight_copy
from scripts.interp.paths import outputs_folder
from scripts.interp.positions import role_positions, token_positions
from scripts.interp.reference import reference_value
from scripts.interp.residual import get_residual_stream_norms

__all__ = [
    "IOI_TEMPLATES",
    "TEXTBOOK",
    "WHEN_TEMPLATES",
    "available_models",
    "cache_filter",
    "cache_megabytes",
    "check_hooks",
    "compute_logit_diff",
    "cpu_hooks",
    "create_induction_dataset",
    "create_ioi_dataset",
    "free_memory",
    "get_residual_stream_norms",
    "get_top_predictions",
    "load_activations",
    "load_model",
    "logit_lens",
    "memory_report",
    "outputs_folder",
    "plot_attention_heads",
    "plot_attention_pattern",
    "plot_head_scores",
    "plot_logit_lens",
    "plot_residual_norms",
    "random_weight_copy",
    "reference_value",
    "role_positions",
    "run_with_hooks",
    "save_activations",
    "save_figure",
    "token_positions",
    "zero_head",
]
