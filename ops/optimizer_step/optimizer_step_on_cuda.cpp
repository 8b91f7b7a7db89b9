#include <cmath>
#include <string_view>
#include <vector>

#include "ops/cuda/operators.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"

namespace tsugi::cuda {

static_assert(kAdamWChunk == kChunkElements);

/// 16 bytes for each 4096 elements, which the device keeps as long as they stay what they are.
const DeviceChunkRule* Operators::rules_of(std::span<const ChunkRule> chunks) {
  std::vector<DeviceChunkRule> rules;
  rules.reserve(chunks.size());
  for (const ChunkRule& rule : chunks) {
    rules.push_back({rule.valid, rule.frozen ? 1 : 0, rule.learning_rate_scale, rule.weight_decay});
  }
  const std::string_view bytes(reinterpret_cast<const char*>(rules.data()), rules.size() * sizeof(DeviceChunkRule));
  const auto [kept, is_new] = rules_.try_emplace({chunks.data(), chunks.size()});
  if (is_new || kept->second.host != bytes) {
    kept->second.host = bytes;
    copy_to_device(keep(kept->second.device, bytes.size()), bytes.data(), bytes.size());
  }
  return static_cast<const DeviceChunkRule*>(kept->second.device.data());
}

void Operators::adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks,
                           const Tensor& master, const Tensor& exp_avg, const Tensor& exp_avg_sq,
                           const Tensor& gradient, const Tensor& working, const Tensor& decision) {
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
  const DeviceChunkRule* const rules = rules_of(chunks);
  auto* const device = static_cast<DeviceAdamWStep*>(keep(adamw_, sizeof(scalars)));
  if (adamw_step_ != scalars) {  // every bucket of a step comes with the same
    copy_to_device(device, &scalars, sizeof(scalars));
    adamw_step_ = scalars;
  }
  const bool apart = working.raw() != master.raw();
  cuda::adamw_step(stream(), device, pointer<StepDecision>(decision), rules, std::ssize(chunks), pointer<float>(master),
                   pointer<float>(exp_avg), pointer<float>(exp_avg_sq), pointer<float>(gradient), working.dtype(),
                   apart ? pointer<void>(working) : nullptr);
}

void Operators::chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                                  const Tensor& sums) {
  if (context.meta() || chunks.empty()) return;
  cuda::chunk_square_sums(stream(), rules_of(chunks), std::ssize(chunks), pointer<float>(buffer),
                          pointer<double>(sums));
}

void Operators::decide_step(const Context& context, const Tensor& numbers, const StepNumberPlaces& places,
                            float clip_norm, const Tensor& decision) {
  if (context.meta()) return;
  cuda::decide_step(stream(), pointer<double>(numbers), pointer<int32_t>(places.places), places.ranks, places.leaves,
                    places.chunks, static_cast<double>(clip_norm), pointer<StepDecision>(decision));
}

}  // namespace tsugi::cuda
