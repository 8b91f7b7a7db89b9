#include "core/scaling/fit/isoflop.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/scaling/fit/minimize.h"
#include "core/scaling/fit/small_matrix.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string shown(double value) {
  std::ostringstream text;
  text.precision(3);
  text << value;
  return text.str();
}

/// One-sided 95 % points of Student's t.
double student95(int degrees) {
  static constexpr double kTable[] = {6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
                                      1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725};
  if (degrees < 1) return HUGE_VAL;
  return degrees <= 20 ? kTable[degrees - 1] : 1.645 + 1.6 / degrees;
}

/// The distinct sizes of a budget: ln N, the mean loss at each, and the mean of ln D.
struct Sizes {
  std::vector<double> x, loss, log_d;
};

Sizes distinct_sizes(std::span<const SweepRun> runs, const Budget& budget) {
  Sizes sizes;
  std::vector<double> count;
  for (const size_t index : budget.runs) {  // ascending in n
    const SweepRun& run = runs[index];
    const double x = std::log(run.n);
    if (sizes.x.empty() || x - sizes.x.back() > 1e-3) {
      sizes.x.push_back(x);
      sizes.loss.push_back(0.0);
      sizes.log_d.push_back(0.0);
      count.push_back(0.0);
    }
    sizes.loss.back() += run.loss;
    sizes.log_d.back() += std::log(run.d);
    count.back() += 1.0;
  }
  for (size_t i = 0; i < count.size(); ++i) {
    sizes.loss[i] /= count[i];
    sizes.log_d[i] /= count[i];
  }
  return sizes;
}

/// L = c0 + c1 u + c2 u² with u = x - mean(x).
struct Parabola {
  bool determined = false;
  double centre = 0.0;
  LinearFit line;
  double at(double x) const {
    const double u = x - centre;
    return line.coefficient[0] + line.coefficient[1] * u + line.coefficient[2] * u * u;
  }
  double vertex() const { return centre - 0.5 * line.coefficient[1] / line.coefficient[2]; }
};

Parabola fit_parabola(const std::vector<double>& x, const std::vector<double>& y) {
  Parabola parabola;
  for (const double one : x) parabola.centre += one / static_cast<double>(x.size());
  std::vector<double> u, uu;
  for (const double one : x) {
    u.push_back(one - parabola.centre);
    uu.push_back(u.back() * u.back());
  }
  const std::span<const double> columns[] = {u, uu};
  parabola.line = linear_fit(columns, y);
  parabola.determined = parabola.line.determined;
  return parabola;
}

/// ln D at ln N along a budget: a straight line of slope near -1.
double log_d_at(const Sizes& sizes, double x) {
  const std::span<const double> columns[] = {sizes.x};
  const LinearFit line = linear_fit(columns, sizes.log_d);
  return line.coefficient[0] + line.coefficient[1] * x;
}

PowerOfCompute line_over_compute(const std::vector<double>& log_c, const std::vector<double>& y) {
  const std::span<const double> columns[] = {log_c};
  const LinearFit line = linear_fit(columns, y);
  if (!line.determined) return {RunPoint::kUnknown, RunPoint::kUnknown};
  return {line.coefficient[1], line.coefficient[0]};
}

/// Leave-one-out residual of each point over its own prediction error: beyond ±4 something else happened in that run.
void warn_of_outliers(const Sizes& sizes, IsoflopBudget& budget) {
  if (sizes.x.size() < 6) return;
  for (size_t out = 0; out < sizes.x.size(); ++out) {
    Sizes rest = sizes;
    rest.x.erase(rest.x.begin() + static_cast<std::ptrdiff_t>(out));
    rest.loss.erase(rest.loss.begin() + static_cast<std::ptrdiff_t>(out));
    const Parabola parabola = fit_parabola(rest.x, rest.loss);
    if (!parabola.determined || parabola.line.degrees < 1) continue;
    const double spread = std::sqrt(parabola.line.squares / parabola.line.degrees);
    const double z = (sizes.loss[out] - parabola.at(sizes.x[out])) / (std::sqrt(2.0) * spread + 1e-12);
    const double relative = std::abs(sizes.loss[out] - parabola.at(sizes.x[out])) / sizes.loss[out];
    const bool edge = out == 0 || out + 1 == sizes.x.size();
    if (std::abs(z) > 4.0 && relative > 0.01 && !edge) {
      budget.warnings.push_back("n = " + shown(std::exp(sizes.x[out])) + " lies " + shown(100.0 * relative) +
                                " % off the others' parabola: look at that run");
    }
  }
}

