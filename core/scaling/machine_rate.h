// What this machine can do: the denominator of MFU where there is no datasheet.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi {

/// FLOP/s of matmul() in `type` with the context's threads, of square matrices (512×512 on a CPU with up to four
/// threads, 1024×1024 with more, as large as the device asks elsewhere): the best of 16 runs, less than 0.1 s. On a
/// device a run is 8 products that are queued together, by its own clock.
double measure_matmul_rate(const Context& context, DType type);

}  // namespace tsugi
