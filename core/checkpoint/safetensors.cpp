#include "core/checkpoint/safetensors.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/data/json.h"
#include "ops/base/checked.h"
#include "ops/base/error.h"
#include "ops/tensor/dtype.h"

namespace tsugi {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr int64_t kMaxHeader = 100'000'000;
constexpr int64_t kLengthBytes = 8;

struct TypeBits {
  std::string_view name;
  int bits;
};
constexpr std::array<TypeBits, 22> kTypes{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

Error bad(const std::string& origin, const std::string& reason) {
  return Error(ExitCode::kData, origin + ": " + reason);
}

/// N, checked against the limit and the length of the file.
int64_t header_bytes(std::string_view beginning, int64_t file_bytes, const std::string& origin) {
  if (file_bytes < kLengthBytes) {
    throw bad(origin, std::to_string(file_bytes) + " bytes are too short for a safetensors file");
  }
  CHECK_GE(beginning.size(), static_cast<size_t>(kLengthBytes));
  uint64_t length = 0;
  std::memcpy(&length, beginning.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kMaxHeader)) {
    throw bad(origin, "header of " + std::to_string(length) + " bytes is longer than the limit of " +
                          std::to_string(kMaxHeader) + " bytes");
  }
  if (static_cast<int64_t>(length) > file_bytes - kLengthBytes) {
    throw bad(origin, "header of " + std::to_string(length) + " bytes does not fit the file of " +
                          std::to_string(file_bytes) + " bytes");
  }
  return static_cast<int64_t>(length);
}

SafetensorsTensor parse_tensor(const JsonValue& entry, int64_t data_start, int64_t data_bytes) {
  entry.require_only({"dtype", "shape", "data_offsets"});
  SafetensorsTensor tensor;
  tensor.dtype = entry.require_string("dtype");
  const int bits = safetensors_bits(tensor.dtype);
  if (bits == 0) throw entry.error("unknown dtype \"" + tensor.dtype.substr(0, 80) + "\"");
  tensor.elements = 1;
  for (const JsonValue& dimension : entry.require_array("shape").elements()) {
    tensor.shape.push_back(dimension.as_int(0));
    tensor.elements = checked_multiply(tensor.elements, tensor.shape.back(), entry.origin() + ": size of a tensor");
  }
  const JsonValue offsets = entry.require_array("data_offsets");
  if (offsets.size() != 2) throw offsets.error("must be [begin, end]");
  const int64_t begin = offsets.at(0).as_int(0, data_bytes);
  const int64_t end = offsets.at(1).as_int(0, data_bytes);
  if (end < begin) throw offsets.error("ends before it begins");
  const int64_t total = checked_multiply(tensor.elements, bits, entry.origin() + ": size of a tensor");
  if (total % 8 != 0) throw entry.error("is not a whole number of bytes");
  if (end - begin != total / 8) {
    throw entry.error("shape " + shape_text(tensor.shape) + " of " + tensor.dtype + " needs " +
                      std::to_string(total / 8) + " bytes, data_offsets span " + std::to_string(end - begin));
  }
  tensor.begin = data_start + begin;
  tensor.end = data_start + end;
  return tensor;
}

/// Each tensor begins where the one before it ends, and the last one ends the file.
void check_no_holes(const SafetensorsHeader& header, int64_t data_start, int64_t file_bytes,
                    const std::string& origin) {
  std::vector<const std::pair<const std::string, SafetensorsTensor>*> order;
  for (const auto& item : header.tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  int64_t position = data_start;
  for (const auto* item : order) {
    if (item->second.begin != position) {
      throw bad(origin, "tensor \"" + item->first + "\" begins at byte " + std::to_string(item->second.begin) +
                            ", the one before it ends at " + std::to_string(position));
    }
    position = item->second.end;
  }
  if (position != file_bytes) {
    throw bad(origin, "the tensors end at byte " + std::to_string(position) + " of " + std::to_string(file_bytes));
  }
}

template <class Convert>
void read_narrow(const File& file, int64_t position, std::span<float> out, Convert convert) {
  constexpr size_t kPiece = size_t{1} << 16;
  std::vector<uint16_t> piece(std::min(kPiece, out.size()));
  while (!out.empty()) {
    const size_t count = std::min(piece.size(), out.size());
    file.read(position, std::as_writable_bytes(std::span(piece).first(count)));
    for (size_t i = 0; i < count; ++i) out[i] = convert(piece[i]);
    position += static_cast<int64_t>(count * sizeof(uint16_t));
    out = out.subspan(count);
  }
}

SafetensorsHeader read_header(const File& file) {
  const int64_t file_bytes = file.size();
  std::string beginning(static_cast<size_t>(std::min(file_bytes, kLengthBytes)), '\0');
  file.read(0, std::as_writable_bytes(std::span(beginning)));
  const int64_t length = header_bytes(beginning, file_bytes, file.path());
  beginning.resize(static_cast<size_t>(kLengthBytes + length));
  file.read(kLengthBytes, std::as_writable_bytes(std::span(beginning).subspan(kLengthBytes)));
  return parse_safetensors(beginning, file_bytes, file.path());
}

}  // namespace

int safetensors_bits(std::string_view dtype) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeBits& t) { return t.name == dtype; });
  return found == kTypes.end() ? 0 : found->bits;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

