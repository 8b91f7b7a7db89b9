#include "launch/sweep/advised_settings.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/scaling/fit/hyperparameters.h"
#include "core/scaling/fit/small_matrix.h"
#include "launch/sweep/fit_json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct KnownSetting {
  double log_n, log_d, log_value;
};

/// exp of the plane through ln value over ln n and ln d, or over ln n alone, or the mean, at a point; NaN without any.
double continue_to(std::span<const KnownSetting> known, bool over_d, double log_n, double log_d) {
  if (known.empty()) return RunPoint::kUnknown;
  std::vector<double> n, d, value;
  for (const KnownSetting& one : known) {
    n.push_back(one.log_n);
    d.push_back(one.log_d);
    value.push_back(one.log_value);
  }
  if (over_d) {
    const std::span<const double> both[] = {n, d};
    const LinearFit fit = linear_fit(both, value);
    if (fit.determined) return std::exp(fit.coefficient[0] + fit.coefficient[1] * log_n + fit.coefficient[2] * log_d);
  }
  const std::span<const double> alone[] = {n};
  const LinearFit fit = linear_fit(alone, value);
  if (fit.determined) return std::exp(fit.coefficient[0] + fit.coefficient[1] * log_n);
  double mean = 0.0;
  for (const double one : value) mean += one / static_cast<double>(value.size());
  return std::exp(mean);
}

/// A column of the table by the names of runs.
std::map<std::string, double> column_by_run(const CsvTable& csv, const char* column) {
  std::map<std::string, double> values;
  const int64_t at = csv.find_column(column), name = csv.find_column("name");
  for (size_t row = 0; at >= 0 && row < csv.rows.size(); ++row) {
    double value = 0.0;
    if (!parse_csv_number(csv.rows[row][static_cast<size_t>(at)], value) || !(value > 0.0)) continue;
    values["line " + std::to_string(csv.lines[row])] = value;
    if (name >= 0) values[csv.rows[row][static_cast<size_t>(name)]] = value;
  }
  return values;
}

void advise_shape(const CsvTable& csv, std::span<const SweepRun> runs, double log_n, AdvisedSettings& settings) {
  const std::map<std::string, double> widths = column_by_run(csv, "width"), all_layers = column_by_run(csv, "layers");
  std::vector<KnownSetting> layers, density;
  for (const SweepRun& run : runs) {
    const auto width = widths.find(run.name), deep = all_layers.find(run.name);
    if (width == widths.end() || deep == all_layers.end()) continue;
    const double n = std::log(run.n);
    layers.push_back({n, 0.0, std::log(deep->second)});
    density.push_back({n, 0.0, n - std::log(deep->second) - 2.0 * std::log(width->second)});
  }
  if (layers.empty()) return;
  settings.layers = std::max(1.0, std::round(continue_to(layers, false, log_n, 0.0)));
  const double width = std::sqrt(std::exp(log_n) / settings.layers / continue_to(density, false, log_n, 0.0));
  const double multiple = width < 64.0 ? 4.0 : 16.0;
  settings.width = std::max(multiple, multiple * std::round(width / multiple));
}

}  // namespace

AdvisedSettings advised_settings(const CsvTable& csv, std::span<const SweepRun> runs, double n, double d) {
  AdvisedSettings settings;
  const double log_n = std::log(n), log_d = std::log(d);
  advise_shape(csv, runs, log_n, settings);
  try {
    const HyperparameterFit grid = fit_hyperparameters(runs, 0, 0, 0.95);
    settings.of_grid = grid.has_learning_rate || grid.has_batch;
    if (grid.has_learning_rate) settings.learning_rate = grid.learning_rate.at(n, d);
    if (grid.has_batch) settings.batch = grid.batch.at(n, d);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kData) throw;  // these runs are no grid
  }
  const auto continued = [&](double SweepRun::* value) {
    std::vector<KnownSetting> known;
    for (const SweepRun& run : runs) {
      if (run.*value > 0.0) known.push_back({std::log(run.n), std::log(run.d), std::log(run.*value)});
    }
    return continue_to(known, true, log_n, log_d);
  };
  if (std::isnan(settings.learning_rate)) settings.learning_rate = continued(&SweepRun::learning_rate);
  if (std::isnan(settings.batch)) settings.batch = continued(&SweepRun::batch);
  return settings;
}

nlohmann::ordered_json settings_json(const AdvisedSettings& settings) {
  return {{"width", json_number(settings.width)},
          {"layers", json_number(settings.layers)},
          {"learning_rate", json_number(settings.learning_rate)},
          {"batch", json_number(settings.batch)},
          {"by", settings.of_grid ? "laws of the grid" : "the runs' own rule, continued"}};
}

std::string settings_text(const AdvisedSettings& settings) {
  std::string text;
  const auto add = [&](double value, const char* before, const char* after) {
    if (!std::isnan(value)) text += (text.empty() ? "" : ", ") + std::string(before) + short_number(value) + after;
  };
  add(settings.width, "width ", "");
  add(settings.layers, "", settings.layers == 1.0 ? " layer" : " layers");
  add(settings.learning_rate, "learning rate ", "");
  add(settings.batch, "batch ", " tokens");
  if (text.empty()) return text;
  return text +
         (settings.of_grid ? " (rate and batch by the laws of the grid)" : " (as the runs have them, continued)");
}

}  // namespace tsugi
