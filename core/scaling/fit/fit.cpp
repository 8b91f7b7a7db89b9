#include "core/scaling/fit/fit.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "core/scaling/fit/minimize.h"
#include "core/scaling/fit/starts.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct InputColumn {
  const char* name;
  unsigned input;
  double SweepRun::* value;
};
constexpr InputColumn kInputs[] = {
    {"n", kInputN, &SweepRun::n},
    {"d", kInputD, &SweepRun::d},
    {"c", kInputC, &SweepRun::c},
    {"unique", kInputUnique, &SweepRun::unique},
    {"steps", kInputSteps, &SweepRun::steps},
    {"batch", kInputBatch, &SweepRun::batch},
};

size_t distinct_values(std::span<const SweepRun> runs, double SweepRun::* value) {
  std::vector<double> logs;
  for (const SweepRun& run : runs) logs.push_back(std::log(run.*value));
  std::sort(logs.begin(), logs.end());
  size_t count = logs.empty() ? 0 : 1;
  for (size_t i = 1; i < logs.size(); ++i) count += logs[i] - logs[i - 1] > 1e-3 ? 1u : 0u;
  return count;
}

unsigned fixed_bits(const Law& law, const FitOptions& options) {
  unsigned bits = 0;
  for (const auto& [name, value] : options.fixed) {
    const int index = law.find(name);
    if (index < 0) {
      std::string list;
      for (int i = 0; i < law.parameters; ++i) list += (i == 0 ? "" : ", ") + std::string(law.parameter[i].name);
      throw Error(ExitCode::kUsage, std::string(law.name) + " has no parameter \"" + name + "\"", "it has " + list);
    }
    law.to_working(index, value);
    bits |= 1u << index;
  }
  return bits;
}

/// What the runs cannot determine is refused before any search.
void require_determined(const Law& law, std::span<const SweepRun> runs, unsigned fixed) {
  const std::string who = "form " + std::string(law.name);
  const int free_parameters = law.parameters - std::popcount(fixed);
  for (const InputColumn& input : kInputs) {
    if ((law.inputs & input.input) == 0) continue;
    for (const SweepRun& run : runs) {
      if (std::isnan(run.*input.value)) {
        throw Error(ExitCode::kData,
                    who + " needs " + inputs_text(law.inputs) + ", but " + run.name + " has no " + input.name,
                    std::string("name the column: --columns …,") + input.name + "=COLUMN");
      }
    }
  }
  const size_t needed = static_cast<size_t>(free_parameters) + 1;
  if (runs.size() < needed) {
    throw Error(ExitCode::kData,
                who + " has " + std::to_string(free_parameters) + " free parameters, but there are only " +
                    std::to_string(runs.size()) + " runs",
                "at least " + std::to_string(needed) + " runs, better " + std::to_string(3 * free_parameters) +
                    ": add sizes and token counts, or choose a form with fewer parameters");
  }
  if (fixed != 0) return;  // whoever fixes parameters knows which directions the runs span
  const bool has_irreducible = law.find("E") >= 0;
  for (const InputColumn& input : kInputs) {
    if ((law.inputs & input.input) == 0 || input.input == kInputUnique || input.input == kInputBatch) continue;
    const size_t distinct = distinct_values(runs, input.value);
    const size_t wanted = has_irreducible ? 3 : 2;
    if (distinct >= wanted) continue;
    const std::string name = input.name;
    const std::string other = name == "n" ? "d" : "n";
    throw Error(ExitCode::kData,
                who + ": " +
                    (distinct == 1 ? "all runs have the same " + name
                                   : "there are only " + std::to_string(distinct) + " different values of " + name),
                "add runs with at least " + std::to_string(wanted) + " different " + name +
                    (name == "c" ? "" : ", or fit the other input alone: --form power_" + other));
  }
  const auto [lowest, highest] = std::ranges::minmax(runs, {}, &SweepRun::loss);
  if (lowest.loss == highest.loss) {
    throw Error(ExitCode::kData, who + ": all runs have the same loss, which tells nothing of any law",
                "is it the right column? --columns loss=COLUMN");
  }
  if (law.find("B_star") >= 0 && distinct_values(runs, &SweepRun::batch) < 2) {
    throw Error(ExitCode::kData, who + ": all runs have the same batch, which cannot tell the critical batch size",
                "add runs with other batches, or give it: --fix B_star=2e8 --fix alpha_B=0.21 (Kaplan et al. 2020)");
  }
  if (law.find("R_D") >= 0) {
    const bool repeated =
        std::any_of(runs.begin(), runs.end(), [](const SweepRun& r) { return r.d > 1.01 * r.unique; });
    if (!repeated) {
      throw Error(ExitCode::kData, who + ": no run repeats its data (d <= unique everywhere)",
                  "add runs of several epochs, or use --form chinchilla");
    }
  }
}

