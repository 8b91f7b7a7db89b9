// Rankings, compute-optimal lines and hyperparameter laws as JSON, and as tables for a terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <ostream>

#include "core/scaling/fit/backtest.h"
#include "core/scaling/fit/hyperparameters.h"
#include "core/scaling/fit/isoflop.h"

namespace tsugi {

nlohmann::ordered_json backtest_json(const Backtest& ranking);
void print_backtest(std::ostream& out, const Backtest& ranking);

nlohmann::ordered_json compute_optimal_json(const ComputeOptimal& fit, double level);
void print_compute_optimal(std::ostream& out, const ComputeOptimal& fit);
nlohmann::ordered_json advice_json(const ComputeOptimalAdvice& advice);
void print_advice(std::ostream& out, const ComputeOptimalAdvice& advice);

nlohmann::ordered_json hyperparameters_json(const HyperparameterFit& fit, double level);
void print_hyperparameters(std::ostream& out, const HyperparameterFit& fit);

/// The "error" and "held_out" members of a fit's JSON.
void print_errors(std::ostream& out, const nlohmann::ordered_json& fit);

}  // namespace tsugi
