#include <cmath>
#include <vector>

#include "ops/cuda/operators.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"

namespace tsugi::cuda {

static_assert(kAdamWChunk == kChunkElements);

/// 16 bytes for each 4096 elements: sent anew with every call, which costs less than keeping track of them.
void* Operators::upload_rules(std::span<const ChunkRule> chunks) {
  std::vector<DeviceChunkRule> rules;
  rules.reserve(chunks.size());
  for (const ChunkRule& rule : chunks) {
    rules.push_back({rule.valid, rule.frozen ? 1 : 0, rule.learning_rate_scale, rule.weight_decay});
  }
  const size_t bytes = rules.size() * sizeof(DeviceChunkRule);
  void* const device = keep(rules_, bytes);
  copy_to_device(device, rules.data(), bytes);
  return device;
}

void Operators::adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks,
                           const Tensor& master, const Tensor& exp_avg, const Tensor& exp_avg_sq,
                           const Tensor& gradient, const Tensor& working) {
  if (context.meta() || chunks.empty()) return;
  const auto beta1 = static_cast<double>(step.beta1);
  const auto beta2 = static_cast<double>(step.beta2);
  const auto number = static_cast<double>(step.step);
  const DeviceAdamWStep scalars{.learning_rate = static_cast<double>(step.learning_rate),
                                .correction1 = 1.0 - std::pow(beta1, number),
                                .beta1 = step.beta1,
                                .beta2 = step.beta2,
                                .epsilon = step.epsilon,
                                .correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(beta2, number))),
                                .gradient_scale = step.gradient_scale};
  auto* const rules = static_cast<const DeviceChunkRule*>(upload_rules(chunks));
  auto* const device = static_cast<DeviceAdamWStep*>(keep(adamw_, sizeof(scalars)));
  copy_to_device(device, &scalars, sizeof(scalars));
  const bool apart = working.raw() != master.raw();
  cuda::adamw_step(stream(), device, rules, std::ssize(chunks), pointer<float>(master), pointer<float>(exp_avg),
                   pointer<float>(exp_avg_sq), pointer<float>(gradient), working.dtype(),
                   apart ? pointer<void>(working) : nullptr);
}

void Operators::chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                                  std::span<double> sums) {
  if (context.meta() || chunks.empty()) return;
  auto* const rules = static_cast<const DeviceChunkRule*>(upload_rules(chunks));
  auto* const device = static_cast<double*>(keep(sums_, sums.size_bytes()));
  cuda::chunk_square_sums(stream(), rules, std::ssize(chunks), pointer<float>(buffer), device);
  copy_to_host(sums.data(), device, sums.size_bytes());
}

}  // namespace tsugi::cuda
