#include <algorithm>
#include <cmath>

#include "ops/info_nce/score_chunks.h"
#include "ops/triplet/triplet_internal.h"

namespace tsugi::cpu {
namespace {

/// What a negative costs, and the slope of that.
struct TripletTerm {
  double loss = 0.0;
  double slope = 0.0;
};

TripletTerm triplet_term(const Triplets& problem, double x) {
  if (problem.form == TripletForm::kLogistic) {
    const double e = std::exp(-std::abs(x));
    return {std::max(x, 0.0) + std::log1p(e), (x > 0.0 ? 1.0 : e) / (1.0 + e)};
  }
  const double inside = static_cast<double>(problem.margin) + x;
  return inside > 0.0 ? TripletTerm{inside, 1.0} : TripletTerm{};
}

}  // namespace

void triplet_rows(const Context& context, const Triplets& problem, int64_t first, bool gradient, const Tensor& scores,
                  const Tensor& losses, const Tensor& nearest, const Tensor& facts) {
  const InfoNce& pairs = problem.pairs;
  const int64_t keys = scores.shape()[1];
  const double scale = 1.0 / static_cast<double>(pairs.temperature);
  const int32_t* const groups = pairs.key_groups.data<int32_t>();
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    double* const told = facts.data<double>() + (first + row) * kTripletFacts;
    std::fill(told, told + kTripletFacts, 0.0);
    losses.data<double>()[row] = 0.0;
    nearest.data<int32_t>()[row] = 0;
    const int32_t positive = pairs.positives.data<int32_t>()[first + row];
    const int32_t group = pairs.query_groups.data<int32_t>()[first + row];
    const auto is_negative = [&](int64_t j) { return j != positive && groups[j] != group && groups[j] != kNoGroup; };
    int64_t negatives = 0;
    for (int64_t j = 0; j < keys && positive != kIgnoreIndex; ++j) negatives += is_negative(j) ? 1 : 0;
    if (negatives == 0) {
      if (gradient) std::fill(x, x + keys, 0.0f);
      return;
    }
    CHECK(positive >= 0 && positive < keys) << "positive " << positive << " of " << keys << " keys";
    const double own = static_cast<double>(x[positive]) * scale;
    const double share = 1.0 / static_cast<double>(negatives);
    double loss = 0.0;
    double slopes = 0.0;
    bool above = true;
    for (int64_t j = 0; j < keys; ++j) {
      if (!is_negative(j)) {
        x[j] = 0.0f;
        continue;
      }
      const double difference = static_cast<double>(x[j]) * scale - own;
      const TripletTerm term = triplet_term(problem, difference);
      loss += term.loss;
      slopes += term.slope;
      above = above && difference < 0.0;
      x[j] = static_cast<float>(term.slope * share * scale);
    }
    x[positive] = static_cast<float>(-slopes * share * scale);
    losses.data<double>()[row] = loss * share;
    nearest.data<int32_t>()[row] = above ? 1 : 0;
    told[0] = own;
    told[1] = slopes * share;
    told[2] = share;
  });
}

void triplet_columns(const Context& context, const Triplets& problem, int64_t first, const Tensor& facts,
                     const Tensor& scores) {
  const InfoNce& pairs = problem.pairs;
  const int64_t queries = scores.shape()[1];
  const double scale = 1.0 / static_cast<double>(pairs.temperature);
  const int32_t* const positives = pairs.positives.data<int32_t>();
  const int32_t* const groups = pairs.query_groups.data<int32_t>();
  for_each_score_row(context, scores, [&](int64_t row, float* x) {
    const int64_t key = first + row;
    const int32_t group = pairs.key_groups.data<int32_t>()[key];
    for (int64_t i = 0; i < queries; ++i) {
      const double* const told = facts.data<double>() + i * kTripletFacts;
      double slope = 0.0;
      if (positives[i] == key) {
        slope = -told[1];
      } else if (positives[i] != kIgnoreIndex && group != kNoGroup && groups[i] != group) {
        slope = triplet_term(problem, static_cast<double>(x[i]) * scale - told[0]).slope * told[2];
      }
      x[i] = static_cast<float>(slope * scale);
    }
  });
}

}  // namespace tsugi::cpu
