#include "core/scaling/fit/hyperparameters.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/scaling/fit/small_matrix.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr double kSameCell = 1.02;
/// How near to the best loss the quadratic looks: as near as settings are dense, for the valley's far sides differ.
constexpr double kWindows[] = {1.005, 1.01, 1.02};

struct Setting {
  double x = 0.0;  ///< ln learning rate
  double y = 0.0;  ///< ln batch
  double loss = 0.0;
};

struct Cell {
  HyperparameterCell summary;
  std::vector<Setting> settings;
};

Interval range_of(const std::vector<Setting>& settings, double Setting::* value) {
  Interval range{HUGE_VAL, -HUGE_VAL};
  for (const Setting& one : settings) {
    range.low = std::min(range.low, one.*value);
    range.high = std::max(range.high, one.*value);
  }
  return range;
}

bool varies(const std::vector<Setting>& settings, double Setting::* value) {
  const Interval range = range_of(settings, value);
  return range.high - range.low > 0.05;
}

/// The vertex of a quadratic in the coordinates that vary, through the settings within `window` of the best; false when
/// it has none within them, or there are fewer than `spare` settings more than the quadratic has slopes and curvatures.
bool quadratic_vertex(const Cell& cell, double window, size_t spare, bool use_x, bool use_y, Setting& optimum) {
  std::vector<Setting> near;
  for (const Setting& one : cell.settings) {
    if (one.loss <= window * cell.summary.loss) near.push_back(one);
  }
  if (near.empty()) return false;
  double mean_x = 0.0, mean_y = 0.0;
  for (const Setting& one : near) {
    mean_x += one.x / static_cast<double>(near.size());
    mean_y += one.y / static_cast<double>(near.size());
  }
  std::vector<std::vector<double>> columns;
  std::vector<double> loss;
  for (const Setting& one : near) loss.push_back(one.loss);
  const auto add = [&](const auto& term) {
    columns.emplace_back();
    for (const Setting& one : near) columns.back().push_back(term(one.x - mean_x, one.y - mean_y));
  };
  if (use_x) add([](double x, double) { return x; });
  if (use_y) add([](double, double y) { return y; });
  if (use_x) add([](double x, double) { return x * x; });
  if (use_x && use_y) add([](double x, double y) { return x * y; });
  if (use_y) add([](double, double y) { return y * y; });
  if (near.size() < columns.size() + spare) return false;
  const std::vector<std::span<const double>> spans(columns.begin(), columns.end());
  const LinearFit fit = linear_fit(spans, loss);
  if (!fit.determined) return false;
  optimum = {mean_x, mean_y, 0.0};
  const auto& k = fit.coefficient;
  if (use_x && use_y) {
    const double xx = 2.0 * k[3], xy = k[4], yy = 2.0 * k[5], determinant = xx * yy - xy * xy;
    if (!(xx > 0.0) || !(determinant > 0.0)) return false;
    optimum.x -= (yy * k[1] - xy * k[2]) / determinant;
    optimum.y -= (xx * k[2] - xy * k[1]) / determinant;
  } else {
    if (!(k[2] > 0.0)) return false;
    (use_x ? optimum.x : optimum.y) -= k[1] / (2.0 * k[2]);
  }
  const auto inside = [&](double Setting::* value) {
    const Interval range = range_of(near, value);
    return range.low <= optimum.*value && optimum.*value <= range.high;
  };
  return (!use_x || inside(&Setting::x)) && (!use_y || inside(&Setting::y));
}

bool quadratic_optimum(const Cell& cell, bool use_x, bool use_y, Setting& optimum) {
  const size_t slopes = use_x && use_y ? 5 : 2;
  for (const double window : kWindows) {
    const size_t spare =
        window < kWindows[std::size(kWindows) - 1] ? slopes + 2 : 3;  // twice the coefficients, or just
    if (quadratic_vertex(cell, window, spare, use_x, use_y, optimum)) return true;
  }
  return false;
}

bool at_edge(const std::vector<Setting>& settings, double Setting::* value, double best) {
  const Interval range = range_of(settings, value);
  return varies(settings, value) && (best <= range.low || best >= range.high);
}

