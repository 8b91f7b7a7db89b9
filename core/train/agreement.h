// Ranks that do not agree on what they run must not start.
#pragma once

#include <map>
#include <string>

#include "dist/communicator.h"

namespace tsugi {

/// Compares named facts (config, data, binary …) of all ranks with those of rank 0. On any difference every rank throws
/// the same Error(kUsage) that names the fact and the ranks that differ.
void require_agreement(Communicator& communicator, const std::map<std::string, std::string>& facts);

/// CRC32C of this program's file, as text: ranks on other hosts may have another build.
std::string binary_fingerprint();

}  // namespace tsugi
