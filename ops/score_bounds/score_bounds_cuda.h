// What score_bounds_internal.h says, on CUDA. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// In the order of tsugi::ScoreBound.
enum class DeviceScoreBound : int32_t { kDonskerVaradhan, kNwj, kJsd, kInfoNce };

/// scores f32 [n, n]; facts [n, 2]. Sums and exponentials in double, in an order that n fixes.
void score_rows(Stream& stream, DeviceScoreBound kind, const float* scores, int64_t n, double* facts);
/// levels [n]; d_scores f32 [n, n].
void score_slopes(Stream& stream, DeviceScoreBound kind, const float* scores, const double* levels, int64_t n,
                  float* d_scores);

}  // namespace tsugi::cuda
