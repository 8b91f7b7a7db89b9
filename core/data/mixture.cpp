#include "core/data/mixture.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <tuple>

#include "ops/base/error.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxPeriod = 1'000'000;
constexpr size_t kMaxSources = 1000;
constexpr uint32_t kTieSite = 0x534A0000;

/// Decimal numbers as whole ones without a common divisor; empty when they add up to more than kMaxPeriod.
std::vector<int64_t> whole_parts(const std::vector<double>& weights) {
  double scale = 1.0;
  for (int digits = 0; digits <= 18; ++digits, scale *= 10.0) {
    const auto is_whole = [scale](double weight) {
      const double scaled = weight * scale;
      return scaled >= 0.5 && scaled < 1e15 && std::abs(scaled - std::round(scaled)) <= 1e-12 * scaled;
    };
    if (!std::ranges::all_of(weights, is_whole)) continue;
    std::vector<int64_t> parts;
    int64_t divisor = 0;
    for (const double weight : weights) {
      parts.push_back(std::llround(weight * scale));
      divisor = std::gcd(divisor, parts.back());
    }
    int64_t sum = 0;
    for (int64_t& part : parts) sum += part /= divisor;
    return sum <= kMaxPeriod ? parts : std::vector<int64_t>();
  }
  return {};
}

}  // namespace

Mixture::Mixture(const std::vector<double>& weights, uint64_t seed) {
  if (weights.empty() || weights.size() > kMaxSources) {
    throw Error(ExitCode::kUsage, "data.mixture: a mixture has 1 to " + std::to_string(kMaxSources) + " sources, not " +
                                      std::to_string(weights.size()));
  }
  for (const double weight : weights) {
    if (!(weight > 0.0) || !std::isfinite(weight)) {
      throw Error(ExitCode::kUsage, "data.mixture.weight: must be above 0, not " + std::to_string(weight));
    }
  }
  parts_ = whole_parts(weights);
  if (parts_.empty()) {
    throw Error(ExitCode::kUsage, "data.mixture.weight: the weights have too many digits to be met exactly",
                "write them with at most six digits, such as 0.333333 and 0.666667");
  }
  const int64_t period = std::accumulate(parts_.begin(), parts_.end(), int64_t{0});
  // Source s must be taken for the k-th time (from 0) at a sample in [k·W/w rounded down, (k + 1)·W/w rounded up).
  using Entry = std::tuple<int64_t, uint32_t, size_t>;  // release or deadline; order among equals; source
  using Queue = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  Queue later;  // by release
  Queue ready;  // by deadline
  std::vector<int64_t> taken(parts_.size());
  std::vector<uint32_t> rank(parts_.size());
  const RandomStream random{seed, 0, kTieSite};
  for (size_t s = 0; s < parts_.size(); ++s) {
    rank[s] = random.word(s);
    later.push({0, rank[s], s});
  }
  for (int64_t sample = 0; sample < period; ++sample) {
    while (!later.empty() && std::get<0>(later.top()) <= sample) {
      const size_t s = std::get<2>(later.top());
      later.pop();
      ready.push({((taken[s] + 1) * period + parts_[s] - 1) / parts_[s], rank[s], s});
    }
    CHECK(!ready.empty());
    const auto [deadline, order, s] = ready.top();
    ready.pop();
    CHECK_LT(sample, deadline);
    order_.push_back(static_cast<uint16_t>(s));
    index_.push_back(static_cast<uint32_t>(taken[s]));
    if (++taken[s] < parts_[s]) later.push({taken[s] * period / parts_[s], rank[s], s});
  }
}

Mixture::Pick Mixture::pick(uint64_t sample) const {
  const uint64_t place = sample % order_.size();
  const int64_t source = order_[place];
  const uint64_t rounds = sample / order_.size();
  return {source, rounds * static_cast<uint64_t>(parts_[static_cast<size_t>(source)]) + index_[place]};
}

uint64_t Mixture::taken(int64_t source, uint64_t samples) const {
  const uint64_t place = samples % order_.size();
  uint64_t count = samples / order_.size() * static_cast<uint64_t>(parts_[static_cast<size_t>(source)]);
  for (uint64_t i = 0; i < place; ++i) count += order_[i] == source ? 1 : 0;
  return count;
}

}  // namespace tsugi