float float_of_half(uint16_t bits) {
  // Shifted into a float's place the exponent is 112 too small; multiplying by 2¹¹² mends it, subnormals included.
  const auto magnitude = static_cast<uint32_t>(bits & 0x7FFFu) << 13;
  const auto sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  if (magnitude >= 0x0F800000u) return std::bit_cast<float>(sign | 0x70000000u | magnitude);  // infinity, NaN
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f));
}

SafetensorsHeader parse_safetensors(std::string_view beginning, int64_t file_bytes, const std::string& origin) {
  const int64_t length = header_bytes(beginning, file_bytes, origin);
  const int64_t data_start = kLengthBytes + length;
  CHECK_GE(beginning.size(), static_cast<size_t>(data_start)) << origin;
  const std::string_view text = beginning.substr(kLengthBytes, static_cast<size_t>(length));
  if (!text.starts_with('{')) throw bad(origin, "the header does not begin with '{': not a safetensors file");
  const JsonValue root = parse_json(text, origin);

  SafetensorsHeader header;
  for (const auto& [name, entry] : root.members()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.members()) header.metadata.emplace(key, value.as_string());
    } else {
      header.tensors.emplace(name, parse_tensor(entry, data_start, file_bytes - data_start));
    }
  }
  check_no_holes(header, data_start, file_bytes, origin);
  return header;
}

SafetensorsFile::SafetensorsFile(File file) : file_(std::move(file)), header_(read_header(file_)) {}

const SafetensorsTensor* SafetensorsFile::find(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  return found == header_.tensors.end() ? nullptr : &found->second;
}

void SafetensorsFile::read_floats(const std::string& name, int64_t offset, std::span<float> out) const {
  const SafetensorsTensor* tensor = find(name);
  CHECK(tensor != nullptr) << path() << ": " << name;
  CHECK(offset >= 0 && offset <= tensor->elements && static_cast<int64_t>(out.size()) <= tensor->elements - offset)
      << path() << ": " << name;
  if (tensor->dtype == "F32") {
    file_.read(tensor->begin + offset * 4, std::as_writable_bytes(out));
  } else if (tensor->dtype == "BF16") {
    read_narrow(file_, tensor->begin + offset * 2, out,
                [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); });
  } else if (tensor->dtype == "F16") {
    read_narrow(file_, tensor->begin + offset * 2, out, float_of_half);
  } else {
    throw bad(path(), "tensor \"" + name + "\" is " + tensor->dtype + "; only F32, BF16 and F16 are read");
  }
}

}  // namespace tsugi
