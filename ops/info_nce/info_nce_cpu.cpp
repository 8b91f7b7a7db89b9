#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/base/ordered_sum.h"
#include "ops/base/vector_math.h"
#include "ops/info_nce/info_nce_internal.h"

namespace tsugi::cpu {
namespace {

// A piece covers about this many scores, so that short rows do not spend their time on taking pieces.
constexpr int64_t kScoresPerPiece = 1 << 14;

struct RowResult {
  double loss = 0.0;
  double log_sum = 0.0;
  bool nearest = false;
};

/// One query: x are its products with all keys.
RowResult row_info_nce(const InfoNce& problem, int32_t positive, int32_t group, bool gradient, int64_t keys, float* x) {
  if (positive == kIgnoreIndex) {
    if (gradient) std::fill(x, x + keys, 0.0f);
    return {};
  }
  CHECK(positive >= 0 && positive < keys) << "positive " << positive << " of " << keys << " keys";
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const int32_t* const groups = problem.key_groups.data<int32_t>();
  const float scale = 1.0f / problem.temperature;
  const float own = x[positive] * scale;
  float others = kLowest;
#pragma omp simd reduction(max : others)
  for (int64_t j = 0; j < keys; ++j) {
    const bool out = groups[j] == group || groups[j] == kNoGroup || j == positive;
    x[j] = out ? kLowest : x[j] * scale;
    others = x[j] > others ? x[j] : others;
  }
  const float top = std::max(own, others);
#pragma omp simd
  for (int64_t j = 0; j < keys; ++j) x[j] = x[j] == kLowest ? 0.0f : fast_exp(x[j] - top);
  x[positive] = fast_exp(own - top);
  const double sum = ordered_sum(x, keys);
  RowResult result;
  result.log_sum = std::log(sum) + static_cast<double>(top);
  result.loss = result.log_sum - static_cast<double>(own);
  result.nearest = own > others;
  if (!gradient) return result;
  const auto factor = static_cast<float>(static_cast<double>(scale) / sum);
#pragma omp simd
  for (int64_t j = 0; j < keys; ++j) x[j] *= factor;
  x[positive] -= scale;
  return result;
}

/// One key: x are its products with all queries.
void column_info_nce(const InfoNce& problem, int32_t key, int32_t group, const double* log_sums, int64_t queries,
                     float* x) {
  const int32_t* const positives = problem.positives.data<int32_t>();
  const int32_t* const groups = problem.query_groups.data<int32_t>();
  const double scale = 1.0 / static_cast<double>(problem.temperature);
  const auto factor = static_cast<float>(scale);
#pragma omp simd
  for (int64_t i = 0; i < queries; ++i) {
    const bool own = positives[i] == key;
    const bool counts = own || (positives[i] != kIgnoreIndex && group != kNoGroup && groups[i] != group);
    const float exponent = static_cast<float>(static_cast<double>(x[i]) * scale - log_sums[i]);
    x[i] = factor * ((counts ? fast_exp(exponent) : 0.0f) - (own ? 1.0f : 0.0f));
  }
}

template <class F>
void for_each_score_row(const Context& context, const Tensor& scores, F&& body) {
  const int64_t rows = scores.shape()[0];
  const int64_t columns = scores.shape()[1];
  const int64_t piece_rows = std::max(int64_t{1}, kScoresPerPiece / columns);
  context.pool().for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int) {
    const int64_t end = std::min(rows, (piece + 1) * piece_rows);
    for (int64_t row = piece * piece_rows; row < end; ++row) body(row, scores.data<float>() + row * columns);
  });
}

}  // namespace

void info_nce_rows(const Context& context, const InfoNce& problem, int64_t first, bool gradient, const Tensor& scores,
                   const Tensor& losses, const Tensor& nearest, const Tensor& log_sums) {
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    const RowResult result =
        row_info_nce(problem, problem.positives.data<int32_t>()[first + row],
                     problem.query_groups.data<int32_t>()[first + row], gradient, scores.shape()[1], x);
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
