#include "ops/cuda/device.cuh"
#include "ops/optimizer_step/optimizer_step_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kV = 4;

struct SumShared {
  dev::BlockScratch<double> scratch;
};

struct Nothing {};

/// A block per chunk. W is the type of the working copy, or Nothing.
template <class W>
TSUGI_KERNEL(kThreads, 4)
update(const DeviceAdamWStep* steps, const StepDecision* decision, const DeviceChunkRule* chunks, float* master,
       float* exp_avg, float* exp_avg_sq, const float* gradient, W* working) {
  const int64_t chunk = dev::block_index().x;
  const DeviceChunkRule rule = dev::load(chunks + chunk);
  if (rule.frozen != 0) return;
  DeviceAdamWStep step = dev::load(steps);
  if (decision != nullptr) {
    if (dev::load(&decision->finite) == 0.0) return;
    step.gradient_scale = static_cast<float>(dev::load(&decision->gradient_scale));
  }
  // Formed in double and rounded once, as torch.optim.AdamW does.
  const double learning_rate = step.learning_rate * static_cast<double>(rule.learning_rate_scale);
  const float decay = static_cast<float>(1.0 - learning_rate * static_cast<double>(rule.weight_decay));
  const float step_size = static_cast<float>(learning_rate / step.correction1);
  const float beta1_complement = static_cast<float>(1.0 - static_cast<double>(step.beta1));
  const float beta2_complement = static_cast<float>(1.0 - static_cast<double>(step.beta2));
  const auto one = [&](float g, float& m, float& v, float& w) {
    g *= step.gradient_scale;
    m += beta1_complement * (g - m);
    v = v * step.beta2 + beta2_complement * g * g;
    w = w * decay - step_size * (m / (dev::sqrt(v) / step.correction2_sqrt + step.epsilon));
  };
  for (int i = dev::thread_index() * kV; i < rule.valid; i += kThreads * kV) {
    const int64_t at = chunk * kAdamWChunk + i;
    if (i + kV <= rule.valid) {
      const dev::Vector<float, kV> g = dev::load_vector<kV>(gradient + at);
      dev::Vector<float, kV> m = dev::load_vector<kV>(exp_avg + at);
      dev::Vector<float, kV> v = dev::load_vector<kV>(exp_avg_sq + at);
      dev::Vector<float, kV> w = dev::load_vector<kV>(master + at);
      TSUGI_UNROLL
      for (int j = 0; j < kV; ++j) one(g[j], m[j], v[j], w[j]);
      dev::store_vector(exp_avg + at, m);
      dev::store_vector(exp_avg_sq + at, v);
      dev::store_vector(master + at, w);
      if constexpr (sizeof(W) > sizeof(Nothing)) {
        dev::Vector<W, kV> copy;
        TSUGI_UNROLL
        for (int j = 0; j < kV; ++j) copy[j] = dev::round_to<W>(w[j]);
        dev::store_vector(working + at, copy);
      }
    } else {
      for (int64_t j = at; j < chunk * kAdamWChunk + rule.valid; ++j) {
        float m = dev::load(exp_avg + j), v = dev::load(exp_avg_sq + j), w = dev::load(master + j);
        one(dev::load(gradient + j), m, v, w);
        dev::store(exp_avg + j, m);
        dev::store(exp_avg_sq + j, v);
        dev::store(master + j, w);
        if constexpr (sizeof(W) > sizeof(Nothing)) dev::store(working + j, dev::round_to<W>(w));
      }
    }
  }
}

TSUGI_KERNEL(kThreads, 4)
square_sums(const DeviceChunkRule* chunks, const float* buffer, double* sums) {
  const int64_t chunk = dev::block_index().x;
  const DeviceChunkRule rule = dev::load(chunks + chunk);
  const int valid = rule.frozen != 0 ? 0 : rule.valid;
  double sum = 0.0;
  for (int i = dev::thread_index(); i < valid; i += kThreads) {
    const double x = static_cast<double>(dev::load(buffer + chunk * kAdamWChunk + i));
    sum += x * x;
  }
  sum = dev::block_sum(sum, dev::shared<SumShared>().scratch);
  if (dev::thread_index() == 0) dev::store(sums + chunk, sum);
}

constexpr int kDecisionThreads = 1024;

TSUGI_KERNEL(kDecisionThreads, 1)
decide(const double* numbers, const int32_t* places, int64_t ranks, int64_t leaves, int64_t chunks, double clip_norm,
       StepDecision* decision) {
  dev::BlockScratch<double>& scratch = dev::shared<SumShared>().scratch;
  const auto add_up = [&](const int32_t* first, int64_t count, int64_t which) {
    double sum = 0.0;
    for (int64_t i = dev::thread_index(); i < count; i += kDecisionThreads) {
      const int64_t place = dev::load(first + i);
      sum += dev::load(numbers + place + which);
    }
    return dev::block_sum(sum, scratch);
  };
  const double stopping = add_up(places, ranks, 0);
  const double ready = add_up(places, ranks, 1);
  const double loss_sum = add_up(places + ranks, leaves, 0);
  const double all_targets = add_up(places + ranks, leaves, 1);
  const double squares = add_up(places + ranks + leaves, chunks, 0);
  if (dev::thread_index() != 0) return;
  const double targets = all_targets > 1.0 ? all_targets : 1.0;
  StepDecision decided;
  decided.loss = loss_sum / targets;
  decided.targets = all_targets;
  decided.gradient_norm = dev::sqrt(squares) / targets;
  // Infinities and what is not a number differ from themselves when 0 times them is added.
  const double both = decided.loss + decided.gradient_norm;
  decided.finite = both - both == 0.0 ? 1.0 : 0.0;
  decided.gradient_scale = 1.0 / targets;
  if (clip_norm > 0.0 && decided.gradient_norm > clip_norm) {
    decided.gradient_scale *= clip_norm / decided.gradient_norm;
  }
  decided.stop = stopping > 0.0 ? 1.0 : 0.0;
  decided.ready = ready == static_cast<double>(ranks) ? 1.0 : 0.0;
  dev::store(decision, decided);
}

}  // namespace

void adamw_step(Stream& stream, const DeviceAdamWStep* step, const StepDecision* decision,
                const DeviceChunkRule* chunks, int64_t count, float* master, float* exp_avg, float* exp_avg_sq,
                const float* gradient, DType working_type, void* working) {
  if (count == 0) return;
  const LaunchSize size{{static_cast<unsigned>(count), 1, 1}, kThreads, 0};
  if (working == nullptr) {
    launch(stream, update<Nothing>, size, step, decision, chunks, master, exp_avg, exp_avg_sq, gradient, nullptr);
    return;
  }
  dispatch_compute_type(working_type, [&]<class W>(W) {
    launch(stream, update<W>, size, step, decision, chunks, master, exp_avg, exp_avg_sq, gradient,
           static_cast<W*>(working));
  });
}

void chunk_square_sums(Stream& stream, const DeviceChunkRule* chunks, int64_t count, const float* buffer,
                       double* sums) {
  if (count == 0) return;
  launch(stream, square_sums, {{static_cast<unsigned>(count), 1, 1}, kThreads, sizeof(SumShared)}, chunks, buffer,
         sums);
}

void decide_step(Stream& stream, const double* numbers, const int32_t* places, int64_t ranks, int64_t leaves,
                 int64_t chunks, double clip_norm, StepDecision* decision) {
  launch(stream, decide, {{1, 1, 1}, kDecisionThreads, sizeof(SumShared)}, numbers, places, ranks, leaves, chunks,
         clip_norm, decision);
}

}  // namespace tsugi::cuda
