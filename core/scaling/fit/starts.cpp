#include "core/scaling/fit/starts.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/scaling/fit/small_matrix.h"

namespace tsugi {
namespace {

/// A grid cell's projected parameters and how well they do: Σ w (ln L - ln L_measured)².
struct GridCell {
  Theta theta{};
  double squares = HUGE_VAL;
};

class Projection {
 public:
  Projection(const Law& law, std::span<const RunPoint> points, std::span<const double> weights)
      : law_(law), points_(points), weights_(points.size(), 1.0), columns_(3), target_(points.size()) {
    if (!weights.empty()) weights_.assign(weights.begin(), weights.end());
    for (auto& column : columns_) column.resize(points.size());
    smallest_loss_ = HUGE_VAL;
    for (size_t i = 0; i < points.size(); ++i) {
      if (weights_[i] > 0.0) smallest_loss_ = std::min(smallest_loss_, std::exp(points[i].log_loss));
    }
  }

  double smallest_loss() const { return smallest_loss_; }

  /// L = Σ_k x_k exp(power_k(point)), x >= 0, by relative squares; ln x, a coefficient of zero becoming a thousandth of
  /// what would explain all.
  std::array<double, 3> sum_of_powers(int terms, const std::function<double(int, const RunPoint&)>& power) {
    return project(
        terms, power, [](const RunPoint& point) { return std::exp(point.log_loss); },
        [](const RunPoint& point) { return std::exp(-2.0 * point.log_loss); });
  }

  std::array<double, 3> project(int terms, const std::function<double(int, const RunPoint&)>& power,
                                const std::function<double(const RunPoint&)>& target,
                                const std::function<double(const RunPoint&)>& weight) {
    std::array<double, 3> largest;
    largest.fill(-HUGE_VAL);
    for (size_t i = 0; i < points_.size(); ++i) {
      for (int k = 0; k < terms; ++k) largest[k] = std::max(largest[k], columns_[k][i] = power(k, points_[i]));
    }
    std::vector<double> scaled(points_.size());
    double mean = 0.0, total = 0.0;
    for (size_t i = 0; i < points_.size(); ++i) {
      for (int k = 0; k < terms; ++k) columns_[k][i] = std::exp(columns_[k][i] - largest[k]);
      target_[i] = target(points_[i]);
      scaled[i] = weights_[i] * weight(points_[i]);
      mean += weights_[i] * target_[i];
      total += weights_[i];
    }
    mean /= total;
    std::vector<std::span<const double>> used(columns_.begin(), columns_.begin() + terms);
    const NonNegativeFit fit = non_negative_least_squares(used, target_, scaled);
    std::array<double, 3> logs{};
    for (int k = 0; k < terms; ++k) logs[k] = std::log(std::max(fit.coefficient[k], 1e-3 * mean)) - largest[k];
    return logs;
  }

  GridCell cell(const Theta& theta) const {
    GridCell result{theta, 0.0};
    for (size_t i = 0; i < points_.size(); ++i) {
      if (weights_[i] == 0.0) continue;
      const double r = law_.log_loss(theta.data(), points_[i], nullptr) - points_[i].log_loss;
      result.squares += weights_[i] * r * r;
    }
    if (!std::isfinite(result.squares)) result.squares = HUGE_VAL;
    return result;
  }

