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
update(const DeviceAdamWStep* steps, const DeviceChunkRule* chunks, float* master, float* exp_avg, float* exp_avg_sq,
       const float* gradient, W* working) {
  const int64_t chunk = dev::block_index().x;
  const DeviceChunkRule rule = dev::load(chunks + chunk);
  if (rule.frozen != 0) return;
  const DeviceAdamWStep step = dev::load(steps);
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

TSUGI_KERNEL(kThreads, 1)
clip(const double* sums, int64_t count, double multiplier, double limit, DeviceAdamWStep* step, double* norm) {
  double sum = 0.0;
  for (int64_t i = dev::thread_index(); i < count; i += kThreads) sum += dev::load(sums + i);
  sum = dev::block_sum(sum, dev::shared<SumShared>().scratch);
  if (dev::thread_index() != 0) return;
  const double length = multiplier * dev::sqrt(sum);
  double scale = multiplier;
  // Not `length > limit`: a norm that is not a number must reach the parameters, where it is noticed.
  if (limit > 0.0 && !(length <= limit)) scale = multiplier * (limit / length);
  dev::store(&step->gradient_scale, static_cast<float>(scale));
  dev::store(norm, length);
}

}  // namespace

void adamw_step(Stream& stream, const DeviceAdamWStep* step, const DeviceChunkRule* chunks, int64_t count,
                float* master, float* exp_avg, float* exp_avg_sq, const float* gradient, DType working_type,
                void* working) {
  if (count == 0) return;
  const LaunchSize size{{static_cast<unsigned>(count), 1, 1}, kThreads, 0};
  if (working == nullptr) {
    launch(stream, update<Nothing>, size, step, chunks, master, exp_avg, exp_avg_sq, gradient, nullptr);
    return;
  }
  dispatch_compute_type(working_type, [&]<class W>(W) {
    launch(stream, update<W>, size, step, chunks, master, exp_avg, exp_avg_sq, gradient, static_cast<W*>(working));
  });
}

void chunk_square_sums(Stream& stream, const DeviceChunkRule* chunks, int64_t count, const float* buffer,
                       double* sums) {
  if (count == 0) return;
  launch(stream, square_sums, {{static_cast<unsigned>(count), 1, 1}, kThreads, sizeof(SumShared)}, chunks, buffer,
         sums);
}

void scale_gradients(Stream& stream, const double* sums, int64_t count, double multiplier, double limit,
                     DeviceAdamWStep* step, double* norm) {
  launch(stream, clip, {{1, 1, 1}, kThreads, sizeof(SumShared)}, sums, count, multiplier, limit, step, norm);
}

}  // namespace tsugi::cuda
