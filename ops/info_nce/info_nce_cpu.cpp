#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/base/ordered_sum.h"
#include "ops/base/vector_math.h"
#include "ops/info_nce/info_nce_internal.h"
#include "ops/info_nce/score_chunks.h"

namespace tsugi::cpu {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct RowResult {
  double loss = 0.0;
  double log_sum = 0.0;
  bool nearest = false;
};

/// Of one query.
struct PositiveScores {
  double mean = 0.0;       ///< of the positives' scores
  float best = kLowest;    ///< the largest of them
  float others = kLowest;  ///< the largest of the other keys that are not left out
};

/// x are the query's scores, kLowest where a key is left out.
PositiveScores one_positive(int32_t positive, int64_t keys, float* x) {
  PositiveScores scores;
  scores.best = x[positive];
  scores.mean = static_cast<double>(scores.best);
  x[positive] = kLowest;
  float others = kLowest;
#pragma omp simd reduction(max : others)
  for (int64_t j = 0; j < keys; ++j) others = x[j] > others ? x[j] : others;
  scores.others = others;
  x[positive] = scores.best;
  return scores;
}

PositiveScores many_positives(const InfoNce& problem, int64_t row, int32_t positive, int64_t keys, const float* x) {
  const int32_t* const classes = problem.key_classes.data<int32_t>();
  const int32_t own_class = problem.query_classes.data<int32_t>()[row];
  PositiveScores scores;
  for (int64_t j = 0; j < keys; ++j) {
    const bool own = j == positive || (classes[j] == own_class && x[j] != kLowest);
    float& largest = own ? scores.best : scores.others;
    largest = std::max(largest, x[j]);
    scores.mean += own ? static_cast<double>(x[j]) : 0.0;
  }
  scores.mean /= problem.positive_counts.data<int32_t>()[row];
  return scores;
}

/// One query: x are its products with all keys.
RowResult row_info_nce(const InfoNce& problem, int64_t row, bool gradient, int64_t keys, float* x) {
  const int32_t positive = problem.positives.data<int32_t>()[row];
  if (positive == kIgnoreIndex) {
    if (gradient) std::fill(x, x + keys, 0.0f);
    return {};
  }
  CHECK(positive >= 0 && positive < keys) << "positive " << positive << " of " << keys << " keys";
  const int32_t group = problem.query_groups.data<int32_t>()[row];
  const int32_t* const groups = problem.key_groups.data<int32_t>();
  const float scale = 1.0f / problem.temperature;
#pragma omp simd
  for (int64_t j = 0; j < keys; ++j) {
    const bool out = (groups[j] == group || groups[j] == kNoGroup) && j != positive;
    x[j] = out ? kLowest : x[j] * scale;
  }
  const bool many = problem.key_classes.defined();
  const PositiveScores scores =
      many ? many_positives(problem, row, positive, keys, x) : one_positive(positive, keys, x);
  const float top = std::max(scores.best, scores.others);
#pragma omp simd
  for (int64_t j = 0; j < keys; ++j) x[j] = x[j] == kLowest ? 0.0f : fast_exp(x[j] - top);
  const double sum = ordered_sum(x, keys);
  RowResult result;
  result.log_sum = std::log(sum) + static_cast<double>(top);
  result.loss = result.log_sum - scores.mean;
  result.nearest = scores.best > scores.others;
  if (!gradient) return result;
  const auto factor = static_cast<float>(static_cast<double>(scale) / sum);
#pragma omp simd
  for (int64_t j = 0; j < keys; ++j) x[j] *= factor;
  if (!many) {
    x[positive] -= scale;
    return result;
  }
  const float share = scale / static_cast<float>(problem.positive_counts.data<int32_t>()[row]);
  const int32_t* const classes = problem.key_classes.data<int32_t>();
  const int32_t own_class = problem.query_classes.data<int32_t>()[row];
  for (int64_t j = 0; j < keys; ++j) {
    const bool out = groups[j] == group || groups[j] == kNoGroup;
    if (j == positive || (classes[j] == own_class && !out)) x[j] -= share;
  }
  return result;
}

/// One key: x are its products with all queries.
void column_info_nce(const InfoNce& problem, int32_t key, int32_t group, const double* log_sums, int64_t queries,
                     float* x) {
  const int32_t* const positives = problem.positives.data<int32_t>();
  const int32_t* const groups = problem.query_groups.data<int32_t>();
  const double scale = 1.0 / static_cast<double>(problem.temperature);
  const auto factor = static_cast<float>(scale);
  const bool many = problem.key_classes.defined();
  const int32_t* const classes = many ? problem.query_classes.data<int32_t>() : nullptr;
  const int32_t* const shares = many ? problem.positive_counts.data<int32_t>() : nullptr;
  const int32_t own_class = many ? problem.key_classes.data<int32_t>()[key] : 0;
#pragma omp simd
  for (int64_t i = 0; i < queries; ++i) {
    const bool own = positives[i] == key;
    const bool counts = own || (positives[i] != kIgnoreIndex && group != kNoGroup && groups[i] != group);
    const float exponent = static_cast<float>(static_cast<double>(x[i]) * scale - log_sums[i]);
    x[i] = factor * ((counts ? fast_exp(exponent) : 0.0f) - (own && !many ? 1.0f : 0.0f));
  }
  if (!many) return;
  for (int64_t i = 0; i < queries; ++i) {
    const bool counts = positives[i] != kIgnoreIndex && group != kNoGroup && groups[i] != group;
    if (positives[i] == key || (counts && classes[i] == own_class)) x[i] -= factor / static_cast<float>(shares[i]);
  }
}

}  // namespace

void info_nce_rows(const Context& context, const InfoNce& problem, int64_t first, bool gradient, const Tensor& scores,
                   const Tensor& losses, const Tensor& nearest, const Tensor& log_sums) {
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    const RowResult result = row_info_nce(problem, first + row, gradient, scores.shape()[1], x);
    losses.data<double>()[row] = result.loss;
    nearest.data<int32_t>()[row] = result.nearest ? 1 : 0;
    log_sums.data<double>()[first + row] = result.log_sum;
  });
}

void info_nce_columns(const Context& context, const InfoNce& problem, int64_t first, const Tensor& log_sums,
                      const Tensor& scores) {
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    column_info_nce(problem, static_cast<int32_t>(first + row), problem.key_groups.data<int32_t>()[first + row],
                    log_sums.data<double>(), scores.shape()[1], x);
  });
}

}  // namespace tsugi::cpu
