"""Costs are counted right: against real parameter counts, a profiler, and arithmetic done by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig

from scripts.interp.models.costs import (
    flops_per_token,
    n_parameters,
    published_config,
    random_model,
    running_gb,
    throughput,
)
from scripts.interp.saes.costs import Machine, Site, mlp_sites, plan, sae_cost

SMALL = LlamaConfig(
    hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    head_dim=6, vocab_size=50, tie_word_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(SMALL, attn_implementation="eager").eval()


def test_parameters_are_those_of_the_model(small, model):
    assert n_parameters(SMALL) == sum(p.numel() for p in small.parameters())
    config = model.original_model.config
    assert n_parameters(config) == sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def test_the_large_model_has_the_size_that_its_name_says():
    assert n_parameters(published_config("stheno-8b")) == pytest.approx(8.03e9, rel=1e-3)


def test_operations_are_those_that_a_profiler_counts(small):
    tokens = torch.randint(50, (2, 16))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(tokens)
    # The profiler counts every score, also those that the mask removes: context instead of (context + 1) / 2.
    masked = 3 * 4 * 4 * 6 * (16 - 8.5)
    mine = flops_per_token(SMALL, 16) + 2 * 50 * 24 + masked
    assert counter.get_total_flops() == pytest.approx(32 * mine, rel=0.01)
    assert flops_per_token(SMALL, 16, n_layers=1) == pytest.approx(flops_per_token(SMALL, 16) / 3)


def test_sites_and_what_an_sae_costs_there():
    sites = mlp_sites(SMALL, 2)
    assert sites == {
        "input of down_proj": Site("blocks.2.mlp.hook_post", 40),
        "output of the MLP": Site("blocks.2.hook_mlp_out", 24),
    }
    cost = sae_cost(24, 4, 1_000_000, batch=100)
    assert cost.n_latents == 96 and cost.n_parameters == 2 * 24 * 96 + 96 + 24
    assert cost.activations_gb == pytest.approx(0.048) and cost.saved_gb == pytest.approx(2 * cost.n_parameters / 1e9)
    assert cost.training_gb == pytest.approx((16 * cost.n_parameters + 4 * 100 * 240) / 1e9)
    assert cost.flops_per_token == 6 * cost.n_parameters


def test_a_plan_is_work_over_rate():
    machine = Machine("some", 1e9, 1.0, 2.0)
    found = plan(SMALL, Site("x", 24), 4, 1_000_000, 3, 16, machine)
    assert found.activation_hours == pytest.approx(1e6 * flops_per_token(SMALL, 16) / 1e9 / 3600)
    assert found.training_hours == pytest.approx(3 * 1e6 * sae_cost(24, 4, 1).flops_per_token / 1e9 / 3600)
    assert found.fits and found.dollars == pytest.approx(2 * (found.activation_hours + found.training_hours))
    assert plan(SMALL, Site("x", 24), 4, 1_000_000, 3, 16, machine._replace(dollars_per_hour=None)).dollars is None
    assert not plan(SMALL, Site("x", 24), 4, 1_000_000, 3, 16, machine._replace(memory_gb=1e-6)).fits
    one_latent = plan(SMALL, Site("x", 1), 1, 1, 1, 16, machine, dtype="float32")  # the model is the larger part
    assert running_gb(SMALL, "float32") == pytest.approx(1.2 * 4 * n_parameters(SMALL) / 1e9)
    assert one_latent.memory_gb == pytest.approx(max(running_gb(SMALL, "float32"), sae_cost(1, 1, 1).training_gb))


def test_a_random_model_has_the_shape_asked_for():
    large = random_model(SMALL, "cpu")
    assert (
        sum(p.numel() for p in large.parameters()) == n_parameters(SMALL)
        and next(large.parameters()).dtype == torch.bfloat16
    )
    assert throughput(large, SMALL, torch.randint(50, (2, 8)), repeats=1).flops > 0


def test_throughput_is_measured(small):
    found = throughput(small, SMALL, torch.randint(50, (4, 16)), repeats=2)
    assert found.tokens_per_second > 100 and found.peak_gb is None
    assert found.flops == pytest.approx(found.tokens_per_second * (flops_per_token(SMALL, 16) + 2 * 50 * 24))
