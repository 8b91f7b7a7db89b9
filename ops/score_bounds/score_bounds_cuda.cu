#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/logistic.cuh"
#include "ops/score_bounds/score_bounds_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr double kLn2 = 0.693147180559945309417;

struct RowShared {
  dev::BlockScratch<float> floats;
  dev::BlockScratch<double> doubles;
};

/// A block per row.
TSUGI_KERNEL(kThreads, 4)
row_facts(DeviceScoreBound kind, const float* scores, int64_t n, double* facts) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const float* const x = scores + row * n;
  const bool logarithm = kind == DeviceScoreBound::kDonskerVaradhan || kind == DeviceScoreBound::kInfoNce;
  const auto counts = [&](int64_t j) { return kind == DeviceScoreBound::kInfoNce || j != row; };
  float top = -__builtin_huge_valf();
  if (logarithm) {
    for (int64_t j = dev::thread_index(); j < n; j += kThreads) {
      if (counts(j)) top = dev::maximum(top, dev::load(x + j));
    }
    top = dev::block_max(top, s.floats);
  }
  double sum = 0.0;
  for (int64_t j = dev::thread_index(); j < n; j += kThreads) {
    if (!counts(j)) continue;
    const auto score = static_cast<double>(dev::load(x + j));
    if (kind == DeviceScoreBound::kJsd) {
      sum += softplus(score) - kLn2;
    } else {
      sum += dev::exp(score - (logarithm ? static_cast<double>(top) : 1.0));
    }
  }
  sum = dev::block_sum(sum, s.doubles);
  if (dev::thread_index() != 0) return;
  const auto own = static_cast<double>(dev::load(x + row));
  dev::store(facts + 2 * row, logarithm ? dev::log(sum) + static_cast<double>(top) : sum);
  dev::store(facts + 2 * row + 1, kind == DeviceScoreBound::kJsd ? kLn2 - softplus(-own) : own);
}

struct ScoreSlope {
  DeviceScoreBound kind;
  const float* scores;
  const double* levels;
  int64_t n;
  float* d_scores;

  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const int64_t row = i / n;
    const bool own = row == i % n;
    const auto rows = static_cast<double>(n);
    const double pairs = rows * (rows - 1.0);
    const auto score = static_cast<double>(dev::load(scores + i));
    double slope = 0.0;
    if (kind == DeviceScoreBound::kJsd) {
      slope = own ? logistic(-score) / rows : -logistic(score) / pairs;
    } else {
      const double likelihood = dev::exp(score - dev::load(levels + row));
      if (kind == DeviceScoreBound::kInfoNce) {
        slope = ((own ? 1.0 : 0.0) - likelihood) / rows;
      } else {
        slope = own ? 1.0 / rows : -likelihood / pairs;
      }
    }
    dev::store(d_scores + i, static_cast<float>(slope));
  }
};

}  // namespace

void score_rows(Stream& stream, DeviceScoreBound kind, const float* scores, int64_t n, double* facts) {
  launch(stream, row_facts, {{static_cast<unsigned>(n), 1, 1}, kThreads, sizeof(RowShared)}, kind, scores, n, facts);
}

void score_slopes(Stream& stream, DeviceScoreBound kind, const float* scores, const double* levels, int64_t n,
                  float* d_scores) {
  launch_elementwise<1>(stream, ScoreSlope{kind, scores, levels, n, d_scores}, n * n);
}

}  // namespace tsugi::cuda
