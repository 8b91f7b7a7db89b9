// Fits as JSON, and as tables for a terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <ostream>

#include "core/scaling/advice/allocation.h"
#include "core/scaling/fit/sweep_fit.h"

namespace tsugi {

/// null for what is not finite.
nlohmann::ordered_json json_number(double value);
nlohmann::ordered_json json_interval(const Interval& interval);

/// {"form", "formula", "runs", "parameters", "intervals", "profile_intervals", "objective", "starts", …}.
nlohmann::ordered_json fit_json(const SweepFit& fit);
nlohmann::ordered_json error_json(const RelativeError& error);
nlohmann::ordered_json advice_json(const Advice& advice);

void print_fit(std::ostream& out, const SweepFit& fit);
void print_advice(std::ostream& out, const Advice& advice);

/// How compute is counted, as a sentence, and as markup.
std::string cost_text(const ComputeCost& cost);
std::string cost_markup(const ComputeCost& cost);
nlohmann::ordered_json cost_json(const ComputeCost& cost);

/// Four significant digits: 0.3473, 1.234e+09.
std::string short_number(double value);
/// "[1.77, 1.87]"; "open" for an end that is not finite.
std::string short_interval(const Interval& interval);
/// 0.0123 as "1.23 %".
std::string percent(double value);

}  // namespace tsugi