std::vector<Cell> cells_of(std::span<const SweepRun> runs) {
  std::vector<Cell> cells;
  for (const SweepRun& run : runs) {
    auto place = std::find_if(cells.begin(), cells.end(), [&](const Cell& cell) {
      const double n = run.n / cell.summary.n, d = run.d / cell.summary.d;
      return std::max(n, 1.0 / n) < kSameCell && std::max(d, 1.0 / d) < kSameCell;
    });
    if (place == cells.end()) {
      cells.emplace_back();
      place = cells.end() - 1;
      place->summary.n = run.n;
      place->summary.d = run.d;
    }
    place->settings.push_back({std::isnan(run.learning_rate) ? 0.0 : std::log(run.learning_rate),
                               std::isnan(run.batch) ? 0.0 : std::log(run.batch), run.loss});
  }
  std::erase_if(cells, [](const Cell& cell) { return cell.settings.size() < 3; });
  return cells;
}

/// ln y over the inputs that vary among the chosen cells.
bool fit_power(const std::vector<const Cell*>& chosen, double HyperparameterCell::* value, bool use_n, bool use_d,
               HyperparameterLaw& law) {
  std::vector<double> log_n, log_d, y;
  for (const Cell* cell : chosen) {
    log_n.push_back(std::log(cell->summary.n));
    log_d.push_back(std::log(cell->summary.d));
    y.push_back(std::log(cell->summary.*value));
  }
  std::vector<std::span<const double>> columns;
  if (use_n) columns.emplace_back(log_n);
  if (use_d) columns.emplace_back(log_d);
  const LinearFit fit = linear_fit(columns, y);
  if (!fit.determined) return false;
  law.coefficient = std::exp(fit.coefficient[0]);
  law.n_exponent = use_n ? fit.coefficient[1] : 0.0;
  law.d_exponent = use_d ? fit.coefficient[use_n ? 2 : 1] : 0.0;
  return true;
}

bool spread(const std::vector<Cell>& cells, double HyperparameterCell::* value) {
  double low = HUGE_VAL, high = 0.0;
  for (const Cell& cell : cells) {
    low = std::min(low, cell.summary.*value);
    high = std::max(high, cell.summary.*value);
  }
  return high > 1.1 * low;
}

HyperparameterLaw law_with_intervals(const std::vector<Cell>& cells, double HyperparameterCell::* value, bool use_n,
                                     bool use_d, int bootstraps, uint64_t seed, double level) {
  HyperparameterLaw law;
  std::vector<const Cell*> all;
  for (const Cell& cell : cells) all.push_back(&cell);
  if (!fit_power(all, value, use_n, use_d, law)) {
    throw Error(ExitCode::kData, "the cells' n and d rise together: their exponents cannot be told apart",
                "add cells of other ratios d/n");
  }
  std::vector<double> coefficient, n, d;
  for (int replicate = 0; replicate < bootstraps; ++replicate) {
    std::vector<const Cell*> chosen;
    for (const size_t i : draw(seed, static_cast<uint64_t>(replicate), cells.size(), cells.size())) {
      chosen.push_back(&cells[i]);
    }
    HyperparameterLaw sample;
    if (!fit_power(chosen, value, use_n, use_d, sample)) continue;
    coefficient.push_back(sample.coefficient);
    n.push_back(sample.n_exponent);
    d.push_back(sample.d_exponent);
  }
  law.coefficient_interval = percentile_interval(std::move(coefficient), level);
  law.n_interval = percentile_interval(std::move(n), level);
  law.d_interval = percentile_interval(std::move(d), level);
  return law;
}

}  // namespace

double HyperparameterLaw::at(double n, double d) const {
  return coefficient * std::pow(n, n_exponent) * std::pow(d, d_exponent);
}

