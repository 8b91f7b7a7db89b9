#include <cmath>

#include "ops/score_bounds/score_bounds.h"

namespace tsugi::reference {

double score_bound(ScoreBound kind, int64_t rows, std::span<const double> scores, std::span<double> d_scores) {
  const auto n = static_cast<double>(rows);
  const double pairs = n * (n - 1.0);
  double mean_exponential = 0.0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < rows; ++j) mean_exponential += i == j ? 0.0 : std::exp(scores[i * rows + j]) / pairs;
  }
  double bound = 0.0;
  if (kind == ScoreBound::kDonskerVaradhan) bound = -std::log(mean_exponential);
  if (kind == ScoreBound::kInfoNce) bound = std::log(n);
  for (int64_t i = 0; i < rows; ++i) {
    double row_sum = 0.0;
    for (int64_t j = 0; j < rows; ++j) row_sum += std::exp(scores[i * rows + j]);
    for (int64_t j = 0; j < rows; ++j) {
      const double s = scores[i * rows + j];
      const double e = std::exp(s);
      double term = 0.0;
      double slope = 0.0;
      switch (kind) {
        case ScoreBound::kDonskerVaradhan:
          term = i == j ? s / n : 0.0;
          slope = i == j ? 1.0 / n : -e / pairs / mean_exponential;
          break;
        case ScoreBound::kNwj:
          term = i == j ? s / n : -e / std::exp(1.0) / pairs;
          slope = i == j ? 1.0 / n : term;
          break;
        case ScoreBound::kJsd:
          term = i == j ? (std::log(2.0) - std::log(1.0 + 1.0 / e)) / n : (std::log(2.0) - std::log(1.0 + e)) / pairs;
          slope = i == j ? 1.0 / (1.0 + e) / n : -e / (1.0 + e) / pairs;
          break;
        case ScoreBound::kInfoNce:
          term = i == j ? (s - std::log(row_sum)) / n : 0.0;
          slope = ((i == j ? 1.0 : 0.0) - e / row_sum) / n;
          break;
      }
      bound += term;
      if (!d_scores.empty()) d_scores[i * rows + j] = slope;
    }
  }
  return bound;
}

}  // namespace tsugi::reference