 private:
  const Law& law_;
  std::span<const RunPoint> points_;
  std::vector<double> weights_;
  std::vector<std::vector<double>> columns_;
  std::vector<double> target_;
  double smallest_loss_;
};

std::vector<double> geometric(double first, double last, int count) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(first * std::pow(last / first, i / double(count - 1)));
  return values;
}

using Coordinate = double RunPoint::*;

/// Σ of E and powers of some coordinates.
std::vector<GridCell> power_cells(Projection& projection, Coordinate x) {
  std::vector<GridCell> cells;
  for (const double alpha : geometric(0.01, 2.0, 64)) {
    const auto logs =
        projection.sum_of_powers(2, [&](int k, const RunPoint& p) { return k == 0 ? 0.0 : -alpha * p.*x; });
    cells.push_back(projection.cell({logs[0], logs[1], alpha}));
  }
  return cells;
}

std::vector<GridCell> chinchilla_cells(Projection& projection, int size) {
  std::vector<GridCell> cells;
  for (const double alpha : geometric(0.04, 1.6, size)) {
    for (const double beta : geometric(0.04, 1.6, size)) {
      const auto logs = projection.sum_of_powers(3, [&](int k, const RunPoint& p) {
        return k == 0 ? 0.0 : k == 1 ? -alpha * p.log_n : -beta * p.log_d;
      });
      cells.push_back(projection.cell({logs[0], logs[1], logs[2], alpha, beta}));
    }
  }
  return cells;
}

/// (L - E)^(1/alpha_D) = (N_c/N)^r + D_c/D with r = alpha_N/alpha_D.
std::vector<GridCell> kaplan_cells(Projection& projection, bool irreducible) {
  std::vector<GridCell> cells;
  const std::vector<double> floors =
      irreducible ? std::vector<double>{0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97} : std::vector<double>{0.0};
  const int size = irreducible ? 12 : 24;
  for (const double floor : floors) {
    const double e = floor * projection.smallest_loss();
    for (const double alpha_d : geometric(0.02, 1.6, size)) {
      const auto target = [&](const RunPoint& p) { return std::pow(std::exp(p.log_loss) - e, 1.0 / alpha_d); };
      // Var[(L - E)^q] for a relative error of L: (q L (L - E)^(q-1))².
      const auto weight = [&](const RunPoint& p) {
        const double loss = std::exp(p.log_loss);
        const double slope = loss * std::pow(loss - e, 1.0 / alpha_d - 1.0);
        return 1.0 / (slope * slope);
      };
      for (const double r : geometric(0.2, 3.0, size)) {
        const auto logs = projection.project(
            2, [&](int k, const RunPoint& p) { return k == 0 ? -r * p.log_n : -p.log_d; }, target, weight);
        Theta theta{logs[0] / r, logs[1], std::log(r * alpha_d), std::log(alpha_d)};
        if (irreducible) theta[4] = std::log(e);
        cells.push_back(projection.cell(theta));
      }
    }
  }
  return cells;
}

std::vector<GridCell> kaplan_power_cells(Projection& projection, Coordinate x) {
  std::vector<GridCell> cells;
  for (const double alpha : geometric(0.005, 2.0, 64)) {
    const auto logs = projection.sum_of_powers(1, [&](int, const RunPoint& p) { return -alpha * p.*x; });
    cells.push_back(projection.cell({logs[0] / alpha, std::log(alpha)}));
  }
  return cells;
}

/// The batch scale from well below to well above the batches that were run, with the exponent as published.
std::vector<GridCell> kaplan_steps_cells(Projection& projection, std::span<const RunPoint> points) {
  double log_batch = 0.0, log_loss = 0.0;
  for (const RunPoint& point : points) {
    log_batch += point.log_batch / static_cast<double>(points.size());
    log_loss += point.log_loss / static_cast<double>(points.size());
  }
  std::vector<GridCell> cells;
  for (const double alpha_b : {0.1, 0.21, 0.5}) {
    for (const double excess : {-4.0, -2.0, 0.0, 2.0, 4.0}) {
      const double log_b_star = log_batch + excess + log_loss / alpha_b;
      for (const double alpha_n : geometric(0.02, 1.2, 10)) {
        for (const double alpha_s : geometric(0.05, 2.0, 10)) {
          const auto logs = projection.sum_of_powers(2, [&](int k, const RunPoint& p) {
            if (k == 0) return -alpha_n * p.log_n;
            return -alpha_s * (p.log_steps - std::log1p(std::exp(log_b_star - p.log_loss / alpha_b - p.log_batch)));
          });
          cells.push_back(projection.cell({logs[0] / alpha_n, logs[1] / alpha_s, std::log(alpha_n), std::log(alpha_s),
                                           log_b_star, std::log(alpha_b)}));
        }
      }
    }
  }
  return cells;
}

/// Chinchilla's coefficients on runs as if no token were repeated, or on those alone of which that is true, times a
/// grid of decay constants.
std::vector<GridCell> data_constrained_cells(const Projection& projection, std::span<const RunPoint> points,
                                             std::span<const double> weights) {
  std::vector<RunPoint> fresh;
  std::vector<double> fresh_weights;
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].log_d > points[i].log_unique + 0.05) continue;
    fresh.push_back(points[i]);
    fresh_weights.push_back(weights.empty() ? 1.0 : weights[i]);
  }
  const Law& chinchilla = law_by_name("chinchilla");
  std::vector<GridCell> cells;
  const auto add = [&](std::span<const RunPoint> some, std::span<const double> some_weights, int bases) {
    Projection base_projection(chinchilla, some, some_weights);
    std::vector<GridCell> base = chinchilla_cells(base_projection, 16);
    std::stable_sort(base.begin(), base.end(),
                     [](const GridCell& a, const GridCell& b) { return a.squares < b.squares; });
    base.resize(static_cast<size_t>(bases));
    for (const GridCell& one : base) {
      for (const double r_d : geometric(0.5, 200.0, 7)) {
        for (const double r_n : geometric(0.5, 200.0, 7)) {
          cells.push_back(projection.cell({one.theta[0], one.theta[1], one.theta[2], std::log(one.theta[3]),
                                           std::log(one.theta[4]), std::log(r_d), std::log(r_n)}));
        }
      }
    }
  };
  if (fresh.size() >= 8) add(fresh, fresh_weights, 3);
  add(points, weights, 3);
  return cells;
}

}  // namespace

