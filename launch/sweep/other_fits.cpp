#include "launch/sweep/other_fits.h"

#include <cmath>
#include <iomanip>

#include "launch/sweep/fit_json.h"

namespace tsugi {

using nlohmann::ordered_json;

ordered_json backtest_json(const Backtest& ranking) {
  ordered_json json;
  json["cuts"] = ordered_json::array();
  for (const BacktestCut& cut : ranking.cuts) {
    json["cuts"].push_back({{"c", cut.c}, {"fitted", cut.fitted}, {"predicted", cut.predicted}, {"reach", cut.reach}});
  }
  json["forms"] = ordered_json::array();
  for (const BacktestForm& form : ranking.forms) {
    ordered_json one{{"form", form.law->name}};
    if (!form.refused.empty()) {
      one["refused"] = form.refused;
    } else {
      one["mean_absolute"] = ranking.cuts.empty() ? ordered_json(nullptr) : ordered_json(form.mean);
      one["cuts"] = ordered_json::array();
      for (const RelativeError& error : form.cuts) one["cuts"].push_back(error_json(error));
      one["fitted"] = error_json(form.fitted);
      if (form.held_out.runs > 0) one["held_out"] = error_json(form.held_out);
    }
    json["forms"].push_back(one);
  }
  return json;
}

void print_backtest(std::ostream& out, const Backtest& ranking) {
  out << "\nback-test: mean |error| on the runs beyond each cut in compute, fitted to those up to it\n"
      << std::left << std::setw(22) << "cut";
  for (const BacktestCut& cut : ranking.cuts) out << std::setw(11) << short_number(cut.c);
  out << std::setw(11) << "mean" << std::setw(11) << "all fitted"
      << "held out\n"
      << std::setw(22) << "runs fitted/predicted";
  for (const BacktestCut& cut : ranking.cuts) {
    out << std::setw(11) << std::to_string(cut.fitted).append("/").append(std::to_string(cut.predicted));
  }
  out << "\n";
  for (const BacktestForm& form : ranking.forms) {
    out << std::setw(22) << form.law->name;
    if (!form.refused.empty()) {
      out << form.refused << "\n";
      continue;
    }
    for (const RelativeError& error : form.cuts) out << std::setw(11) << percent(error.mean);
    out << std::setw(11) << (ranking.cuts.empty() ? "-" : percent(form.mean)) << std::setw(11)
        << percent(form.fitted.mean) << (form.held_out.runs > 0 ? percent(form.held_out.mean) : "-") << "\n";
  }
  if (ranking.cuts.empty()) out << "too few runs for a back-test\n";
  out << std::right;
}

ordered_json compute_optimal_json(const ComputeOptimal& fit, double level) {
  ordered_json json{{"form", fit.form},
                    {"formula", "n = k_n C^a, d = k_d C^b"},
                    {"parameters",
                     {{"a", fit.n.exponent},
                      {"k_n", std::exp(fit.n.log_coefficient)},
                      {"b", fit.d.exponent},
                      {"k_d", std::exp(fit.d.log_coefficient)}}},
                    {"level", level},
                    {"intervals", {{"a", json_interval(fit.n_exponent)}, {"b", json_interval(fit.d_exponent)}}},
                    {"points", fit.points}};
  json["objective"] = nullptr;
  json["starts"] = nullptr;
  if (fit.frontier) {
    ordered_json parameters;
    for (int i = 0; i < fit.frontier->law->parameters; ++i) {
      parameters[fit.frontier->law->parameter[i].name] = fit.frontier->parameter(i);
    }
    json["frontier"] = {{"formula", "L = E + A/C^alpha"}, {"parameters", parameters}};
    json["objective"] = fit.frontier->objective;
    json["starts"] = {{"tried", fit.frontier->starts}, {"agreeing", fit.frontier->agreeing}};
  }
  json["budgets"] = ordered_json::array();
  for (const IsoflopBudget& budget : fit.budgets) {
    ordered_json one{{"c", budget.c},
                     {"runs", budget.runs},
                     {"sizes", budget.sizes},
                     {"smallest_n", budget.smallest_n},
                     {"largest_n", budget.largest_n},
                     {"used", budget.used}};
    if (budget.used) {
      one["n"] = budget.n_optimal;
      one["n_interval"] = json_interval(budget.n_interval);
      one["d"] = budget.d_optimal;
      one["loss"] = budget.loss_optimal;
      one["curvature"] = budget.curvature;
      one["curvature_error"] = json_number(budget.curvature_error);
      one["warnings"] = budget.warnings;
    } else {
      one["reason"] = budget.reason;
    }
    json["budgets"].push_back(one);
  }
  return json;
}

void print_compute_optimal(std::ostream& out, const ComputeOptimal& fit) {
  if (!fit.budgets.empty()) {
    out << std::left << std::setw(12) << "budget" << std::setw(7) << "sizes" << std::setw(12) << "best n"
        << std::setw(24) << "interval" << std::setw(12) << "best d" << std::setw(10) << "loss" << "\n";
    for (const IsoflopBudget& budget : fit.budgets) {
      out << std::setw(12) << short_number(budget.c) << std::setw(7) << budget.sizes;
      if (!budget.used) {
        out << "not used\n";
        continue;
      }
      out << std::setw(12) << short_number(budget.n_optimal) << std::setw(24) << short_interval(budget.n_interval)
          << std::setw(12) << short_number(budget.d_optimal) << short_number(budget.loss_optimal) << "\n";
    }
    out << std::right << "\n";
  }
  out << fit.form << ": n = " << short_number(std::exp(fit.n.log_coefficient))
      << " C^a, a = " << short_number(fit.n.exponent) << " " << short_interval(fit.n_exponent) << "\n"
      << "         d = " << short_number(std::exp(fit.d.log_coefficient))
      << " C^b, b = " << short_number(fit.d.exponent) << " " << short_interval(fit.d_exponent) << "\n";
  if (fit.frontier) {
    out << "best loss: " << short_number(fit.frontier->parameter(0)) << " + "
        << short_number(fit.frontier->parameter(1)) << "/C^" << short_number(fit.frontier->parameter(2)) << "\n";
  }
}

ordered_json advice_json(const ComputeOptimalAdvice& advice) {
  return {{"c", advice.c},
          {"n", json_number(advice.n)},
          {"n_interval", json_interval(advice.n_interval)},
          {"d", json_number(advice.d)},
          {"d_interval", json_interval(advice.d_interval)},
          {"tokens_per_parameter", json_number(advice.d / advice.n)},
          {"loss", json_number(advice.loss)},
          {"loss_interval", json_interval(advice.loss_interval)}};
}

void print_advice(std::ostream& out, const ComputeOptimalAdvice& advice) {
  out << "\nBudget of " << short_number(advice.c) << " FLOPs:\n"
      << "  n     " << short_number(advice.n) << "  " << short_interval(advice.n_interval) << "\n"
      << "  d     " << short_number(advice.d) << "  " << short_interval(advice.d_interval) << "\n"
      << "  loss  " << short_number(advice.loss) << "  " << short_interval(advice.loss_interval) << "\n";
}

ordered_json hyperparameters_json(const HyperparameterFit& fit, double level) {
  const auto law_json = [](const HyperparameterLaw& law) {
    return ordered_json{
        {"coefficient", law.coefficient}, {"n_exponent", law.n_exponent}, {"d_exponent", law.d_exponent}};
  };
  const auto interval_json = [](const HyperparameterLaw& law) {
    return ordered_json{{"coefficient", json_interval(law.coefficient_interval)},
                        {"n_exponent", json_interval(law.n_interval)},
                        {"d_exponent", json_interval(law.d_interval)}};
  };
  ordered_json json{
      {"form", "hyperparameters"}, {"formula", "coefficient n^n_exponent d^d_exponent"}, {"level", level}};
  if (fit.has_learning_rate) {
    json["parameters"]["learning_rate"] = law_json(fit.learning_rate);
    json["intervals"]["learning_rate"] = interval_json(fit.learning_rate);
  }
  if (fit.has_batch) {
    json["parameters"]["batch"] = law_json(fit.batch);
    json["intervals"]["batch"] = interval_json(fit.batch);
  }
  json["excess_loss"] = {{"mean", fit.mean_excess}, {"largest", fit.largest_excess}};
  json["cells"] = ordered_json::array();
  for (const HyperparameterCell& cell : fit.cells) {
    ordered_json one{{"n", cell.n}, {"d", cell.d}, {"runs", cell.runs}, {"loss", cell.loss}};
    if (fit.has_learning_rate) one["learning_rate"] = cell.learning_rate;
    if (fit.has_batch) one["batch"] = cell.batch;
    one["interpolated"] = cell.interpolated;
    one["at_edge"] = cell.at_edge;
    json["cells"].push_back(one);
  }
  return json;
}

void print_hyperparameters(std::ostream& out, const HyperparameterFit& fit) {
  const auto line = [&](const char* name, const HyperparameterLaw& law) {
    out << name << " = " << short_number(law.coefficient);
    if (law.n_exponent != 0.0) out << " n^" << short_number(law.n_exponent) << " " << short_interval(law.n_interval);
    if (law.d_exponent != 0.0) out << " d^" << short_number(law.d_exponent) << " " << short_interval(law.d_interval);
    out << "\n";
  };
  if (fit.has_learning_rate) line("learning rate", fit.learning_rate);
  if (fit.has_batch) line("batch (tokens)", fit.batch);
  out << fit.cells.size() << " cells; the runs nearest to the laws lie " << percent(fit.mean_excess)
      << " above the lowest loss of their cell, at most " << percent(fit.largest_excess) << "\n";
}

void print_errors(std::ostream& out, const ordered_json& fit) {
  out << "\nmean |error| of loss\n";
  for (const auto& [name, error] : fit["error"].items()) {
    out << "  " << std::left << std::setw(24) << name << std::right << percent(error["mean_absolute"]) << ", largest "
        << percent(error["largest"]) << " (" << error["runs"] << " runs)\n";
  }
  if (!fit.contains("held_out")) return;
  for (const auto& one : fit["held_out"]) {
    out << "  " << one["run"].get<std::string>() << ": measured " << short_number(one["loss"]) << ", predicted "
        << short_number(one["predicted"]) << " (" << percent(one["error"]) << "), "
        << (one["inside"].get<bool>() ? "inside" : "outside") << " the interval\n";
  }
}

}  // namespace tsugi
