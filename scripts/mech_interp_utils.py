"""The one import of every lab: `from scripts.mech_interp_utils import …`. The work is in scripts/interp."""

from scripts.interp.base.paths import outputs_folder
from scripts.interp.base.reference import committed_results, reference_value
from scripts.interp.base.statistics import (
    bootstrap_interval,
    largest_mean_p,
    rank_agreement,
    rank_correlation,
    ratio,
    shuffled_distances,
)
from scripts.interp.base.tables import save_table, table, with_interval
from scripts.interp.circuits.ablation import ablate_heads, mean_head_outputs, run_circuit
from scripts.interp.circuits.attribution_patching import attribute_heads
from scripts.interp.circuits.direct_effects import head_direct_effects
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.circuits.patching import patch_heads, patch_stream
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.circuits.prompt_pairs import PromptPairs, pair_differences, prompt_pairs
from scripts.interp.features.contexts import (
    BEFORE,
    CONTEXTS_FILE,
    context_text,
    load_contexts,
    sae_latents,
    strongest_contexts,
    top_contexts,
)
from scripts.interp.features.intruder import context_vectors, intruder_trials, intruders_found, token_rarity
from scripts.interp.features.matching import best_feature, feature_f1, named_positions, nearest_directions, token_list
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.features.probes import best_threshold, difference_of_means, linear_probe
from scripts.interp.figures.curves import plot_curves, plot_densities
from scripts.interp.figures.features import (
    feature_page,
    plot_activations,
    plot_dimensionality,
    plot_directions,
    show_contexts,
)
from scripts.interp.figures.frontiers import plot_frontiers
from scripts.interp.figures.heads import (
    plot_attention_heads,
    plot_attention_pattern,
    plot_head_scores,
    plot_logit_lens,
    plot_residual_norms,
    plot_stream_effects,
)
from scripts.interp.figures.pages import save_figure
from scripts.interp.models.costs import n_parameters, published_config, random_model, running_gb, throughput
from scripts.interp.models.load import load_model, random_weight_copy
from scripts.interp.models.lora import ROLEPLAY_FOLDER, random_adapter
from scripts.interp.models.plain import load_plain_model
from scripts.interp.models.readiness import machine_memory, what_is_missing
from scripts.interp.models.registry import available_models
from scripts.interp.models.toys import training_record
from scripts.interp.planted.circuits import planted_circuit, planted_induction, random_attention_toy
from scripts.interp.planted.dictionary import match_directions, planted_dictionary, random_sae
from scripts.interp.planted.superposition import feature_dimensionality, train_superposition
from scripts.interp.runs.activation_file import load_activations, save_activations
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, layer_of, norm_limit, special_positions
from scripts.interp.runs.caches import cache_filter, cache_megabytes, cpu_hooks, free_memory, memory_report
from scripts.interp.runs.heads import head_name, strongest
from scripts.interp.runs.hooks import check_hooks, run_with_hooks, zero_head
from scripts.interp.runs.logits import compute_logit_diff, get_top_predictions, logit_lens
from scripts.interp.runs.losses import in_context_scores, losses_of_logits, next_token_losses
from scripts.interp.runs.residual import get_residual_stream_norms, relative_error
from scripts.interp.runs.steering import add_direction, clamp_feature, generate
from scripts.interp.runs.token_positions import role_positions, token_positions
from scripts.interp.saes.claims import verdicts
from scripts.interp.saes.costs import Machine, mlp_sites, plan, sae_cost
from scripts.interp.saes.evaluate import evaluate_sae, fvu_and_l0, splice
from scripts.interp.saes.in_sae_lens import attached, dictionary_as_sae, sae_lens_losses
from scripts.interp.saes.load import load_hub_sae, load_sae, sae_folder, sweep_file
from scripts.interp.saes.monosemanticity import DictionaryRecipe, train_dictionary
from scripts.interp.saes.quick import quick_sae
from scripts.interp.saes.stored_activations import store_activations
from scripts.interp.saes.untrained import untrained_copy
from scripts.interp.selfie.adapters import Adapter, load_adapter
from scripts.interp.selfie.describe import describe
from scripts.interp.selfie.examples import SHIPPED_ADAPTER, examples_of, feature_data
from scripts.interp.selfie.judge import likeness, new_words, some_contexts
from scripts.interp.selfie.known_vectors import token_data
from scripts.interp.selfie.losses import label_losses, new_reading
from scripts.interp.selfie.prompt import PLACEHOLDER, TEMPLATE, label_ids, read_prompt
from scripts.interp.selfie.settings import EXAMPLE as ADAPTER_CONFIG, read_settings as read_adapter_settings
from scripts.interp.selfie.splits import count_leaks
from scripts.interp.selfie.training import train as train_adapter
from scripts.interp.text.chat import chat_rows, conversation, written_out
from scripts.interp.text.corpus import beginnings, library_documentation, load_corpus, packed_tokens
from scripts.interp.text.ioi import IOI_TEMPLATES, NAMES, TEXTBOOK, WHEN_TEMPLATES, create_ioi_dataset, stranger_prompts
from scripts.interp.text.repeats import create_induction_dataset

__all__ = sorted(name for name in globals() if name[0].isalpha())
