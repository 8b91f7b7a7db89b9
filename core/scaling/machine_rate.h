// What this machine can do: the denominator of MFU where there is no datasheet.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi {

/// FLOP/s of matmul() at 1024×1024×1024 in `type` with the context's threads: the best of a dozen runs, about 0.2 s on
/// two cores.
double measure_matmul_rate(const Context& context, DType type);

}  // namespace tsugi
