#include "ops/optimizer_step/optimizer_step.h"

#include "ops/optimizer_step/optimizer_step_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_buffer(const Tensor& buffer, std::span<const ChunkRule> chunks, const char* name) {
  CHECK(buffer.dtype() == DType::kF32) << name;
  CHECK_EQ(buffer.elements(), std::ssize(chunks) * kChunkElements) << name;
}

void check_rules(std::span<const ChunkRule> chunks) {
  for (const ChunkRule& rule : chunks) {
    CHECK_GE(rule.valid, 0);
    CHECK_LE(rule.valid, kChunkElements);
  }
}

}  // namespace

void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working) {
  check_buffer(master, chunks, "master");
  check_buffer(exp_avg, chunks, "exp_avg");
  check_buffer(exp_avg_sq, chunks, "exp_avg_sq");
  check_buffer(gradient, chunks, "gradient");
  CHECK(working.dtype() == DType::kF32 || working.dtype() == DType::kBF16);
  CHECK_EQ(working.elements(), master.elements());
  CHECK_GE(step.step, 1) << "the first update is step 1";
  check_rules(chunks);
  if (DeviceOperators* device = context.operators()) {
    return device->adamw_step(context, step, chunks, master, exp_avg, exp_avg_sq, gradient, working);
  }
  if (context.meta()) return;
  const ProfiledOperator work("AdamW", 0,
                              {&master, &master, &exp_avg, &exp_avg, &exp_avg_sq, &exp_avg_sq, &gradient, &working});
  cpu::adamw_step(context, step, chunks, master, exp_avg, exp_avg_sq, gradient, working);
}

void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       std::span<double> sums) {
  check_buffer(buffer, chunks, "buffer");
  CHECK_EQ(sums.size(), chunks.size());
  check_rules(chunks);
  if (DeviceOperators* device = context.operators()) {
    return device->chunk_square_sums(context, chunks, buffer, sums);
  }
  if (context.meta()) return;
  const ProfiledOperator work("gradient norm", 0, {&buffer});
  cpu::chunk_square_sums(context, chunks, buffer, sums);
}

}  // namespace tsugi
