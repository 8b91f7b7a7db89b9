// Entry points of the backends of this room.
#pragma once

#include "ops/optimizer_step/optimizer_step.h"

namespace tsugi::cpu {

void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working);

void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       std::span<double> sums);

}  // namespace tsugi::cpu
