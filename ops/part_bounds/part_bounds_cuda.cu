#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/logistic.cuh"
#include "ops/part_bounds/part_bounds_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFacts = 2;
constexpr double kLn2 = 0.693147180559945309417;

struct RowShared {
  dev::BlockScratch<float> floats;
  dev::BlockScratch<double> doubles;
};

TSUGI_DEVICE float score_of(const DeviceParts& problem, float product) {
  const float t = problem.scale * product;
  return problem.clip > 0.0f ? problem.clip * dev::tanh(t / problem.clip) : t;
}

/// ∂loss/∂product. log_others and log_inverse: the facts of the whole's row.
TSUGI_DEVICE float slope_of(const DeviceParts& problem, float product, bool own, double log_others,
                            double log_inverse) {
  const float s = score_of(problem, product);
  const float own_share = 1.0f / static_cast<float>(problem.parts_of_each);
  float d = 0.0f;
  if (problem.info_nce) {
    d = own ? -own_share * logistic(static_cast<float>(log_others) - s) : dev::exp(s + static_cast<float>(log_inverse));
  } else {
    const float other_share = 1.0f / static_cast<float>(problem.parts - problem.parts_of_each);
    d = own ? -own_share * logistic(-s) : other_share * logistic(s);
  }
  if (problem.clip > 0.0f) d *= 1.0f - (s / problem.clip) * (s / problem.clip);
  const float penalty_slope = 2.0f * problem.penalty / static_cast<float>(problem.parts);
  return problem.scale * problem.weight * (d + penalty_slope * problem.scale * product);
}

TSUGI_KERNEL(kThreads, 4)
whole_rows(DeviceParts problem, int64_t first, bool gradient, float* scores, double* losses, int32_t* nearest,
           double* facts) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  float* const x = scores + row * problem.parts;
  const int32_t id = dev::load(problem.whole_ids + first + row);
  const auto owns = [&](int64_t j) { return dev::load(problem.part_ids + j) == id; };
  const auto own_parts = static_cast<double>(problem.parts_of_each);
  float best = -__builtin_huge_valf(), top = best;
  double squares = 0.0;
  for (int64_t j = dev::thread_index(); j < problem.parts; j += kThreads) {
    const float product = dev::load(x + j);
    const float score = score_of(problem, product);
    if (owns(j)) {
      best = dev::maximum(best, score);
    } else {
      top = dev::maximum(top, score);
    }
    const auto t = static_cast<double>(problem.scale * product);
    squares += t * t;
  }
  best = dev::block_max(best, s.floats);
  top = dev::block_max(top, s.floats);
  squares = dev::block_sum(squares, s.doubles);
  double own = 0.0, others = 0.0;  // JSD's sums; of InfoNCE only Σ exp(s - top)
  for (int64_t j = dev::thread_index(); j < problem.parts; j += kThreads) {
    const float score = score_of(problem, dev::load(x + j));
    const bool mine = owns(j);
    if (problem.info_nce) {
      others += mine ? 0.0 : static_cast<double>(dev::exp(score - top));
    } else if (mine) {
      own += softplus(-static_cast<double>(score)) - kLn2;
    } else {
      others += softplus(static_cast<double>(score)) - kLn2;
    }
  }
  others = dev::block_sum(others, s.doubles);
  double log_others = 0.0, log_inverse = 0.0;
  if (problem.info_nce) {
    log_others = dev::log(others) + static_cast<double>(top);
    double inverse = 0.0;
    for (int64_t j = dev::thread_index(); j < problem.parts; j += kThreads) {
      if (!owns(j)) continue;
      const auto score = static_cast<double>(score_of(problem, dev::load(x + j)));
      const double loss = softplus(log_others - score);
      own += loss;
      inverse += dev::exp(log_others - (loss + score));  // never above 1
    }
    log_inverse = dev::log(dev::block_sum(inverse, s.doubles) / own_parts) - log_others;
    others = 0.0;
  }
  own = dev::block_sum(own, s.doubles);
  if (dev::thread_index() == 0) {
    const auto parts = static_cast<double>(problem.parts);
    const double loss =
        own / own_parts + others / (parts - own_parts) + static_cast<double>(problem.penalty) * squares / parts;
    dev::store(losses + row, static_cast<double>(problem.weight) * loss);
    dev::store(nearest + row, best > top ? 1 : 0);
    dev::store(facts + (first + row) * kFacts, log_others);
    dev::store(facts + (first + row) * kFacts + 1, log_inverse);
  }
  for (int64_t j = dev::thread_index(); gradient && j < problem.parts; j += kThreads) {
    dev::store(x + j, slope_of(problem, dev::load(x + j), owns(j), log_others, log_inverse));
  }
}

struct PartRows {
  DeviceParts problem;
  int64_t first;
  const double* facts;
  float* scores;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const int64_t whole = i % problem.wholes;
    const bool own = dev::load(problem.part_ids + first + i / problem.wholes) == dev::load(problem.whole_ids + whole);
    dev::store(scores + i, slope_of(problem, dev::load(scores + i), own, dev::load(facts + whole * kFacts),
                                    dev::load(facts + whole * kFacts + 1)));
  }
};

}  // namespace

void part_rows(Stream& stream, const DeviceParts& problem, int64_t first, int64_t rows, bool gradient, float* scores,
               double* losses, int32_t* nearest, double* facts) {
  if (rows == 0) return;
  launch(stream, whole_rows, {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, problem, first,
         gradient, scores, losses, nearest, facts);
}

void part_columns(Stream& stream, const DeviceParts& problem, int64_t first, int64_t rows, const double* facts,
                  float* scores) {
  launch_elementwise<1>(stream, PartRows{problem, first, facts, scores}, rows * problem.wholes);
}

}  // namespace tsugi::cuda