HyperparameterFit fit_hyperparameters(std::span<const SweepRun> runs, int bootstraps, uint64_t seed, double level) {
  bool has_rate = true, has_batch = true;
  for (const SweepRun& run : runs) {
    if (std::isnan(run.n) || std::isnan(run.d)) {
      throw Error(ExitCode::kData, "form hyperparameters needs n and d, but " + run.name + " has not",
                  "name the columns: --columns n=COLUMN,d=COLUMN,lr=COLUMN,batch=COLUMN,loss=COLUMN");
    }
    has_rate = has_rate && !std::isnan(run.learning_rate);
    has_batch = has_batch && !std::isnan(run.batch);
  }
  if (!has_rate && !has_batch) {
    throw Error(
        ExitCode::kData, "form hyperparameters needs the learning rate or the batch of every run",
        "name the columns: --columns …,lr=COLUMN,batch=COLUMN (batch in tokens: batch=COLUMN*2048 for sequences)");
  }
  std::vector<Cell> cells = cells_of(runs);
  if (cells.size() < 3) {
    throw Error(ExitCode::kData,
                "laws of learning rate and batch need at least three cells (n, d) of three or more runs; there are " +
                    std::to_string(cells.size()),
                "add runs: several learning rates and batches at each of several n and d");
  }
  HyperparameterFit fit;
  for (Cell& cell : cells) {
    const bool x_varies = has_rate && varies(cell.settings, &Setting::x);
    const bool y_varies = has_batch && varies(cell.settings, &Setting::y);
    fit.has_learning_rate = fit.has_learning_rate || x_varies;
    fit.has_batch = fit.has_batch || y_varies;
    const Setting best = *std::min_element(cell.settings.begin(), cell.settings.end(),
                                           [](const Setting& a, const Setting& b) { return a.loss < b.loss; });
    HyperparameterCell& summary = cell.summary;
    summary.runs = static_cast<int>(cell.settings.size());
    summary.loss = best.loss;
    summary.at_edge = at_edge(cell.settings, &Setting::x, best.x) || at_edge(cell.settings, &Setting::y, best.y);
    Setting optimum;
    summary.interpolated = (x_varies || y_varies) && quadratic_optimum(cell, x_varies, y_varies, optimum);
    summary.learning_rate = std::exp(summary.interpolated ? optimum.x : best.x);
    summary.batch = std::exp(summary.interpolated ? optimum.y : best.y);
  }
  const bool n_varies = spread(cells, &HyperparameterCell::n), d_varies = spread(cells, &HyperparameterCell::d);
  if (!n_varies && !d_varies) {
    throw Error(ExitCode::kData, "all cells have the same n and d", "add runs at other sizes or token counts");
  }
  if (fit.has_learning_rate) {
    fit.learning_rate =
        law_with_intervals(cells, &HyperparameterCell::learning_rate, n_varies, d_varies, bootstraps, seed, level);
  }
  if (fit.has_batch) {
    fit.batch = law_with_intervals(cells, &HyperparameterCell::batch, !d_varies, d_varies, bootstraps, seed, level);
  }
  int edges = 0;
  for (const Cell& cell : cells) {
    const double x = fit.has_learning_rate ? std::log(fit.learning_rate.at(cell.summary.n, cell.summary.d)) : 0.0;
    const double y = fit.has_batch ? std::log(fit.batch.at(cell.summary.n, cell.summary.d)) : 0.0;
    const Setting* nearest = nullptr;
    double distance = HUGE_VAL;
    for (const Setting& one : cell.settings) {
      const double dx = fit.has_learning_rate ? one.x - x : 0.0, dy = fit.has_batch ? one.y - y : 0.0;
      if (dx * dx + dy * dy < distance) {
        distance = dx * dx + dy * dy;
        nearest = &one;
      }
    }
    const double excess = nearest->loss / cell.summary.loss - 1.0;
    fit.mean_excess += excess / static_cast<double>(cells.size());
    fit.largest_excess = std::max(fit.largest_excess, excess);
    edges += cell.summary.at_edge ? 1 : 0;
    fit.cells.push_back(cell.summary);
  }
  if (edges > 0) {
    fit.warnings.push_back("in " + std::to_string(edges) + " of " + std::to_string(cells.size()) +
                           " cells the best run lies on the edge of the values that were tried; add values beyond");
  }
  return fit;
}

}  // namespace tsugi
