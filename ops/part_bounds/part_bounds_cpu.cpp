#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "ops/base/vector_math.h"
#include "ops/info_nce/score_chunks.h"
#include "ops/part_bounds/part_bounds_internal.h"

namespace tsugi::cpu {
namespace {

double softplus_of(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

/// From products to scores, and from slopes of scores to those of products.
class PartSlopes {
 public:
  explicit PartSlopes(const PartScores& problem)
      : infonce_(problem.bound == PartBound::kInfoNce),
        scale_(problem.scale),
        clip_(problem.clip),
        own_share_(1.0f / static_cast<float>(problem.parts_of_each)),
        other_share_(1.0f / static_cast<float>(problem.parts.shape()[0] - problem.parts_of_each)),
        penalty_slope_(2.0f * problem.penalty / static_cast<float>(problem.parts.shape()[0])),
        factor_(problem.scale * problem.weight) {}

  float score(float product) const {
    const float t = scale_ * product;
    return clip_ > 0.0f ? clip_ * fast_tanh(t / clip_) : t;
  }

  /// `facts` of the row.
  float slope(float product, bool own, const double* facts) const {
    const float s = score(product);
    float d = 0.0f;
    if (infonce_) {
      d = own ? -own_share_ * fast_sigmoid(static_cast<float>(facts[0]) - s)
              : fast_exp(s + static_cast<float>(facts[1]));
    } else {
      d = own ? -own_share_ * fast_sigmoid(-s) : other_share_ * fast_sigmoid(s);
    }
    if (clip_ > 0.0f) d *= 1.0f - (s / clip_) * (s / clip_);
    return factor_ * (d + penalty_slope_ * scale_ * product);
  }

 private:
  bool infonce_;
  float scale_, clip_, own_share_, other_share_, penalty_slope_, factor_;
};

struct RowSums {
  double loss = 0.0;
  bool nearest = false;
};

/// One whole: x are its products with all parts.
RowSums sums_of_row(const PartScores& problem, const PartSlopes& slopes, int32_t id, const float* x, double* facts) {
  const int32_t* const ids = problem.part_ids.data<int32_t>();
  const int64_t parts = problem.parts.shape()[0];
  const auto own_parts = static_cast<double>(problem.parts_of_each);
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  float top = kLowest;
  float best = kLowest;
  double squares = 0.0;
  for (int64_t j = 0; j < parts; ++j) {
    const float s = slopes.score(x[j]);
    float& largest = ids[j] == id ? best : top;
    largest = std::max(largest, s);
    const auto t = static_cast<double>(problem.scale * x[j]);
    squares += t * t;
  }
  RowSums sums;
  sums.nearest = best > top;
  facts[0] = facts[1] = 0.0;
  double others = 0.0;  // Σ exp(s - top), or Σ sp(s) - ln 2
  const bool infonce = problem.bound == PartBound::kInfoNce;
  for (int64_t j = 0; j < parts; ++j) {
    if (ids[j] == id) continue;
    const float s = slopes.score(x[j]);
    others +=
        infonce ? static_cast<double>(fast_exp(s - top)) : softplus_of(static_cast<double>(s)) - std::numbers::ln2;
  }
  if (infonce) {
    const double log_others = std::log(others) + static_cast<double>(top);
    double inverse = 0.0;
    for (int64_t j = 0; j < parts; ++j) {
      if (ids[j] != id) continue;
      const auto s = static_cast<double>(slopes.score(x[j]));
      const double loss = softplus_of(log_others - s);
      sums.loss += loss / own_parts;
      inverse += std::exp(log_others - (loss + s));  // loss + s = log(exp(s) + Σ_others), never below log_others
    }
    facts[0] = log_others;
    facts[1] = std::log(inverse / own_parts) - log_others;
  } else {
    double own = 0.0;
    for (int64_t j = 0; j < parts; ++j) {
      if (ids[j] == id) own += softplus_of(-static_cast<double>(slopes.score(x[j]))) - std::numbers::ln2;
    }
    sums.loss = own / own_parts + others / (static_cast<double>(parts) - own_parts);
  }
  sums.loss += static_cast<double>(problem.penalty) * squares / static_cast<double>(parts);
  sums.loss *= static_cast<double>(problem.weight);
  return sums;
}

}  // namespace

void part_rows(const Context& context, const PartScores& problem, int64_t first, bool gradient, const Tensor& scores,
               const Tensor& losses, const Tensor& nearest, const Tensor& facts) {
  const PartSlopes slopes(problem);
  const int32_t* const ids = problem.part_ids.data<int32_t>();
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    const int32_t id = problem.whole_ids.data<int32_t>()[first + row];
    double* const told = facts.data<double>() + (first + row) * kPartFacts;
    const RowSums sums = sums_of_row(problem, slopes, id, x, told);
    losses.data<double>()[row] = sums.loss;
    nearest.data<int32_t>()[row] = sums.nearest ? 1 : 0;
    for (int64_t j = 0; j < scores.shape()[1] && gradient; ++j) x[j] = slopes.slope(x[j], ids[j] == id, told);
  });
}

void part_columns(const Context& context, const PartScores& problem, int64_t first, const Tensor& facts,
                  const Tensor& scores) {
  const PartSlopes slopes(problem);
  const int32_t* const ids = problem.whole_ids.data<int32_t>();
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    const int32_t id = problem.part_ids.data<int32_t>()[first + row];
    for (int64_t i = 0; i < scores.shape()[1]; ++i) {
      x[i] = slopes.slope(x[i], ids[i] == id, facts.data<double>() + i * kPartFacts);
    }
  });
}

}  // namespace tsugi::cpu
