// Critics that climb a bound of mutual information, and what they are asked about.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

#include "core/nn/layers.h"
#include "core/optim/sharded_adamw.h"
#include "core/train/memory_plan.h"
#include "ops/score_bounds/score_bounds.h"

namespace tsugi::testing {

/// Inverse of the normal distribution function by bisection.
inline double normal_quantile(double p) {
  double low = -9.0;
  double high = 9.0;
  while (high - low > 1e-9) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::numbers::sqrt2) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// Layers declared by layer(), then trained by steps up a gradient.
class Ascent {
 public:
  Ascent() : pool_(2), context_(Device{}, pool_, memory_) {}

  const Context& context() const { return context_; }
  Linear layer(const std::string& name, int64_t in, int64_t out) {
    return Linear::declare(store_, {.names = {name},
                                    .in = in,
                                    .rows = {out},
                                    .deviation = static_cast<float>(std::sqrt(2.0 / static_cast<double>(in))),
                                    .layout = WeightLayout::kOutIn});
  }
  void begin() {
    store_.end_unit();
    store_.allocate(context_, DType::kF32);
    DistConfig dist;
    dist.set_bucket_megabytes(1);
    optimizer_.emplace(context_, store_, make_layout(store_, dist, 1), 0, 0.0f);
    optimizer_->initialize(3);
    gradients_ = context_.empty({store_.trainable_chunks() * kChunkElements}, DType::kF32);
    store_.bind_gradients(gradients_);
  }
  /// One step of Adam along what `backward` leaves as the gradient. The rate is constant, then falls to nothing, which
  /// averages the noise of the last steps.
  template <class Backward>
  void step(int64_t step, int64_t steps, double rate, Backward backward) {
    std::fill_n(gradients_.data<float>(), gradients_.elements(), 0.0f);
    backward();
    AdamWStep adam;
    const double left = static_cast<double>(steps - step) / (0.5 * static_cast<double>(steps));
    adam.learning_rate = static_cast<float>(rate * std::min(1.0, left));
    adam.beta2 = 0.999f;
    adam.step = step;
    for (const auto& gather : optimizer_->step(adam, gradients_, {}, *alone_)) gather->wait();
  }

 private:
  ThreadPool pool_;
  HeapMemory memory_;
  Context context_;
  ParameterStore store_;
  std::optional<ShardedAdamW> optimizer_;
  Tensor gradients_;
  std::unique_ptr<Communicator> alone_ = make_local_communicator();
};

/// The bound of scores [N, N], and its gradient downwards, as optimizers want it.
inline double negated_slope(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& slope,
                            ScoreAverage* average) {
  const double bound = score_bound(context, kind, scores, slope, average);
  for (int64_t i = 0; i < slope.elements(); ++i) slope.data<float>()[i] = -slope.data<float>()[i];
  return bound;
}

}  // namespace tsugi::testing
