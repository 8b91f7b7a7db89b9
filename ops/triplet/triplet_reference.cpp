#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/triplet/triplet.h"

namespace tsugi::reference {

InfoNceSum triplet(const InfoNce& shape, TripletForm form, double margin, std::span<const double> queries,
                   std::span<const double> keys, std::span<const int32_t> positives,
                   std::span<const int32_t> query_groups, std::span<const int32_t> key_groups,
                   std::span<double> d_queries, std::span<double> d_keys) {
  std::fill(d_queries.begin(), d_queries.end(), 0.0);
  std::fill(d_keys.begin(), d_keys.end(), 0.0);
  const int64_t width = shape.width;
  InfoNceSum result;
  for (int64_t i = 0; i < shape.queries; ++i) {
    const int64_t positive = positives[i];
    if (positive == kIgnoreIndex) continue;
    const auto score = [&](int64_t j) {
      double product = 0.0;
      for (int64_t c = 0; c < width; ++c) product += queries[i * width + c] * keys[j * width + c];
      return product / shape.temperature;
    };
    std::vector<int64_t> negatives;
    for (int64_t j = 0; j < shape.keys; ++j) {
      if (j != positive && key_groups[j] != kNoGroup && key_groups[j] != query_groups[i]) negatives.push_back(j);
    }
    ++result.loss.count;
    if (negatives.empty()) continue;
    const auto count = static_cast<double>(negatives.size());
    bool nearest = true;
    for (const int64_t j : negatives) {
      const double x = score(j) - score(positive);
      nearest = nearest && x < 0.0;
      const double e = std::exp(x);
      const bool inside = margin + x > 0.0;
      result.loss.sum += (form == TripletForm::kLogistic ? std::log(1.0 + e) : inside ? margin + x : 0.0) / count;
      const double slope = (form == TripletForm::kLogistic ? e / (1.0 + e) : inside ? 1.0 : 0.0) / count;
      const double d = slope / shape.temperature;
      for (int64_t c = 0; c < width; ++c) {
        if (!d_queries.empty()) d_queries[i * width + c] += d * (keys[j * width + c] - keys[positive * width + c]);
        if (d_keys.empty()) continue;
        d_keys[j * width + c] += d * queries[i * width + c];
        d_keys[positive * width + c] -= d * queries[i * width + c];
      }
    }
    result.nearest += nearest;
  }
  return result;
}

}  // namespace tsugi::reference