/// |correlation| of ln N and ln D: at 1, A and B cannot be told apart.
double correlation(std::span<const SweepRun> runs) {
  double mean_n = 0.0, mean_d = 0.0, nn = 0.0, dd = 0.0, nd = 0.0;
  const double count = static_cast<double>(runs.size());
  for (const SweepRun& run : runs) {
    mean_n += std::log(run.n) / count;
    mean_d += std::log(run.d) / count;
  }
  for (const SweepRun& run : runs) {
    const double x = std::log(run.n) - mean_n, y = std::log(run.d) - mean_d;
    nn += x * x;
    dd += y * y;
    nd += x * y;
  }
  return std::abs(nd) / std::sqrt(nn * dd);
}

void add_warnings(Fit& fit, std::span<const SweepRun> runs) {
  const auto warn = [&](const std::string& text) { fit.warnings.push_back(text); };
  const unsigned both = kInputN | kInputD;
  if ((fit.law->inputs & both) == both && fit.fixed == 0 && correlation(runs) > 0.999) {
    warn(
        "n and d rise together in all runs (one ratio d/n): their terms cannot be told apart; add runs of other "
        "ratios");
  }
  if (static_cast<int>(runs.size()) < 3 * fit.free_parameters()) {
    warn(std::to_string(runs.size()) + " runs for " + std::to_string(fit.free_parameters()) +
         " free parameters: intervals will be too narrow; add runs");
  }
  if (fit.condition > 1e14) {
    warn("the runs leave a direction of the parameters undetermined (condition number above 1e14): see the intervals");
  }
  if (4 * fit.agreeing < fit.starts) {
    warn("only " + std::to_string(fit.agreeing) + " of " + std::to_string(fit.starts) +
         " starts reach the best objective: a flat or rugged fit");
  }
  for (int i = 0; i < fit.law->parameters; ++i) {
    if ((fit.fixed >> i & 1u) != 0) continue;
    const std::string name = fit.law->parameter[i].name;
    if (fit.law->parameter[i].is_log && (fit.parameter(i) < 1e-6 && name == "E")) {
      warn("E is zero: the runs do not show an irreducible loss");
    }
    if ((name == "alpha" || name == "beta") && fit.parameter(i) <= 0.0) {
      warn(name + " is not positive: loss does not fall with its input; look for wrong columns or undertrained runs");
    }
  }
}

}  // namespace

int Fit::free_parameters() const { return law->parameters - std::popcount(fixed); }

double Fit::predict(const SweepRun& run) const { return std::exp(law->log_loss(theta.data(), run.point(), nullptr)); }

