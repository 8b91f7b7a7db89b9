// Collectives on a device's memory by way of the host: what MPI, which knows host memory alone, can do for ranks that
// compute elsewhere.
#pragma once

#include <memory>

#include "dist/communicator.h"
#include "ops/tensor/device_operators.h"

namespace tsugi {

/// exchange() and all_gather() take addresses of `device`; strings stay with the host. A call waits for the work queued
/// so far, copies what is sent to pinned memory and goes on to `below`; wait() copies what came. Pinned memory is kept
/// for the next call of the same size. Both must outlive the result.
std::unique_ptr<Communicator> make_staged_communicator(Communicator& below, DeviceOperators& device);

}  // namespace tsugi
