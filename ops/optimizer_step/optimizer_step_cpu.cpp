#include <algorithm>
#include <cmath>

#include "ops/optimizer_step/optimizer_step_internal.h"

namespace tsugi::cpu {
namespace {

/// The scalars of one chunk, formed in double and rounded once, as torch.optim.AdamW does.
struct Coefficients {
  float gradient_scale;
  float decay;             // 1 - lr·decay
  float beta1_complement;  // 1 - β₁
  float beta2;
  float beta2_complement;  // 1 - β₂
  float correction2_sqrt;  // √(1-β₂ᵗ)
  float epsilon;
  float step_size;  // lr/(1-β₁ᵗ)
};

Coefficients coefficients(const AdamWStep& step, const ChunkRule& rule) {
  const double beta1 = step.beta1;
  const double beta2 = step.beta2;
  const double learning_rate = static_cast<double>(step.learning_rate) * rule.learning_rate_scale;
  const double correction1 = 1.0 - std::pow(beta1, static_cast<double>(step.step));
  const double correction2 = 1.0 - std::pow(beta2, static_cast<double>(step.step));
  return {.gradient_scale = step.gradient_scale,
          .decay = static_cast<float>(1.0 - learning_rate * rule.weight_decay),
          .beta1_complement = static_cast<float>(1.0 - beta1),
          .beta2 = step.beta2,
          .beta2_complement = static_cast<float>(1.0 - beta2),
          .correction2_sqrt = static_cast<float>(std::sqrt(correction2)),
          .epsilon = step.epsilon,
          .step_size = static_cast<float>(learning_rate / correction1)};
}

/// Updates `count` elements. W is the type of the working copy; void: master is the working copy.
template <class W>
void update(const Coefficients& k, int64_t count, const float* gradient, float* master, float* exp_avg,
            float* exp_avg_sq, W* working) {
  // lerp as PyTorch forms it: from the nearer end.
  const bool near = k.beta1_complement < 0.5f;
  const float from_old = near ? k.beta1_complement : 1.0f - k.beta1_complement;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * k.gradient_scale;
    const float change = g - exp_avg[i];
    const float m = near ? exp_avg[i] + from_old * change : g - from_old * change;
    const float v = exp_avg_sq[i] * k.beta2 + k.beta2_complement * g * g;
    const float denominator = __builtin_sqrtf(v) / k.correction2_sqrt + k.epsilon;
    const float w = master[i] * k.decay - k.step_size * (m / denominator);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    master[i] = w;
    if constexpr (!std::is_void_v<W>) store(working[i], w);
  }
}

}  // namespace

void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working) {
  const auto run = [&]<class W>(W* copy) {
    context.pool().for_each(std::ssize(chunks), [&](int64_t chunk, int) {
      const ChunkRule& rule = chunks[static_cast<size_t>(chunk)];
      if (rule.frozen) return;
      const int64_t begin = chunk * kChunkElements;
      W* target = copy;
      if constexpr (!std::is_void_v<W>) target += begin;
      update(coefficients(step, rule), rule.valid, gradient.data<float>() + begin, master.data<float>() + begin,
             exp_avg.data<float>() + begin, exp_avg_sq.data<float>() + begin, target);
    });
  };
  if (working.dtype() == DType::kBF16) {
    run(working.data<bf16>());
  } else if (working.raw() != master.raw()) {
    run(working.data<float>());
  } else {
    run(static_cast<void*>(nullptr));
  }
}

void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       std::span<double> sums) {
  context.pool().for_each(std::ssize(chunks), [&](int64_t chunk, int) {
    const ChunkRule& rule = chunks[static_cast<size_t>(chunk)];
    double& sum = sums[static_cast<size_t>(chunk)];
    sum = 0.0;
    if (rule.frozen) return;
    constexpr int64_t kLanes = 16;
    double lanes[kLanes] = {};
    const float* x = buffer.data<float>() + chunk * kChunkElements;
    const int64_t whole = rule.valid / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
#pragma omp simd
      for (int64_t l = 0; l < kLanes; ++l) {
        const double value = x[i + l];
        lanes[l] += value * value;
      }
    }
    for (int64_t i = whole; i < rule.valid; ++i) lanes[i - whole] += static_cast<double>(x[i]) * x[i];
    for (const double lane : lanes) sum += lane;
  });
}

}  // namespace tsugi::cpu
