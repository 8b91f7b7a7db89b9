#include "core/data/npy.h"

#include <glog/logging.h>

#include <bit>
#include <string_view>

namespace tsugi {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are written as they lie in memory");

constexpr size_t kNpyAlignment = 64;  // of the data, which begins behind the header

std::string npy_of(const std::string& type, const std::string& shape, std::span<const std::byte> data) {
  constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  const size_t before = kMagic.size() + 2;
  header.append(kNpyAlignment - 1 - (before + header.size()) % kNpyAlignment, ' ');
  header += '\n';
  std::string text(kMagic);
  text += static_cast<char>(header.size() & 0xFF);
  text += static_cast<char>(header.size() >> 8);
  text += header;
  text.append(reinterpret_cast<const char*>(data.data()), data.size());
  return text;
}

}  // namespace

std::string npy_text(std::span<const float> values, int64_t rows) {
  const auto count = static_cast<int64_t>(values.size());
  CHECK(rows > 0 && count % rows == 0) << count << " values in " << rows << " rows";
  return npy_of("<f4", std::to_string(rows) + ", " + std::to_string(count / rows), std::as_bytes(values));
}

std::string npy_text(std::span<const int32_t> values) {
  return npy_of("<i4", std::to_string(values.size()) + ",", std::as_bytes(values));
}

}  // namespace tsugi
