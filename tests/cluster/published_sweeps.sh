#!/usr/bin/env bash
# Published sweeps whose tables may not be given away: `sweep fit` finds the minima that scipy finds, and the forms predict
# the runs that were held out as two independent fitters said. The tables are read where they are:
# TSUGI_SCALING_DATA, else ../shared/data/scaling beside this folder; 77 where they are not.
#   epoch_chinchilla/svg_extracted_data.csv  github.com/epoch-research/analyzing-chinchilla, data/, at 92258837
#   llama3/isoflops_points.csv               github.com/eric-czech/llama3_isoflop_extraction at 1bc1755b
#   steplaw/dense_lr_bs_loss.csv             github.com/step-law/steplaw, data/, at 32a8f4cc
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${TSUGI_SCALING_DATA:-$root/../shared/data/scaling}
[ -d "$data" ] || { echo "no tables in $data (TSUGI_SCALING_DATA)"; exit 77; }
sha256sum --check --quiet <<SUMS || fail "another table than the numbers below are of"
193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30  $data/epoch_chinchilla/svg_extracted_data.csv
5675ea68f14be53bd09bf0d65667c0f25668aa82ecc48020864ae371e7a38a8a  $data/llama3/isoflops_points.csv
9e46181076c04d450294d75dfe6f72adc416e231e154a07b337e378f9410002c  $data/steplaw/dense_lr_bs_loss.csv
SUMS
epoch=(--csv "$data/epoch_chinchilla/svg_extracted_data.csv" --columns "n=Model Size,c=Training FLOP,loss=loss")
llama=(--csv "$data/llama3/isoflops_points.csv" --columns "c=compute_budget,d=training_tokens,loss=validation_loss")
fit() { "$TSUGI" sweep fit "$@" --bootstraps 0 --json > "$WORK/fit" || fail "sweep fit $*"; }
# holds WHAT CONDITION: of the last fit, as jq says it.
holds() { jq -e "def near(x; by): (. - x | fabs) <= by; $2" "$WORK/fit" > /dev/null || { jq -c 'del(.cells, .backtest)' "$WORK/fit" >&2; fail "$1"; }; }
# lowest OBJECTIVE: within 1e-6 of it or below, and most starts agree.
lowest() { holds "the objective is above $1" ".objective <= $1 * (1 + 1e-6) and .starts.agreeing > 0.5 * .starts.tried"; }

# Besiroglu et al. 2024: without the five highest losses, and with them.
fit "${epoch[@]}" --where 'loss < 3.44'
lowest 0.0010182740178
holds "240 points" '.runs == 240 and (.parameters | (.E | near(1.8172; 0.002)) and (.alpha | near(0.3473; 0.002)) and (.beta | near(0.3672; 0.003)))'
fit "${epoch[@]}"
lowest 0.00182601052307
holds "245 points" '.runs == 245 and (.parameters | (.E | near(1.8913; 0.002)) and (.alpha | near(0.3493; 0.002)) and (.beta | near(0.453; 0.003)))'
# Llama 3's isoFLOP points: variable projection by least squares, and parabolas.
fit "${llama[@]}" --objective squares
holds "Llama 3" '.parameters | (.E | near(0.6047; 1e-4)) and (.A | near(59.14; 0.05)) and (.B | near(155.11; 0.1)) and (.alpha | near(0.31; 1e-4)) and (.beta | near(0.3136; 1e-4))'
holds "Llama 3, N over C" '.n_exponent.value | near(0.5029; 1e-4)'
fit "${llama[@]}" --form isoflop
holds "Llama 3, parabolas" '.parameters.a | near(0.4632; 1e-4)'

# backtest NAME CHINCHILLA KAPLAN KAPLAN_IRREDUCIBLE OPTIONS…: mean |error| on the held-out runs in percent, within 0.05.
backtest() {
  local name=$1 want=("${@:2:3}") i=0; shift 4
  for form in chinchilla kaplan kaplan_irreducible; do
    fit "$@" --form "$form"
    holds "$name: $form misses held-out runs by another mean than ${want[i]} %" ".error.held_out.mean_absolute * 100 | near(${want[i]}; 0.05)"
    i=$((i + 1))
  done
}
# What is left out between the fitted and the held-out runs stays out.
perl -F, -lane 'print if $. == 1 || $F[4] < 1e21 || $F[4] > 1e22' "$data/epoch_chinchilla/svg_extracted_data.csv" > "$WORK/epoch.csv"
grep -v '^3e21,' "$data/llama3/isoflops_points.csv" > "$WORK/llama.csv"
backtest "Chinchilla's points below 1e21, the run of 1.3e22" 2.78 2.91 0.17 \
  --csv "$WORK/epoch.csv" "${epoch[@]:2}" --where 'loss < 3.44' --hold-out 'c > 1e22'
backtest "Llama 3 up to 1e21, the budget of 1e22" 0.66 3.38 1.96 --csv "$WORK/llama.csv" "${llama[@]:2}" --hold-out 'c > 1.1e21'

# Li et al. 2025: the runs nearest to the laws are as good as those nearest to the published ones (0.096 %).
fit --csv "$data/steplaw/dense_lr_bs_loss.csv" --columns "n=N,d=D,lr=lr,batch=bs*2048,loss=smooth loss" --form hyperparameters
holds "StepLaw's grid" '(.cells | length == 17) and .excess_loss.mean < 0.0011 and .excess_loss.largest < 0.0031 and
  (.parameters.learning_rate | (.n_exponent | near(-0.713; 0.15)) and (.d_exponent | near(0.307; 0.05))) and
  (.parameters.batch.d_exponent | near(0.571; 0.08))'
echo "published sweeps: minima, back-tests and a learning-rate law as known"
