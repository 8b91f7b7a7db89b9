// The IDX format of MNIST (LeCun, Cortes, Burges): two zero bytes, the type, the number of extents, the extents as
// big-endian u32, and the elements. Type 8, unsigned bytes, is the only one in use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tsugi {

struct IdxArray {
  std::vector<int64_t> extents;  ///< one to four
  std::vector<uint8_t> bytes;    ///< as many as the extents say
};

/// Reads PATH or PATH.gz … as its name says (core/data/input_stream.h). Throws Error(kData) naming the file when it is
/// no such array, or has more than `max_bytes` elements, or more or fewer bytes than it says.
IdxArray read_idx_array(const std::string& path, int64_t max_bytes);
void write_idx_array(const IdxArray& array, const std::string& path);

}  // namespace tsugi