/// Decides whether a budget's minimum can be believed.
void judge(const Sizes& sizes, const Parabola& parabola, IsoflopBudget& budget) {
  const std::string place = "budget " + shown(budget.c) + ": ";
  const size_t lowest =
      static_cast<size_t>(std::min_element(sizes.loss.begin(), sizes.loss.end()) - sizes.loss.begin());
  if (budget.sizes < 4) {
    budget.reason = place + (budget.sizes == 1 ? "only one size" : "only " + std::to_string(budget.sizes) + " sizes") +
                    "; add sizes, at least four, better six";
    return;
  }
  if (!parabola.determined || !(budget.curvature > 0.0)) {
    budget.reason = place + "the losses do not bend upwards; add " +
                    (lowest == 0                    ? "smaller"
                     : lowest + 1 == sizes.x.size() ? "larger"
                                                    : "more") +
                    " sizes";
    return;
  }
  const double low = sizes.x.front(), high = sizes.x.back();
  const double vertex = std::log(budget.n_optimal);
  if (vertex <= low || vertex >= high) {
    budget.reason = place + "the minimum lies beyond the " + (vertex <= low ? "smallest" : "largest") + " size, " +
                    shown(std::exp(vertex <= low ? low : high)) + "; add " + (vertex <= low ? "smaller" : "larger") +
                    " sizes";
    return;
  }
  if (!(budget.curvature - student95(parabola.line.degrees) * budget.curvature_error > 0.0)) {
    budget.reason = place + "the minimum is lost in the noise (curvature " + shown(budget.curvature) + " ± " +
                    shown(budget.curvature_error) + "); add sizes farther out, or seeds";
    return;
  }
  budget.used = true;
  if (lowest == 0 || lowest + 1 == sizes.x.size()) {
    budget.warnings.push_back(std::string("the lowest loss is that of the ") + (lowest == 0 ? "smallest" : "largest") +
                              " size; add " + (lowest == 0 ? "smaller" : "larger") + " ones");
  } else if (std::min(vertex - low, high - vertex) < 0.15 * (high - low)) {
    budget.warnings.push_back("the sizes are off centre: the minimum is close to the " +
                              std::string(vertex - low < high - vertex ? "smallest" : "largest"));
  }
  if (budget.sizes < 5) budget.warnings.emplace_back("only four sizes: one bad run decides");
}

struct Good {
  Sizes sizes;
  Parabola parabola;
  size_t budget;
};

struct Judged {
  std::vector<IsoflopBudget> budgets;
  std::vector<Good> good;
  std::vector<double> residuals;  // relative to the loss, corrected for the degrees of freedom
};

Judged judge_all(std::span<const SweepRun> runs) {
  Judged result;
  for (const Budget& group : group_budgets(runs)) {
    IsoflopBudget budget;
    budget.c = group.c;
    budget.runs = static_cast<int>(group.runs.size());
    Sizes sizes = distinct_sizes(runs, group);
    budget.sizes = static_cast<int>(sizes.x.size());
    budget.smallest_n = std::exp(sizes.x.front());
    budget.largest_n = std::exp(sizes.x.back());
    const auto lowest = std::ranges::min_element(sizes.loss) - sizes.loss.begin();
    budget.edge = lowest == 0 ? -1 : lowest + 1 == static_cast<std::ptrdiff_t>(sizes.loss.size()) ? 1 : 0;
    const Parabola parabola = budget.sizes >= 3 ? fit_parabola(sizes.x, sizes.loss) : Parabola{};
    if (parabola.determined) {
      budget.curvature = 2.0 * parabola.line.coefficient[2];
      budget.curvature_error = 2.0 * parabola.line.standard_error[2];
      budget.n_optimal = std::exp(parabola.vertex());
      budget.loss_optimal = parabola.at(parabola.vertex());
      budget.d_optimal = std::exp(log_d_at(sizes, parabola.vertex()));
    }
    judge(sizes, parabola, budget);
    if (budget.used) {
      warn_of_outliers(sizes, budget);
      const double correction = std::sqrt(budget.sizes / static_cast<double>(std::max(1, parabola.line.degrees)));
      for (size_t i = 0; i < sizes.x.size(); ++i) {
        result.residuals.push_back(correction * (sizes.loss[i] / parabola.at(sizes.x[i]) - 1.0));
      }
      result.good.push_back({std::move(sizes), parabola, result.budgets.size()});
    }
    result.budgets.push_back(std::move(budget));
  }
  return result;
}

}  // namespace

