#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/logistic.cuh"
#include "ops/triplet/triplet_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFacts = 3;
constexpr int32_t kIgnored = -1;
constexpr int32_t kNoGroup = -1;

struct RowShared {
  dev::BlockScratch<float> floats;
  dev::BlockScratch<double> doubles;
};

/// What a negative costs, and the slope of that.
struct Term {
  double loss = 0.0;
  double slope = 0.0;
};

TSUGI_DEVICE Term term_of(const DeviceTriplets& problem, double x) {
  Term term;
  if (problem.logistic) {
    term.loss = softplus(x);
    term.slope = logistic(x);
  } else if (static_cast<double>(problem.margin) + x > 0.0) {
    term.loss = static_cast<double>(problem.margin) + x;
    term.slope = 1.0;
  }
  return term;
}

TSUGI_KERNEL(kThreads, 4)
query_triplets(DeviceTriplets problem, int64_t first, bool gradient, float* scores, double* losses, int32_t* nearest,
               double* facts) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int64_t keys = problem.keys;
  float* const x = scores + row * keys;
  double* const told = facts + (first + row) * kFacts;
  const int64_t positive = dev::load(problem.positives + first + row);
  const int32_t group = dev::load(problem.query_groups + first + row);
  const bool known = positive >= 0 && positive < keys;
  const double scale = 1.0 / static_cast<double>(problem.temperature);
  const double own = known ? static_cast<double>(dev::load(x + positive)) * scale : 0.0;
  const auto is_negative = [&](int64_t j) {
    const int32_t other = dev::load(problem.key_groups + j);
    return j != positive && other != group && other != kNoGroup;
  };
  double negatives = 0.0;
  for (int64_t j = dev::thread_index(); known && j < keys; j += kThreads) negatives += is_negative(j) ? 1.0 : 0.0;
  negatives = dev::block_sum(negatives, s.doubles);  // and all have read the positive's score
  if (negatives == 0.0) {                            // the whole block
    for (int64_t j = dev::thread_index(); gradient && j < keys; j += kThreads) dev::store(x + j, 0.0f);
    if (dev::thread_index() == 0) {
      dev::store(losses + row, known || positive == kIgnored ? 0.0 : __builtin_nan(""));
      dev::store(nearest + row, 0);
      for (int i = 0; i < kFacts; ++i) dev::store(told + i, 0.0);
    }
    return;
  }
  const double share = 1.0 / negatives;
  double loss = 0.0, slopes = 0.0;
  float beside = 0.0f;  // 1: a negative scores as high as the positive
  for (int64_t j = dev::thread_index(); j < keys; j += kThreads) {
    Term term;
    if (is_negative(j)) {
      const double difference = static_cast<double>(dev::load(x + j)) * scale - own;
      term = term_of(problem, difference);
      if (!(difference < 0.0)) beside = 1.0f;
    }
    loss += term.loss;
    slopes += term.slope;
    if (gradient && j != positive) dev::store(x + j, static_cast<float>(term.slope * share * scale));
  }
  loss = dev::block_sum(loss, s.doubles);
  slopes = dev::block_sum(slopes, s.doubles);
  beside = dev::block_max(beside, s.floats);
  if (dev::thread_index() != 0) return;
  if (gradient) dev::store(x + positive, static_cast<float>(-slopes * share * scale));
  dev::store(losses + row, loss * share);
  dev::store(nearest + row, beside > 0.0f ? 0 : 1);
  dev::store(told, own);
  dev::store(told + 1, slopes * share);
  dev::store(told + 2, share);
}

struct KeyTriplets {
  DeviceTriplets problem;
  int64_t first;
  const double* facts;
  float* scores;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const int64_t key = first + i / problem.queries;
    const int64_t query = i % problem.queries;
    const double* const told = facts + query * kFacts;
    const double scale = 1.0 / static_cast<double>(problem.temperature);
    const int32_t positive = dev::load(problem.positives + query);
    const int32_t group = dev::load(problem.key_groups + key);
    double slope = 0.0;
    if (positive == key) {
      slope = -dev::load(told + 1);
    } else if (positive != kIgnored && group != kNoGroup && dev::load(problem.query_groups + query) != group) {
      const double difference = static_cast<double>(dev::load(scores + i)) * scale - dev::load(told);
      slope = term_of(problem, difference).slope * dev::load(told + 2);
    }
    dev::store(scores + i, static_cast<float>(slope * scale));
  }
};

}  // namespace

void triplet_rows(Stream& stream, const DeviceTriplets& problem, int64_t first, int64_t rows, bool gradient,
                  float* scores, double* losses, int32_t* nearest, double* facts) {
  if (rows == 0) return;
  launch(stream, query_triplets, {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, problem, first,
         gradient, scores, losses, nearest, facts);
}

void triplet_columns(Stream& stream, const DeviceTriplets& problem, int64_t first, int64_t rows, const double* facts,
                     float* scores) {
  launch_elementwise<1>(stream, KeyTriplets{problem, first, facts, scores}, rows * problem.queries);
}

}  // namespace tsugi::cuda