std::vector<Theta> starting_points(const Law& law, std::span<const RunPoint> points, std::span<const double> weights,
                                   int count) {
  Projection projection(law, points, weights);
  const std::string_view name = law.name;
  std::vector<GridCell> cells;
  if (name == "chinchilla") cells = chinchilla_cells(projection, 32);
  if (name == "kaplan") cells = kaplan_cells(projection, false);
  if (name == "kaplan_irreducible") cells = kaplan_cells(projection, true);
  if (name == "data_constrained") cells = data_constrained_cells(projection, points, weights);
  if (name == "kaplan_steps") cells = kaplan_steps_cells(projection, points);
  if (name == "kaplan_n") cells = kaplan_power_cells(projection, &RunPoint::log_n);
  if (name == "kaplan_d") cells = kaplan_power_cells(projection, &RunPoint::log_d);
  if (name == "kaplan_c") cells = kaplan_power_cells(projection, &RunPoint::log_c);
  if (name == "power_n") cells = power_cells(projection, &RunPoint::log_n);
  if (name == "power_d") cells = power_cells(projection, &RunPoint::log_d);
  if (name == "power_c") cells = power_cells(projection, &RunPoint::log_c);
  CHECK(!cells.empty()) << "no starts for " << name;

  // A third from the best cells, the rest spread evenly over the grid: agreement of all of them is worth something.
  std::vector<size_t> order(cells.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cells[a].squares < cells[b].squares; });
  std::vector<bool> taken(cells.size(), false);
  std::vector<Theta> starts;
  const auto take = [&](size_t cell) {
    if (taken[cell] || !std::isfinite(cells[cell].squares)) return;
    taken[cell] = true;
    starts.push_back(cells[cell].theta);
  };
  const size_t wanted = std::min(static_cast<size_t>(count), cells.size());
  for (size_t i = 0; i < order.size() && starts.size() < (wanted + 2) / 3; ++i) take(order[i]);
  const size_t spread = wanted - std::min(wanted, starts.size());
  for (size_t i = 0; i < spread; ++i) take(i * cells.size() / spread + cells.size() / (2 * spread));
  for (size_t i = 0; i < order.size() && starts.size() < wanted; ++i) take(order[i]);
  return starts;
}

}  // namespace tsugi
