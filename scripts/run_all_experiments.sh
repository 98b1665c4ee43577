#!/bin/sh
# All experiments on SAEs: architectures compared, scaling laws, the benchmark, a HybridSAE.
#
#   sh scripts/run_all_experiments.sh           how long it takes, a question, then everything
#   sh scripts/run_all_experiments.sh --yes     without the question
#   sh scripts/run_all_experiments.sh --debug   as little of everything as shows that it works
#
# What is finished is not done again: after a kill, or an error, the same command goes on. PYTHON names another Python.
set -eu
cd "$(dirname "$0")/.."

yes=no debug=no
for option; do
    case $option in
        --yes) yes=yes ;;
        --debug) debug=yes ;;
        *) echo "There is no option $option: give --yes, --debug, or none." >&2; exit 2 ;;
    esac
done

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
PYTHONPATH=$PWD
export PYTHONPATH

step() {  # what it is, then the command
    echo "== $1"
    shift
    "$@" || { echo "Stopped in: $*. Give the same command again to go on." >&2; exit 1; }
}

save() {  # a file, then the command whose output it gets: whole, or not at all
    file=$1
    shift
    "$@" > "$file.part" && mv "$file.part" "$file"
}

if [ $debug = yes ]; then
    LAB_OUTPUTS=$(mktemp -d)  # nothing that a real run would find, and take for its own
    export LAB_OUTPUTS
    toy=toy-mlp-1l
    hybrid=debug-hybrid-$$
    trap 'rm -rf "$LAB_OUTPUTS" "checkpoints/saes/$hybrid"' EXIT
    trap 'exit 130' INT TERM
    step "architectures" "$PYTHON" scripts/run_comparison.py --debug --model $toy --layer 0 --n_features 256 \
        --results "$LAB_OUTPUTS/comparison"
    step "scaling" "$PYTHON" scripts/derive_scaling_laws.py --debug
    step "benchmark" save "$LAB_OUTPUTS/sae_benchmark.json" "$PYTHON" scripts/run_sae_benchmark.py --json --quick
    step "HybridSAE" "$PYTHON" -m scripts.train_hybrid_sae blocks.0.hook_resid_post --model $toy --folder "$hybrid" \
        --tokens 4000 --passes 1 --batch 256 --judged-rows 2 --no-contexts
    exit
fi

"$PYTHON" scripts/estimate_experiments.py
if [ $yes = no ]; then
    printf 'Start? [y/N] '
    read -r answer || answer=
    case $answer in
        y | Y | yes) ;;
        *) echo "Nothing was started."; exit 1 ;;
    esac
fi

hybrid=smollm2-135m-hybrid
step "architectures" "$PYTHON" scripts/run_comparison.py
step "scaling" "$PYTHON" scripts/derive_scaling_laws.py
if [ -f outputs/sae_benchmark.json ]; then
    echo "== benchmark: outputs/sae_benchmark.json is there"
else
    step "benchmark" save outputs/sae_benchmark.json "$PYTHON" scripts/run_sae_benchmark.py --json
fi
if [ -f "checkpoints/saes/$hybrid/metrics.json" ]; then
    echo "== HybridSAE: checkpoints/saes/$hybrid is there"
else
    step "HybridSAE" "$PYTHON" -m scripts.train_hybrid_sae blocks.12.hook_resid_post --k 40 --learning-rate 0.003 \
        --folder "$hybrid"
fi
