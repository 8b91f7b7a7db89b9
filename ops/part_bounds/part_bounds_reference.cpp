#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "ops/part_bounds/part_bounds.h"

namespace tsugi::reference {

InfoNceSum part_bound(const PartScores& shape, std::span<const double> wholes, std::span<const double> parts,
                      std::span<const int32_t> whole_ids, std::span<const int32_t> part_ids, std::span<double> d_wholes,
                      std::span<double> d_parts) {
  std::fill(d_wholes.begin(), d_wholes.end(), 0.0);
  std::fill(d_parts.begin(), d_parts.end(), 0.0);
  const auto count = static_cast<size_t>(shape.parts);
  InfoNceSum result;
  std::vector<double> t(count), s(count), slope(count);
  for (int64_t i = 0; i < shape.wholes; ++i) {
    std::vector<size_t> own, others;
    double squares = 0.0;
    for (size_t j = 0; j < count; ++j) {
      t[j] = 0.0;
      for (int64_t c = 0; c < shape.width; ++c) {
        t[j] += shape.scale * wholes[i * shape.width + c] * parts[static_cast<int64_t>(j) * shape.width + c];
      }
      s[j] = shape.clip > 0.0 ? shape.clip * std::tanh(t[j] / shape.clip) : t[j];
      (part_ids[j] == whole_ids[i] ? own : others).push_back(j);
      squares += t[j] * t[j];
      slope[j] = 0.0;
    }
    const auto p = static_cast<double>(own.size());
    const auto n = static_cast<double>(others.size());
    double loss = shape.penalty * squares / static_cast<double>(count);
    if (shape.bound == PartBound::kInfoNce) {
      double sum = 0.0;
      for (const size_t j : others) sum += std::exp(s[j]);
      for (const size_t j : own) {
        const double all = std::exp(s[j]) + sum;
        loss += (std::log(all) - s[j]) / p;
        slope[j] = (std::exp(s[j]) / all - 1.0) / p;
        for (const size_t k : others) slope[k] += std::exp(s[k]) / all / p;
      }
    } else {
      for (const size_t j : own) {
        loss += (std::log(1.0 + std::exp(-s[j])) - std::numbers::ln2) / p;
        slope[j] = -1.0 / (1.0 + std::exp(s[j])) / p;
      }
      for (const size_t j : others) {
        loss += (std::log(1.0 + std::exp(s[j])) - std::numbers::ln2) / n;
        slope[j] = 1.0 / (1.0 + std::exp(-s[j])) / n;
      }
    }
    result.loss.sum += shape.weight * loss;
    ++result.loss.count;
    const auto highest = [&](const std::vector<size_t>& of) {
      double best = -INFINITY;
      for (const size_t j : of) best = std::max(best, s[j]);
      return best;
    };
    result.nearest += highest(own) > highest(others) ? 1 : 0;
    for (size_t j = 0; j < count; ++j) {
      if (shape.clip > 0.0) slope[j] *= 1.0 - std::pow(s[j] / shape.clip, 2);
      const double d =
          shape.weight * shape.scale * (slope[j] + 2.0 * shape.penalty * t[j] / static_cast<double>(count));
      for (int64_t c = 0; c < shape.width; ++c) {
        const int64_t at = static_cast<int64_t>(j) * shape.width + c;
        if (!d_wholes.empty()) d_wholes[i * shape.width + c] += d * parts[at];
        if (!d_parts.empty()) d_parts[at] += d * wholes[i * shape.width + c];
      }
    }
  }
  return result;
}

}  // namespace tsugi::reference