Fit fit_law(const Law& law, std::span<const SweepRun> runs, const FitOptions& options, ThreadPool& pool) {
  CHECK_GE(options.starts, 1);
  Fit fit;
  fit.law = &law;
  fit.options = options;
  fit.fixed = fixed_bits(law, options);
  require_determined(law, runs, fit.fixed);
  const FitObjective objective(law, runs, options.objective);
  std::vector<RunPoint> points;
  for (const SweepRun& run : runs) points.push_back(run.point());
  std::vector<Theta> starts = starting_points(law, points, {}, options.starts);
  CHECK(!starts.empty());
  for (Theta& start : starts) {
    for (const auto& [name, value] : options.fixed) {
      const int index = law.find(name);
      start[static_cast<size_t>(index)] = law.to_working(index, value);
    }
  }
  std::vector<Minimum> ends(starts.size());
  pool.for_each(static_cast<int64_t>(starts.size()), [&](int64_t i, int) {
    ends[static_cast<size_t>(i)] = minimize(objective, {}, starts[static_cast<size_t>(i)], fit.fixed);
  });
  const Minimum* best = ends.data();
  for (const Minimum& end : ends) {
    if (end.value < best->value) best = &end;
  }
  fit.theta = best->theta;
  fit.objective = best->value;
  fit.starts = static_cast<int>(ends.size());
  for (const Minimum& end : ends) {
    fit.agreeing += end.value <= best->value * (1.0 + 1e-6) + 1e-20 ? 1 : 0;
  }
  std::vector<const Minimum*> others;
  for (const Minimum& end : ends) {
    if (end.value > best->value * (1.0 + 1e-6) + 1e-20 && end.value < best->value * 1.05) others.push_back(&end);
  }
  std::stable_sort(others.begin(), others.end(),
                   [](const Minimum* a, const Minimum* b) { return a->value < b->value; });
  double last = best->value;
  for (const Minimum* one : others) {
    if (fit.valleys.size() == 3) break;
    if (one->value > last * (1.0 + 1e-4)) fit.valleys.push_back(one->theta);
    last = one->value;
  }
  std::array<double, kMaxParameters> gradient{};
  objective.value(fit.theta.data(), {}, gradient.data());
  const SmallMatrix curvature = objective.curvature(fit.theta.data(), {});
  SmallMatrix reduced{};
  std::vector<int> free;
  for (int i = 0; i < law.parameters; ++i) {
    if ((fit.fixed >> i & 1u) != 0) continue;
    free.push_back(i);
    fit.gradient = std::max(fit.gradient, std::abs(gradient[i]) / std::max(fit.objective, 1e-300));
  }
  for (size_t i = 0; i < free.size(); ++i) {
    for (size_t j = 0; j < free.size(); ++j) reduced[i][j] = curvature[free[i]][free[j]];
  }
  if (!free.empty()) {
    const auto eigenvalues = symmetric_eigenvalues(reduced, static_cast<int>(free.size()));
    const double largest = eigenvalues[free.size() - 1];
    fit.condition = largest / std::max(eigenvalues[0], 1e-18 * largest);
  }
  for (const RunPoint& point : points) {
    fit.residuals.push_back(law.log_loss(fit.theta.data(), point, nullptr) - point.log_loss);
  }
  add_warnings(fit, runs);
  return fit;
}

void require_meaning(const Fit& fit) {
  constexpr double kFlat = 1e-3, kEndless = 1e100;
  for (int i = 0; i < fit.law->parameters; ++i) {
    if ((fit.fixed >> i & 1u) != 0) continue;
    const std::string_view name = fit.law->parameter[i].name;
    const double value = fit.parameter(i);
    const bool exponent = name.starts_with("alpha") || name.starts_with("beta");
    const bool of_repetition = name.starts_with("R_");  // without bound: repeated data are as good as fresh ones
    const bool endless = !of_repetition && (!std::isfinite(value) || std::abs(value) > kEndless);
    if (!endless && !(exponent && value < kFlat)) continue;
    char shown[32];
    std::snprintf(shown, sizeof shown, "%.3g", value);
    throw Error(
        ExitCode::kData,
        std::string("form ") + fit.law->name + ": " + std::string(name) + " = " + shown +
            (endless ? " is without bound" : ": loss does not fall with its input") +
            ", so that these runs do not determine the law",
        "add runs over a wider range of " + inputs_text(fit.law->inputs) +
            " (each at least 10 times), leave out runs that diverged or hardly learnt (--where), or see whether "
            "the columns are meant");
  }
}

RelativeError relative_error(const Fit& fit, std::span<const SweepRun> runs) {
  RelativeError error;
  error.runs = static_cast<int64_t>(runs.size());
  for (const SweepRun& run : runs) {
    const double one = fit.predict(run) / run.loss - 1.0;
    error.mean += std::abs(one) / static_cast<double>(runs.size());
    error.bias += one / static_cast<double>(runs.size());
    error.largest = std::max(error.largest, std::abs(one));
  }
  return error;
}

double r_squared(const Fit& fit, std::span<const SweepRun> runs) {
  double mean = 0.0, residual = 0.0, total = 0.0;
  for (const SweepRun& run : runs) mean += run.loss / static_cast<double>(runs.size());
  for (const SweepRun& run : runs) {
    const double r = fit.predict(run) - run.loss;
    residual += r * r;
    total += (run.loss - mean) * (run.loss - mean);
  }
  return 1.0 - residual / total;
}

}  // namespace tsugi
