#include "core/scaling/fit/fit_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxFitBytes = int64_t{256} << 20;
constexpr int64_t kMaxSamples = 1'000'000;
constexpr int64_t kMaxResiduals = 10'000'000;

std::string hash_text(std::string_view text) {
  char buffer[17];
  std::snprintf(buffer, sizeof buffer, "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(text.data(), text.size())))));
  return buffer;
}

ordered_json theta_json(const Law& law, const Theta& theta) {
  return std::vector<double>(theta.begin(), theta.begin() + law.parameters);
}

Theta read_theta(const Law& law, const JsonValue& json) {
  if (json.size() != law.parameters) {
    throw json.error("must have " + std::to_string(law.parameters) + " numbers, as " + law.name + " has parameters");
  }
  Theta theta{};
  for (int i = 0; i < law.parameters; ++i) theta[i] = json.at(i).as_double();
  return theta;
}

const Law& read_law(const JsonValue& json) {
  try {
    return law_by_name(json.as_string());
  } catch (const Error& error) {
    throw json.error(error.what(), error.hint());
  }
}

ordered_json range_json(const Interval& range) {
  if (std::isnan(range.low)) return nullptr;
  return {range.low, range.high};
}

Interval read_range(const JsonValue& json, const char* key) {
  if (!json.has(key)) return {RunPoint::kUnknown, RunPoint::kUnknown};
  const JsonValue range = json.require_array(key);
  return {range.at(0).as_double(), range.at(1).as_double()};
}

}  // namespace

std::string save_fit(const std::string& path, const FitFile& file, const ordered_json& summary) {
  const Fit& fit = file.fit.fit;
  ordered_json json = summary;
  ordered_json& data = json["tsugi_fit"];
  data["version"] = 1;
  data["form"] = fit.law->name;
  data["theta"] = theta_json(*fit.law, fit.theta);
  data["fixed"] = fit.fixed;
  data["level"] = file.fit.level;
  data["seed"] = file.fit.bootstrap.seed;
  data["fitted"] = {{"n", range_json(file.n)}, {"d", range_json(file.d)}, {"c", range_json(file.c)}};
  data["compute"] = {
      {"coefficient", file.cost.coefficient}, {"exponent", file.cost.exponent}, {"worst", file.cost.worst}};
  data["rivals"] = ordered_json::array();
  for (const RivalForm& rival : file.rivals) {
    ordered_json one{{"form", rival.law->name}, {"theta", theta_json(*rival.law, rival.theta)}};
    one["backtest_error"] =
        std::isnan(rival.backtest_error) ? ordered_json(nullptr) : ordered_json(rival.backtest_error);
    data["rivals"].push_back(one);
  }
  data["residuals"] = fit.residuals;
  data["samples"] = ordered_json::array();
  for (const Theta& sample : file.fit.bootstrap.samples) data["samples"].push_back(theta_json(*fit.law, sample));
  const std::string text = json.dump() + "\n";
  write_file_durably(path, text);
  return hash_text(text);
}

FitFile load_fit(const std::string& path) {
  const std::string text = read_file(path, kMaxFitBytes);
  const JsonValue root = parse_json(text, path);
  const JsonValue data = root.require_object("tsugi_fit");
  const int64_t version = data.require_int("version");
  if (version != 1) {
    throw data.error("version " + std::to_string(version) + " is not known", "this program reads version 1");
  }
  FitFile file;
  file.hash = hash_text(text);
  Fit& fit = file.fit.fit;
  fit.law = &read_law(data.require("form"));
  fit.theta = read_theta(*fit.law, data.require_array("theta"));
  fit.fixed = static_cast<unsigned>(data.require_int("fixed", 0, (1 << fit.law->parameters) - 1));
  file.fit.level = data.require_double("level");
  if (!(file.fit.level > 0.0 && file.fit.level < 1.0)) throw data.error("level must be between 0 and 1");
  const JsonValue seed = data.require("seed");
  if (!seed.raw().is_number_unsigned()) throw seed.error("must be an integer of at least 0");
  file.fit.bootstrap.seed = seed.raw().get<uint64_t>();
  const JsonValue fitted = data.require_object("fitted");
  file.n = read_range(fitted, "n");
  file.d = read_range(fitted, "d");
  file.c = read_range(fitted, "c");
  if (data.has("compute")) {
    const JsonValue compute = data.require_object("compute");
    file.cost = {compute.require_double("coefficient"), compute.require_double("exponent"),
                 compute.require_double("worst")};
    if (!(file.cost.coefficient > 0.0 && file.cost.exponent > 0.0 && file.cost.worst >= 0.0)) {
      throw compute.error("coefficient and exponent must be positive");
    }
  }
  const JsonValue residuals = data.require_array("residuals");
  if (residuals.size() < 1 || residuals.size() > kMaxResiduals) throw residuals.error("has a wrong length");
  for (const JsonValue& one : residuals.elements()) fit.residuals.push_back(one.as_double());
  const JsonValue samples = data.require_array("samples");
  if (samples.size() > kMaxSamples) throw samples.error("has a wrong length");
  for (const JsonValue& one : samples.elements()) file.fit.bootstrap.samples.push_back(read_theta(*fit.law, one));
  for (const JsonValue& one : data.require_array("rivals").elements()) {
    RivalForm rival;
    rival.law = &read_law(one.require("form"));
    rival.theta = read_theta(*rival.law, one.require_array("theta"));
    rival.backtest_error = one.double_or("backtest_error", RunPoint::kUnknown);
    file.rivals.push_back(rival);
  }
  return file;
}

void describe_runs(FitFile& file, std::span<const SweepRun> runs) {
  const auto range = [&](double SweepRun::* value) {
    Interval result{RunPoint::kUnknown, RunPoint::kUnknown};
    for (const SweepRun& run : runs) {
      if (std::isnan(run.*value)) continue;
      result.low = std::fmin(result.low, run.*value);
      result.high = std::fmax(result.high, run.*value);
    }
    return result;
  };
  file.n = range(&SweepRun::n);
  file.d = range(&SweepRun::d);
  file.c = range(&SweepRun::c);
  file.cost = compute_cost_of(runs);
}

}  // namespace tsugi
