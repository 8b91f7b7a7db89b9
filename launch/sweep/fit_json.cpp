#include "launch/sweep/fit_json.h"

#include <cmath>
#include <iomanip>
#include <sstream>

namespace tsugi {

using nlohmann::ordered_json;

namespace {

std::string cost_sentence(const ComputeCost& cost, const std::string& power, const std::string& end) {
  if (cost.is_rule_of_thumb()) {
    return "Compute is counted as C = 6 N D" +
           (cost.worst > 1e-9 ? ", which is the runs' own within " + percent(cost.worst) + "." : std::string("."));
  }
  return "Compute is counted as the runs count it: C = " + short_number(cost.coefficient) + " N" + power +
         short_number(cost.exponent) + end + " D, which is theirs within " + percent(cost.worst) + ".";
}

}  // namespace

std::string cost_text(const ComputeCost& cost) { return cost_sentence(cost, "^", ""); }
std::string cost_markup(const ComputeCost& cost) { return cost_sentence(cost, "<sup>", "</sup>"); }

ordered_json cost_json(const ComputeCost& cost) {
  return {{"coefficient", cost.coefficient}, {"n_exponent", cost.exponent}, {"largest_error", cost.worst}};
}

ordered_json json_number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr); }

ordered_json json_interval(const Interval& interval) {
  return ordered_json::array({json_number(interval.low), json_number(interval.high)});
}

ordered_json error_json(const RelativeError& error) {
  return {{"runs", error.runs}, {"mean_absolute", error.mean}, {"largest", error.largest}, {"bias", error.bias}};
}

ordered_json fit_json(const SweepFit& sweep_fit) {
  const Fit& fit = sweep_fit.fit;
  ordered_json json;
  json["form"] = fit.law->name;
  json["formula"] = std::string("L = ") + fit.law->formula;
  json["source"] = fit.law->source;
  json["runs"] = fit.residuals.size();
  ordered_json parameters, intervals, profiles, fixed = ordered_json::array();
  for (int i = 0; i < fit.law->parameters; ++i) {
    const char* name = fit.law->parameter[i].name;
    parameters[name] = json_number(fit.parameter(i));
    if ((fit.fixed >> i & 1u) != 0) {
      fixed.push_back(name);
      continue;
    }
    intervals[name] = json_interval(sweep_fit.interval[i]);
    profiles[name] = json_interval(sweep_fit.profile[i]);
  }
  json["parameters"] = parameters;
  json["fixed"] = fixed;
  json["objective"] = fit.objective;
  json["residuals"] = fit.options.objective.raw_loss ? "loss" : "log loss";
  json["delta"] = json_number(fit.options.objective.delta);
  json["level"] = sweep_fit.level;
  json["intervals"] = intervals;
  json["profile_intervals"] = profiles;
  json["starts"] = {{"tried", fit.starts}, {"agreeing", fit.agreeing}};
  json["gradient"] = fit.gradient;
  json["condition"] = fit.condition;
  json["bootstrap"] = {{"replicates", sweep_fit.bootstrap.samples.size()}, {"seed", sweep_fit.bootstrap.seed}};
  if (fit.law->find("alpha") >= 0 && fit.law->find("beta") >= 0) {
    const int alpha = fit.law->find("alpha"), beta = fit.law->find("beta");
    const auto exponent = [&](const Theta& theta) {
      const double a = fit.law->to_public(alpha, theta[alpha]), b = fit.law->to_public(beta, theta[beta]);
      return b / (a + b);
    };
    json["n_exponent"] = {{"value", exponent(fit.theta)}, {"interval", json_interval(sweep_fit.interval_of(exponent))}};
  }
  return json;
}

ordered_json advice_json(const Advice& advice) {
  const Allocation& best = advice.best;
  return {{"c", best.c},
          {"n", best.n},
          {"n_interval", json_interval(advice.n)},
          {"d", best.d},
          {"d_interval", json_interval(advice.d)},
          {"tokens_per_parameter", best.d / best.n},
          {"tokens_per_parameter_interval", json_interval(advice.tokens_per_parameter)},
          {"loss", best.loss},
          {"loss_interval", json_interval(advice.loss)},
          {"n_within_0.1_percent_loss", json_interval(best.n_within_tenth_percent)},
          {"n_within_1_percent_loss", json_interval(best.n_within_percent)},
          {"times_largest_fitted_c", advice.extrapolation}};
}

std::string short_number(double value) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::ostringstream text;
  text << std::setprecision(4) << value;
  return text.str();
}

std::string short_interval(const Interval& interval) {
  if (std::isnan(interval.low) && std::isnan(interval.high)) return "-";
  const auto end = [](double value) { return std::isfinite(value) ? short_number(value) : std::string("open"); };
  std::string text = "[";
  text.append(end(interval.low)).append(", ").append(end(interval.high)).append("]");
  return text;
}

std::string percent(double value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << 100.0 * value << " %";
  return text.str();
}

void print_fit(std::ostream& out, const SweepFit& sweep_fit) {
  const Fit& fit = sweep_fit.fit;
  out << fit.law->name << ": L = " << fit.law->formula << "  (" << fit.law->source << ")\n"
      << fit.residuals.size() << " runs, objective " << std::setprecision(9) << fit.objective << ", " << fit.agreeing
      << " of " << fit.starts << " starts agree, condition " << short_number(fit.condition) << "\n\n"
      << std::left << std::setw(10) << "" << std::setw(14) << "value" << std::setw(26)
      << (short_number(100.0 * sweep_fit.level) + " % bootstrap") << "95 % profile\n";
  for (int i = 0; i < fit.law->parameters; ++i) {
    const bool fixed = (fit.fixed >> i & 1u) != 0;
    out << std::setw(10) << fit.law->parameter[i].name << std::setw(14) << short_number(fit.parameter(i))
        << std::setw(26) << (fixed ? "fixed" : short_interval(sweep_fit.interval[i]))
        << (fixed ? "" : short_interval(sweep_fit.profile[i])) << "\n";
  }
  out << std::right;
}

void print_advice(std::ostream& out, const Advice& advice) {
  const Allocation& best = advice.best;
  out << "Budget of " << short_number(best.c) << " FLOPs (" << short_number(advice.extrapolation)
      << " times the largest fitted):\n"
      << "  n                 " << short_number(best.n) << "  " << short_interval(advice.n) << "\n"
      << "  d                 " << short_number(best.d) << "  " << short_interval(advice.d) << "\n"
      << "  tokens/parameter  " << short_number(best.d / best.n) << "  " << short_interval(advice.tokens_per_parameter)
      << "\n"
      << "  loss              " << short_number(best.loss) << "  " << short_interval(advice.loss) << "\n"
      << "  n from " << short_number(best.n_within_tenth_percent.low) << " to "
      << short_number(best.n_within_tenth_percent.high) << " costs less than 0.1 % of loss, from "
      << short_number(best.n_within_percent.low) << " to " << short_number(best.n_within_percent.high)
      << " less than 1 %\n";
}

}  // namespace tsugi
