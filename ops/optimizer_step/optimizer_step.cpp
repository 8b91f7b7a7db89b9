#include "ops/optimizer_step/optimizer_step.h"

#include <cstring>

#include "ops/optimizer_step/optimizer_step_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_buffer(const Tensor& buffer, std::span<const ChunkRule> chunks, const char* name) {
  CHECK(buffer.dtype() == DType::kF32) << name;
  CHECK_EQ(buffer.elements(), std::ssize(chunks) * kChunkElements) << name;
}

void check_decision(const Tensor& decision) {
  CHECK(decision.dtype() == DType::kF64);
  CHECK_EQ(decision.elements(), kStepDecisionNumbers);
}

void check_rules(std::span<const ChunkRule> chunks) {
  for (const ChunkRule& rule : chunks) {
    CHECK_GE(rule.valid, 0);
    CHECK_LE(rule.valid, kChunkElements);
  }
}

}  // namespace

void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working,
                const Tensor& decision) {
  check_buffer(master, chunks, "master");
  check_buffer(exp_avg, chunks, "exp_avg");
  check_buffer(exp_avg_sq, chunks, "exp_avg_sq");
  check_buffer(gradient, chunks, "gradient");
  CHECK(working.dtype() == DType::kF32 || working.dtype() == DType::kBF16);
  CHECK_EQ(working.elements(), master.elements());
  CHECK_GE(step.step, 1) << "the first update is step 1";
  if (decision.defined()) check_decision(decision);
  check_rules(chunks);
  const ProfiledOperator work(context, "AdamW", 0,
                              {&master, &master, &exp_avg, &exp_avg, &exp_avg_sq, &exp_avg_sq, &gradient, &working});
  if (DeviceOperators* device = context.operators()) {
    return device->adamw_step(context, step, chunks, master, exp_avg, exp_avg_sq, gradient, working, decision);
  }
  if (context.meta()) return;
  AdamWStep decided = step;
  if (decision.defined()) {
    StepDecision read;
    std::memcpy(&read, decision.raw(), sizeof(read));
    if (read.finite == 0.0) return;
    decided.gradient_scale = static_cast<float>(read.gradient_scale);
  }
  cpu::adamw_step(context, decided, chunks, master, exp_avg, exp_avg_sq, gradient, working);
}

void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       const Tensor& sums) {
  check_buffer(buffer, chunks, "buffer");
  CHECK(sums.dtype() == DType::kF64);
  CHECK_EQ(sums.elements(), std::ssize(chunks));
  check_rules(chunks);
  const ProfiledOperator work(context, "gradient norm", 0, {&buffer});
  if (DeviceOperators* device = context.operators()) {
    return device->chunk_square_sums(context, chunks, buffer, sums);
  }
  if (context.meta()) return;
  cpu::chunk_square_sums(context, chunks, buffer, {sums.data<double>(), chunks.size()});
}

void decide_step(const Context& context, const Tensor& numbers, const StepNumberPlaces& places, float clip_norm,
                 const Tensor& decision) {
  CHECK(numbers.dtype() == DType::kF64);
  CHECK(places.places.dtype() == DType::kI32);
  CHECK_EQ(places.places.elements(), places.ranks + places.leaves + places.chunks);
  check_decision(decision);
  const ProfiledOperator work(context, "decision", 0, {&numbers});
  if (DeviceOperators* device = context.operators()) {
    return device->decide_step(context, numbers, places, clip_norm, decision);
  }
  if (context.meta()) return;
  const std::span<const int32_t> all(places.places.data<int32_t>(), static_cast<size_t>(places.places.elements()));
  const auto ranks = static_cast<size_t>(places.ranks);
  const auto leaves = static_cast<size_t>(places.leaves);
  const StepDecision decided =
      reference::decide_step({numbers.data<double>(), static_cast<size_t>(numbers.elements())}, all.subspan(0, ranks),
                             all.subspan(ranks, leaves), all.subspan(ranks + leaves), clip_norm);
  std::memcpy(decision.raw(), &decided, sizeof(decided));
}

}  // namespace tsugi
