#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/scaling/fit/isoflop.h"
#include "core/scaling/fit/small_matrix.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int kGrid = 1500;  // as Hoffmann et al. 2022, section 3.1

/// ln L over ln C of one size, ascending.
struct Curve {
  double log_n = 0.0;
  std::vector<double> log_c, log_loss, log_d;

  bool covers(double x) const { return x >= log_c.front() && x <= log_c.back(); }
  double interpolate(const std::vector<double>& y, double x) const {
    const size_t right = std::clamp<size_t>(
        static_cast<size_t>(std::lower_bound(log_c.begin(), log_c.end(), x) - log_c.begin()), 1, log_c.size() - 1);
    const double part = (x - log_c[right - 1]) / (log_c[right] - log_c[right - 1]);
    return y[right - 1] + part * (y[right] - y[right - 1]);
  }
};

std::vector<Curve> curves_of(std::span<const SweepRun> runs) {
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return runs[a].n < runs[b].n; });
  std::vector<Curve> curves;
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && runs[order[end]].n < runs[order[i]].n * 1.001) ++end;
    std::stable_sort(order.begin() + static_cast<std::ptrdiff_t>(i), order.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](size_t a, size_t b) { return runs[a].c < runs[b].c; });
    Curve curve;
    curve.log_n = std::log(runs[order[i]].n);
    for (; i < end; ++i) {
      const SweepRun& run = runs[order[i]];
      const double x = std::log(run.c);
      if (!curve.log_c.empty() && x - curve.log_c.back() < 1e-6) continue;  // a second seed: the first one stands
      curve.log_c.push_back(x);
      curve.log_loss.push_back(std::log(run.loss));
      curve.log_d.push_back(std::log(run.d));
    }
    if (curve.log_c.size() >= 2) curves.push_back(std::move(curve));
  }
  return curves;
}

struct Lines {
  PowerOfCompute n{RunPoint::kUnknown, RunPoint::kUnknown}, d{RunPoint::kUnknown, RunPoint::kUnknown};
  int64_t points = 0;
  int64_t edges = 0;
  int sizes = 0;  ///< that are optimal somewhere
};

/// `chosen`: indices into `curves`, repetitions harmless, ascending.
Lines envelope(const std::vector<Curve>& curves, const std::vector<size_t>& chosen) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const size_t i : chosen) {
    low = std::min(low, curves[i].log_c.front());
    high = std::max(high, curves[i].log_c.back());
  }
  Lines lines;
  std::vector<double> log_c, log_n, log_d;
  double last_n = 0.0;
  for (int k = 0; k < kGrid; ++k) {
    const double x = low + (high - low) * k / (kGrid - 1);
    const Curve *best = nullptr, *smallest = nullptr, *largest = nullptr;
    double best_loss = HUGE_VAL;
    for (const size_t i : chosen) {
      const Curve& curve = curves[i];
      if (!curve.covers(x)) continue;
      if (smallest == nullptr) smallest = &curve;
      largest = &curve;
      const double one = curve.interpolate(curve.log_loss, x);
      if (one < best_loss) {
        best_loss = one;
        best = &curve;
      }
    }
    if (best == nullptr) continue;
    if (best == smallest || best == largest) {
      ++lines.edges;
      continue;
    }
    log_c.push_back(x);
    log_n.push_back(best->log_n);
    log_d.push_back(best->interpolate(best->log_d, x));
    lines.sizes += log_n.size() == 1 || best->log_n != last_n ? 1 : 0;
    last_n = best->log_n;
  }
  lines.points = static_cast<int64_t>(log_c.size());
  if (lines.sizes < 2) return lines;
  const std::span<const double> columns[] = {log_c};
  const LinearFit n = linear_fit(columns, log_n), d = linear_fit(columns, log_d);
  if (!n.determined || !d.determined) return lines;
  lines.n = {n.coefficient[1], n.coefficient[0]};
  lines.d = {d.coefficient[1], d.coefficient[0]};
  return lines;
}

}  // namespace

ComputeOptimal fit_envelope(std::span<const SweepRun> runs, const IsoflopOptions& options, ThreadPool& pool) {
  for (const SweepRun& run : runs) {
    if (std::isnan(run.n) || std::isnan(run.c) || std::isnan(run.d)) {
      throw Error(ExitCode::kData, "form envelope needs two of n, d and c, but " + run.name + " has not",
                  "name the columns: --columns n=COLUMN,d=COLUMN,loss=COLUMN");
    }
  }
  const std::vector<Curve> curves = curves_of(runs);
  std::vector<size_t> all(curves.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const Lines lines = curves.size() < 3 ? Lines{} : envelope(curves, all);
  if (curves.size() < 3 || std::isnan(lines.n.exponent)) {
    throw Error(ExitCode::kData,
                "the envelope of training curves needs sizes that are best somewhere between a smaller and a larger "
                "one; there are " +
                    std::to_string(curves.size()) + " sizes with two or more rows, " + std::to_string(lines.sizes) +
                    " of them so",
                "add rows along training (several d for each n) and more sizes, or use --form isoflop");
  }
  ComputeOptimal result;
  result.form = "envelope";
  result.points = lines.points;
  result.n = lines.n;
  result.d = lines.d;
  if (lines.edges > 0) {
    result.warnings.push_back(std::to_string(100 * lines.edges / (lines.edges + lines.points)) +
                              " % of the envelope is held by the smallest or largest size there and left out");
  }
  if (lines.sizes < 5) {
    result.warnings.push_back(
        (lines.sizes == 1 ? "only one size makes" : "only " + std::to_string(lines.sizes) + " sizes make") +
        std::string(" the envelope; add sizes"));
  }
  result.samples.resize(static_cast<size_t>(options.bootstraps));
  pool.for_each(options.bootstraps, [&](int64_t replicate, int) {
    std::vector<size_t> chosen = draw(options.seed, static_cast<uint64_t>(replicate), curves.size(), curves.size());
    std::sort(chosen.begin(), chosen.end());
    const Lines sample = envelope(curves, chosen);
    result.samples[static_cast<size_t>(replicate)] = {sample.n, sample.d, {}};
  });
  std::vector<double> a, b;
  for (const ComputeOptimal::Sample& sample : result.samples) {
    a.push_back(sample.n.exponent);
    b.push_back(sample.d.exponent);
  }
  result.n_exponent = percentile_interval(std::move(a), options.level);
  result.d_exponent = percentile_interval(std::move(b), options.level);
  return result;
}

}  // namespace tsugi
