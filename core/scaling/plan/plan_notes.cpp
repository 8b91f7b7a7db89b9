#include "core/scaling/plan/plan_notes.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

namespace tsugi {
namespace {

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

/// Sizes of every fitted budget; ladders have none.
std::map<double, std::set<int64_t>> fitted_budgets(const SweepPlan& plan) {
  std::map<double, std::set<int64_t>> budgets;
  for (const PlannedRun& run : plan.runs) {
    if (!run.held_out && run.ratio == 0.0) budgets[run.budget].insert(run.parameters_in_products);
  }
  return budgets;
}

void note_sizes(const SweepPlan& plan, std::vector<std::string>& notes) {
  std::set<int64_t> sizes;
  std::set<double> compute, ratios;
  bool ladder = true;
  for (const PlannedRun& run : plan.runs) {
    if (run.held_out) continue;
    sizes.insert(run.parameters_in_products);
    compute.insert(run.budget);
    ratios.insert(run.ratio);
    ladder = ladder && run.ratio > 0.0;
  }
  if (sizes.size() == 1) {
    notes.push_back("warning: all fitted runs have one size, N = " + std::to_string(*sizes.begin()) +
                    ": neither a law of N nor an optimal size follows; add sizes, at least four around the optimum");
  }
  if (compute.size() == 1) {
    notes.push_back("warning: all fitted runs have one budget, " + rounded(*compute.begin()) +
                    " FLOPs: no exponent of compute follows; add budgets, better four, each 2 to 4 times the last");
  }
  if (ladder && ratios.size() == 1) {
    notes.push_back(
        "warning: all fitted runs have " + rounded(*ratios.begin()) +
        " tokens per parameter: N and D rise together, and a law of both cannot tell them apart; add ratios");
  }
}

void note_thin_budgets(const SweepPlan& plan, std::vector<std::string>& notes) {
  constexpr size_t kLeastSizes = 4;
  std::string thin;
  const auto budgets = fitted_budgets(plan);
  for (const auto& [budget, sizes] : budgets) {
    if (sizes.size() >= kLeastSizes || sizes.size() < 2) continue;
    thin += (thin.empty() ? "" : ", ") + rounded(budget) + " (" + std::to_string(sizes.size()) + ")";
  }
  if (!thin.empty()) {
    notes.push_back("note: budgets of fewer than four sizes: " + thin +
                    "; `sweep fit --form isoflop` passes them over; add sizes, better six");
  }
}

void note_hold_outs(const SweepPlan& plan, std::vector<std::string>& notes) {
  double fitted = 0.0, held_out = 0.0;
  for (const PlannedRun& run : plan.runs) {
    double& largest = run.held_out ? held_out : fitted;
    largest = std::max(largest, run.budget);
  }
  if (held_out > 0.0 && held_out <= fitted) {
    notes.push_back("warning: the largest held-out budget, " + rounded(held_out) +
                    " FLOPs, is not above the largest fitted one, " + rounded(fitted) +
                    ": it tests interpolation, no prediction; hold out a budget of at least 2.4 times that");
  }
}

}  // namespace

std::vector<std::string> plan_notes(const SweepPlan& plan) {
  std::vector<std::string> notes;
  note_sizes(plan, notes);
  note_thin_budgets(plan, notes);
  note_hold_outs(plan, notes);
  return notes;
}

}  // namespace tsugi
