#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/info_nce/info_nce.h"

namespace tsugi::reference {

InfoNceSum info_nce(const InfoNce& shape, std::span<const double> queries, std::span<const double> keys,
                    std::span<const int32_t> positives, std::span<const int32_t> query_groups,
                    std::span<const int32_t> key_groups, std::span<double> d_queries, std::span<double> d_keys,
                    std::span<const int32_t> query_classes, std::span<const int32_t> key_classes) {
  std::fill(d_queries.begin(), d_queries.end(), 0.0);
  std::fill(d_keys.begin(), d_keys.end(), 0.0);
  constexpr double kLowest = -std::numeric_limits<double>::infinity();
  const int64_t width = shape.width;
  InfoNceSum result;
  std::vector<double> scores(static_cast<size_t>(shape.keys));
  std::vector<bool> is_positive(static_cast<size_t>(shape.keys));
  for (int64_t i = 0; i < shape.queries; ++i) {
    const int32_t positive = positives[i];
    if (positive == kIgnoreIndex) continue;
    double top = kLowest;
    double best = kLowest;
    double others = kLowest;
    double own = 0.0;
    double count = 0.0;
    for (int64_t j = 0; j < shape.keys; ++j) {
      double product = 0.0;
      for (int64_t c = 0; c < width; ++c) product += queries[i * width + c] * keys[j * width + c];
      const bool out = j != positive && (key_groups[j] == kNoGroup || key_groups[j] == query_groups[i]);
      scores[j] = out ? kLowest : product / shape.temperature;
      is_positive[j] = j == positive || (!out && !query_classes.empty() && query_classes[i] == key_classes[j]);
      top = std::max(top, scores[j]);
      double& larger = is_positive[j] ? best : others;
      larger = std::max(larger, scores[j]);
      own += is_positive[j] ? scores[j] : 0.0;
      count += is_positive[j] ? 1.0 : 0.0;
    }
    own /= count;
    double sum = 0.0;
    for (const double score : scores) sum += std::exp(score - top);
    const double log_sum = std::log(sum) + top;
    result.loss.sum += log_sum - own;
    ++result.loss.count;
    result.nearest += best > others;
    for (int64_t j = 0; j < shape.keys; ++j) {
      const double d = (std::exp(scores[j] - log_sum) - (is_positive[j] ? 1.0 / count : 0.0)) / shape.temperature;
      for (int64_t c = 0; c < width; ++c) {
        if (!d_queries.empty()) d_queries[i * width + c] += d * keys[j * width + c];
        if (!d_keys.empty()) d_keys[j * width + c] += d * queries[i * width + c];
      }
    }
  }
  return result;
}

}  // namespace tsugi::reference
