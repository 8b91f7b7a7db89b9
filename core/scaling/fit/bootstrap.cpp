#include "core/scaling/fit/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/scaling/fit/minimize.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr uint32_t kResamplingSite = 0x5ca1ab1e;
constexpr uint32_t kNoiseSite = 0x5ca1ab1f;

size_t below(uint32_t word, size_t bound) { return static_cast<size_t>((uint64_t{word} * bound) >> 32); }

/// Runs of one cluster, cluster by cluster in order of appearance.
std::vector<std::vector<size_t>> clusters_of(std::span<const SweepRun> runs) {
  std::vector<std::vector<size_t>> clusters;
  std::map<std::string, size_t> known;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].cluster.empty()) {
      clusters.push_back({i});
      continue;
    }
    const auto [place, inserted] = known.emplace(runs[i].cluster, clusters.size());
    if (inserted) clusters.emplace_back();
    clusters[place->second].push_back(i);
  }
  return clusters;
}

}  // namespace

std::vector<size_t> draw(uint64_t seed, uint64_t replicate, size_t count, size_t bound) {
  const RandomStream stream{seed, replicate, kResamplingSite};
  std::vector<size_t> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = below(stream.word(i), bound);
  return result;
}

Interval percentile_interval(std::vector<double> values, double level) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return {std::nan(""), std::nan("")};
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double q) {
    const double place = q * static_cast<double>(values.size() - 1);
    const size_t below_place = static_cast<size_t>(place);
    const size_t above = std::min(below_place + 1, values.size() - 1);
    const double part = place - static_cast<double>(below_place);
    if (part == 0.0 || values[below_place] == values[above]) return values[below_place];
    return values[below_place] + part * (values[above] - values[below_place]);
  };
  return {quantile(0.5 * (1.0 - level)), quantile(0.5 * (1.0 + level))};
}

Bootstrap bootstrap_runs(const Fit& fit, std::span<const SweepRun> runs, int replicates, uint64_t seed,
                         ThreadPool& pool) {
  const FitObjective objective(*fit.law, runs, fit.options.objective);
  const std::vector<std::vector<size_t>> clusters = clusters_of(runs);
  Bootstrap result;
  result.seed = seed;
  result.samples.resize(static_cast<size_t>(replicates));
  pool.for_each(replicates, [&](int64_t replicate, int) {
    std::vector<double> weights(runs.size(), 0.0);
    for (const size_t cluster : draw(seed, static_cast<uint64_t>(replicate), clusters.size(), clusters.size())) {
      for (const size_t run : clusters[cluster]) weights[run] += 1.0;
    }
    Minimum best = minimize(objective, weights, fit.theta, fit.fixed);
    for (const Theta& valley : fit.valleys) {
      const Minimum other = minimize(objective, weights, valley, fit.fixed);
      if (other.value < best.value) best = other;
    }
    result.samples[static_cast<size_t>(replicate)] = best.theta;
  });
  return result;
}

Interval bootstrap_interval(const Bootstrap& bootstrap, const std::function<double(const Theta&)>& quantity,
                            double level) {
  std::vector<double> values;
  values.reserve(bootstrap.samples.size());
  for (const Theta& theta : bootstrap.samples) values.push_back(quantity(theta));
  return percentile_interval(std::move(values), level);
}

Interval prediction_interval(const Fit& fit, const Bootstrap& bootstrap, const SweepRun& run, double level) {
  const RunPoint point = run.point();
  const double count = static_cast<double>(fit.residuals.size());
  const double widening = std::sqrt(count / std::max(1.0, count - fit.free_parameters()));
  constexpr uint64_t kDraws = 4;  // residuals per refit: the tails of the noise, not of its sampling
  std::vector<double> values;
  values.reserve(bootstrap.samples.size() * kDraws);
  for (size_t i = 0; i < bootstrap.samples.size(); ++i) {
    const double log_loss = fit.law->log_loss(bootstrap.samples[i].data(), point, nullptr);
    const RandomStream stream{bootstrap.seed, i, kNoiseSite};
    for (uint64_t k = 0; k < kDraws; ++k) {
      const double residual = fit.residuals[below(stream.word(k), fit.residuals.size())];
      values.push_back(std::exp(log_loss - widening * residual));
    }
  }
  return percentile_interval(std::move(values), level);
}

}  // namespace tsugi
