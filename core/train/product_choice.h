// By which algorithms a device forms matrix products: chosen once, on one rank for all that have the same device, and
// kept with the run.
#pragma once

#include <string>

#include "core/config/run.pb.h"
#include "dist/communicator.h"
#include "ops/tensor/device_operators.h"

namespace tsugi {

inline constexpr const char* kProductsFile = "products.txt";  ///< in a run's folder
inline constexpr const char* kProductsFact = "products";      ///< of a checkpoint

/// A table of DeviceOperators::choose_algorithms() and where it is from.
struct KeptProducts {
  std::string table;  ///< empty: none
  std::string origin;
};

/// Brings every rank's device to the algorithms that compute.products asks for; the products must have been met (the
/// engine was built). TIMED: as `kept` says (the checkpoint's, equal on all ranks), or else
/// `run_directory`/products.txt (may be empty: nothing is kept); what they do not say is timed by the lowest rank that
/// has such a device. Returns the table that then says all, equal on all ranks, and writes it to that file; empty if
/// FIRST. Collective; an error of one rank is thrown by all.
std::string choose_products(Communicator& communicator, DeviceOperators& device, const ComputeConfig& config,
                            KeptProducts kept, const std::string& run_directory);

}  // namespace tsugi