double PowerOfCompute::at(double c) const { return std::exp(log_coefficient + exponent * std::log(c)); }

std::vector<IsoflopBudget> judge_budgets(std::span<const SweepRun> runs) { return judge_all(runs).budgets; }

std::vector<std::string> edge_warnings(std::span<const SweepRun> runs) {
  std::vector<IsoflopBudget> budgets;
  try {
    budgets = judge_budgets(runs);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kData) throw;
    return {};  // no isoFLOP runs
  }
  std::erase_if(budgets, [](const IsoflopBudget& budget) { return budget.sizes < 4; });
  size_t in_budgets = 0;
  std::string smallest, largest;
  for (const IsoflopBudget& budget : budgets) {
    in_budgets += static_cast<size_t>(budget.runs);
    if (budget.edge == 0) continue;
    std::string& list = budget.edge < 0 ? smallest : largest;
    list += (list.empty() ? "" : ", ") + shown(budget.c);
  }
  if (2 * in_budgets < runs.size() || (smallest.empty() && largest.empty())) return {};
  std::string text = "the lowest loss is at the edge of the sizes";
  if (!smallest.empty()) text += ", at the smallest for budgets " + smallest + " (add smaller sizes)";
  if (!largest.empty()) text += ", at the largest for budgets " + largest + " (add larger sizes)";
  return {text + ": the optimal size is extrapolated there"};
}

