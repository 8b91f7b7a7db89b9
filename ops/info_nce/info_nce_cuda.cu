#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/info_nce/info_nce_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int32_t kIgnored = -1;
constexpr int32_t kNoGroup = -1;

struct RowShared {
  dev::BlockScratch<float> floats;
  dev::BlockScratch<double> doubles;
};

/// One query, as its keys see it.
struct Query {
  int64_t positive;
  int32_t group;
  int32_t own_class;

  TSUGI_DEVICE bool leaves_out(const DeviceInfoNce& problem, int64_t key) const {
    const int32_t other = dev::load(problem.key_groups + key);
    return (other == group || other == kNoGroup) && key != positive;
  }
  TSUGI_DEVICE bool owns(const DeviceInfoNce& problem, int64_t key, bool left_out) const {
    if (key == positive) return true;
    return problem.key_classes != nullptr && !left_out && dev::load(problem.key_classes + key) == own_class;
  }
};

TSUGI_KERNEL(kThreads, 4)
query_rows(DeviceInfoNce problem, int64_t first, bool gradient, float* scores, double* losses, int32_t* nearest,
           double* log_sums) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int64_t at = first + row;
  const int64_t keys = problem.keys;
  float* const x = scores + row * keys;
  const bool many = problem.key_classes != nullptr;
  const Query query{dev::load(problem.positives + at), dev::load(problem.query_groups + at),
                    many ? dev::load(problem.query_classes + at) : 0};
  if (query.positive < 0 || query.positive >= keys) {  // the whole block
    for (int64_t j = dev::thread_index(); gradient && j < keys; j += kThreads) dev::store(x + j, 0.0f);
    if (dev::thread_index() == 0) {
      dev::store(losses + row, query.positive == kIgnored ? 0.0 : __builtin_nan(""));
      dev::store(nearest + row, 0);
      dev::store(log_sums + at, 0.0);
    }
    return;
  }
  // A thread has the same keys in every pass.
  const float scale = 1.0f / problem.temperature;
  const float lowest = -__builtin_huge_valf();
  float best = lowest, others = lowest;
  double own_sum = 0.0;
  for (int64_t j = dev::thread_index(); j < keys; j += kThreads) {
    const bool out = query.leaves_out(problem, j);
    const float score = out ? lowest : dev::load(x + j) * scale;
    dev::store(x + j, score);
    if (query.owns(problem, j, out)) {
      best = dev::maximum(best, score);
      own_sum += static_cast<double>(score);
    } else {
      others = dev::maximum(others, score);
    }
  }
  best = dev::block_max(best, s.floats);
  others = dev::block_max(others, s.floats);
  own_sum = dev::block_sum(own_sum, s.doubles);
  const float top = dev::maximum(best, others);
  double sum = 0.0;
  for (int64_t j = dev::thread_index(); j < keys; j += kThreads) {
    const float score = dev::load(x + j);
    const float e = score == lowest ? 0.0f : dev::exp(score - top);
    dev::store(x + j, e);
    sum += static_cast<double>(e);
  }
  sum = dev::block_sum(sum, s.doubles);
  const double count = many ? static_cast<double>(dev::load(problem.positive_counts + at)) : 1.0;
  if (dev::thread_index() == 0) {
    const double log_sum = dev::log(sum) + static_cast<double>(top);
    dev::store(losses + row, log_sum - own_sum / count);
    dev::store(nearest + row, best > others ? 1 : 0);
    dev::store(log_sums + at, log_sum);
  }
  if (!gradient) return;
  const auto factor = static_cast<float>(static_cast<double>(scale) / sum);
  const float share = scale / static_cast<float>(count);
  for (int64_t j = dev::thread_index(); j < keys; j += kThreads) {
    const bool own = query.owns(problem, j, many && query.leaves_out(problem, j));
    dev::store(x + j, dev::load(x + j) * factor - (own ? share : 0.0f));
  }
}

struct KeyRows {
  DeviceInfoNce problem;
  int64_t first;
  const double* log_sums;
  float* scores;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const int64_t key = first + i / problem.queries;
    const int64_t at = i % problem.queries;
    const Query query{dev::load(problem.positives + at), dev::load(problem.query_groups + at),
                      problem.key_classes != nullptr ? dev::load(problem.query_classes + at) : 0};
    float slope = 0.0f;
    const bool out = query.leaves_out(problem, key);
    if (query.positive != kIgnored && !out) {
      const double scale = 1.0 / static_cast<double>(problem.temperature);
      const auto exponent =
          static_cast<float>(static_cast<double>(dev::load(scores + i)) * scale - dev::load(log_sums + at));
      slope = dev::exp(exponent);
      if (query.owns(problem, key, out)) {
        slope -=
            problem.key_classes != nullptr ? 1.0f / static_cast<float>(dev::load(problem.positive_counts + at)) : 1.0f;
      }
      slope *= static_cast<float>(scale);
    }
    dev::store(scores + i, slope);
  }
};

}  // namespace

void info_nce_rows(Stream& stream, const DeviceInfoNce& problem, int64_t first, int64_t rows, bool gradient,
                   float* scores, double* losses, int32_t* nearest, double* log_sums) {
  if (rows == 0) return;
  launch(stream, query_rows, {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, problem, first,
         gradient, scores, losses, nearest, log_sums);
}

void info_nce_columns(Stream& stream, const DeviceInfoNce& problem, int64_t first, int64_t rows, const double* log_sums,
                      float* scores) {
  launch_elementwise<1>(stream, KeyRows{problem, first, log_sums, scores}, rows * problem.queries);
}

}  // namespace tsugi::cuda
