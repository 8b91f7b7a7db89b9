// Low-rank updates of linear layers: Hu et al., "LoRA: Low-rank adaptation of large language models" (2021),
// equation 3.
#pragma once

#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"

namespace tsugi {

/// y with scale · (x·Aᵀ)·Bᵀ added to its columns [first, first + N): x [B, T, in], y [B, T, out], down (A) [rank, in],
/// up (B) [N, rank]. Changes y's value in place: y must come fresh from its product, which does not need it again.
Variable low_rank_update(Tape& tape, const Variable& x, const Variable& y, const Parameter& down, const Parameter& up,
                         int64_t first, float scale);

}  // namespace tsugi