ComputeOptimal fit_isoflop(std::span<const SweepRun> runs, const IsoflopOptions& options, ThreadPool& pool) {
  for (const SweepRun& run : runs) {
    if (std::isnan(run.n) || std::isnan(run.c) || std::isnan(run.d)) {
      throw Error(ExitCode::kData, "form isoflop needs two of n, d and c, but " + run.name + " has not",
                  "name the columns: --columns c=COLUMN,n=COLUMN,loss=COLUMN");
    }
  }
  ComputeOptimal result;
  result.form = "isoflop";
  Judged judged = judge_all(runs);
  const std::vector<Good>& good = judged.good;
  const std::vector<double>& pool_of_residuals = judged.residuals;
  result.budgets = std::move(judged.budgets);
  if (good.size() < 2) {
    std::string reasons;
    for (const IsoflopBudget& budget : result.budgets) {
      if (!budget.used) reasons += "\n  " + budget.reason;
    }
    throw Error(ExitCode::kData,
                "isoFLOP parabolas need at least two budgets with a minimum inside their sizes; there " +
                    std::string(good.size() == 1 ? "is one" : "is none") + " among " +
                    std::to_string(result.budgets.size()),
                (reasons.empty() ? "add runs of another budget" : "budgets that cannot be used:" + reasons));
  }
  if (good.size() < 4) {
    result.warnings.push_back("only " + std::to_string(good.size()) +
                              " good budgets: exponents rest on few points; add budgets");
  }

  std::vector<double> log_c, log_n, log_d;
  std::vector<SweepRun> optima;
  for (const Good& one : good) {
    const IsoflopBudget& budget = result.budgets[one.budget];
    log_c.push_back(std::log(budget.c));
    log_n.push_back(std::log(budget.n_optimal));
    log_d.push_back(std::log(budget.d_optimal));
    SweepRun optimum;
    optimum.name = "budget " + shown(budget.c);
    optimum.c = budget.c;
    optimum.loss = budget.loss_optimal;
    optima.push_back(optimum);
  }
  result.points = static_cast<int64_t>(good.size());
  result.n = line_over_compute(log_c, log_n);
  result.d = line_over_compute(log_c, log_d);
  if (optima.size() >= 4) {
    FitOptions frontier;
    frontier.objective.delta = 1e-2;  // a handful of minima with little noise: nearly least squares
    result.frontier = fit_law(law_by_name("power_c"), optima, frontier, pool);
  }

  // Resampled residuals: every replicate keeps the grid of sizes, which resampling runs would tear holes into.
  const size_t replicates = static_cast<size_t>(options.bootstraps);
  result.samples.resize(replicates);
  std::vector<std::vector<double>> vertices(good.size(), std::vector<double>(replicates, RunPoint::kUnknown));
  pool.for_each(options.bootstraps, [&](int64_t replicate, int) {
    size_t needed = 0;
    for (const Good& one : good) needed += one.sizes.x.size();
    const std::vector<size_t> drawn =
        draw(options.seed, static_cast<uint64_t>(replicate), needed, pool_of_residuals.size());
    size_t next = 0;
    std::vector<double> c, n, d;
    std::vector<SweepRun> minima = optima;
    for (size_t g = 0; g < good.size(); ++g) {
      const Good& one = good[g];
      std::vector<double> loss;
      for (const double x : one.sizes.x) {
        loss.push_back(one.parabola.at(x) * (1.0 + pool_of_residuals[drawn[next++]]));
      }
      const Parabola parabola = fit_parabola(one.sizes.x, loss);
      if (!parabola.determined || !(parabola.line.coefficient[2] > 0.0)) continue;
      const double vertex = std::clamp(parabola.vertex(), one.sizes.x.front() - 1.0, one.sizes.x.back() + 1.0);
      vertices[g][static_cast<size_t>(replicate)] = std::exp(vertex);
      c.push_back(log_c[g]);
      n.push_back(vertex);
      d.push_back(log_d_at(one.sizes, vertex));
      minima[g].loss = parabola.at(vertex);
    }
    ComputeOptimal::Sample& sample = result.samples[static_cast<size_t>(replicate)];
    sample.n = line_over_compute(c, n);
    sample.d = line_over_compute(c, d);
    if (result.frontier) {
      const FitObjective objective(*result.frontier->law, minima, result.frontier->options.objective);
      sample.frontier = minimize(objective, {}, result.frontier->theta, 0).theta;
    }
  });
  std::vector<double> a, b;
  for (const ComputeOptimal::Sample& sample : result.samples) {
    a.push_back(sample.n.exponent);
    b.push_back(sample.d.exponent);
  }
  result.n_exponent = percentile_interval(std::move(a), options.level);
  result.d_exponent = percentile_interval(std::move(b), options.level);
  for (size_t g = 0; g < good.size(); ++g) {
    result.budgets[good[g].budget].n_interval = percentile_interval(std::move(vertices[g]), options.level);
  }
  for (const IsoflopBudget& budget : result.budgets) {
    if (!budget.used) result.warnings.push_back("not used: " + budget.reason);
    for (const std::string& warning : budget.warnings) {
      result.warnings.push_back("budget " + shown(budget.c) + ": " + warning);
    }
  }
  return result;
}

ComputeOptimalAdvice advise(const ComputeOptimal& fit, double c, double level) {
  ComputeOptimalAdvice advice;
  advice.c = c;
  advice.n = fit.n.at(c);
  advice.d = fit.d.at(c);
  SweepRun run;
  run.c = c;
  if (fit.frontier) advice.loss = fit.frontier->predict(run);
  std::vector<double> n, d, loss;
  for (const ComputeOptimal::Sample& sample : fit.samples) {
    n.push_back(sample.n.at(c));
    d.push_back(sample.d.at(c));
    if (fit.frontier) {
      loss.push_back(std::exp(fit.frontier->law->log_loss(sample.frontier.data(), run.point(), nullptr)));
    }
  }
  advice.n_interval = percentile_interval(std::move(n), level);
  advice.d_interval = percentile_interval(std::move(d), level);
  advice.loss_interval = percentile_interval(std::move(loss), level);
  return advice;
}

}  // namespace tsugi
