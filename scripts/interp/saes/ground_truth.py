"""Architectures on planted dictionaries: activations whose features are known, some of which fire together.

sae-lens' synthetic model makes them, and its measures say what an SAE found: MCC, the mean cosine of SAE latents and
features matched one to one, and F1 of a latent as a detector of the feature that its direction is nearest to.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from sae_lens import SAE
from sae_lens.synthetic import (
    LowRankCorrelationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
    eval_sae_on_synthetic_data,
    mean_correlation_coefficient,
)

from scripts.interp.saes.compare import Bench, Row
from scripts.interp.saes.experiment import Experiment
from scripts.interp.saes.measured_runs import settings_of, trained_and_judged
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.stored_activations import StoredActivations

JUDGED, AT_ONCE = 20_000, 2_000  # activations that an SAE is judged on, and how many of them at once
SEED = 0  # of features and activations; those of the SAEs are the experiment's
OFTEN, SELDOM = 0.4, 0.02  # of tokens: how often the most and the least frequent features fire
SPREAD = 0.3  # standard deviation of a feature's strength, whose mean is 1


def synthetic_model(experiment: Experiment) -> SyntheticModel:
    """Features in random directions, fewer dimensions than features, frequencies as in Zipf's law, correlated."""
    return SyntheticModel(
        SyntheticModelConfig(
            num_features=experiment.planted_features,
            hidden_dim=experiment.planted_dimensions,
            firing_probability=ZipfianFiringProbabilityConfig(max_prob=OFTEN, min_prob=SELDOM),
            correlation=LowRankCorrelationConfig(experiment.planted_rank, experiment.planted_correlation),
            std_firing_magnitudes=SPREAD,
            seed=SEED,
        )
    )


def planted_bench(experiment: Experiment) -> Bench:
    """Activations of a planted dictionary, the same for all runs; fresh ones, the same for all, to judge on."""
    model = synthetic_model(experiment)
    torch.manual_seed(SEED + 1)
    values = torch.cat([model.sample(len(each)) for each in torch.arange(experiment.planted_tokens).split(AT_ONCE)])
    stored = StoredActivations(values.half().numpy(), float("inf"), 0, 0)
    usual = Settings(
        "planted", "planted", width=experiment.planted_features // experiment.planted_dimensions,
        tokens=experiment.planted_tokens, passes=float(experiment.epochs), batch=experiment.batch_size,
    )  # fmt: skip
    return Bench(
        settings=partial(settings_of, usual),
        measure=lambda settings: trained_and_judged(settings, stored, partial(judge_planted, model), FORKED),
        targets=experiment.planted_l0,
        rates=experiment.planted_learning_rates,
        sweep_target=experiment.planted_l0[len(experiment.planted_l0) // 2],
    )


FORKED = sys.platform == "linux"


def judge_planted(model: SyntheticModel, sae: SAE) -> Row:
    """What sae-lens' benchmark says of an SAE."""
    torch.manual_seed(SEED + 2)
    found = eval_sae_on_synthetic_data(sae, model.feature_dict, model.activation_generator, JUDGED, AT_ONCE)
    return {
        "l0": found.sae_l0,
        "true_l0": found.true_l0,
        "fvu": 1 - found.explained_variance,
        "mcc": found.mcc,
        "f1": found.classification.f1_score,
        "precision": found.classification.precision,
        "recall": found.classification.recall,
        "uniqueness": found.uniqueness,
        "dead_fraction": found.dead_latents / sae.cfg.d_sae,
        "window": JUDGED,
    }


def chance(experiment: Experiment) -> float:
    """MCC of random directions, as many as there are features: what an SAE that found nothing has."""
    features = synthetic_model(experiment).feature_dict.feature_vectors.detach()
    torch.manual_seed(SEED + 3)
    return mean_correlation_coefficient(torch.randn_like(features), features)
