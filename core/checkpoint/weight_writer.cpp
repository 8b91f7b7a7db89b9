#include "core/checkpoint/weight_writer.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/checkpoint/manifest.h"
#include "core/checkpoint/weight_folder.h"
#include "core/data/file.h"
#include "ops/base/checked.h"
#include "ops/base/error.h"
#include "ops/tensor/dtype.h"

namespace tsugi {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 20;

int64_t element_count(const SafetensorsSpec& tensor) {
  int64_t count = 1;
  for (const int64_t dimension : tensor.shape) {
    count = checked_multiply(count, dimension, "size of tensor " + tensor.name);
  }
  return count;
}

int64_t byte_count(const SafetensorsSpec& tensor) {
  return checked_multiply(element_count(tensor), safetensors_bits(tensor.dtype) / 8, "size of tensor " + tensor.name);
}

/// Values as the bytes of a type.
class Encoder {
 public:
  Encoder(const SafetensorsSpec& tensor) : tensor_(tensor) {}

  std::span<const std::byte> encode(std::span<const float> values) {
    if (tensor_.dtype == "F32") return std::as_bytes(values);
    narrow_.resize(values.size());
    const bool half = tensor_.dtype == "F16";
    CHECK(half || tensor_.dtype == "BF16") << tensor_.dtype;
    for (size_t i = 0; i < values.size(); ++i) {
      narrow_[i] = half ? half_of_float(values[i]) : std::bit_cast<uint16_t>(bf16(values[i]));
      if (half && (narrow_[i] & 0x7C00u) == 0x7C00u) {
        throw Error(
            ExitCode::kData,
            "tensor \"" + tensor_.name + "\" has the value " + std::to_string(values[i]) + ", which F16 cannot hold",
            "choose bf16, which has the range of f32");
      }
    }
    return std::as_bytes(std::span(narrow_));
  }

 private:
  const SafetensorsSpec& tensor_;
  std::vector<uint16_t> narrow_;
};

/// Tensors [begin, end) as one file.
void write_file(const Folder& folder, const std::string& name, const std::vector<SafetensorsSpec>& tensors,
                size_t begin, size_t end, const WeightSource& source) {
  const std::vector<SafetensorsSpec> here(tensors.begin() + static_cast<int64_t>(begin),
                                          tensors.begin() + static_cast<int64_t>(end));
  const SafetensorsLayout layout = lay_out_safetensors(here);
  File file = folder.create(name);
  file.reserve(layout.file_bytes);
  file.write(0, std::as_bytes(std::span(layout.header)));
  std::vector<float> piece;
  for (size_t i = 0; i < here.size(); ++i) {
    Encoder encoder(here[i]);
    const int64_t elements = element_count(here[i]);
    const int64_t bytes = safetensors_bits(here[i].dtype) / 8;
    for (int64_t offset = 0; offset < elements; offset += kPieceElements) {
      piece.resize(static_cast<size_t>(std::min(kPieceElements, elements - offset)));
      source(begin + i, offset, piece);
      file.write(layout.offsets[i] + offset * bytes, encoder.encode(piece));
    }
  }
  file.finish();
}

}  // namespace

uint16_t half_of_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7E00u : 0x7C00u));
  // In the subnormal range adding 0.5 leaves the bits of a half in the low end of the sum, rounded as the addition
  // does.
  if (magnitude < 0x1p-14f) {
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(magnitude + 0.5f) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t rounded = (bits & 0x7FFFFFFFu) + 0xFFFu + (bits >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - (112u << 23)) >> 13);
}

void write_weights(const std::string& folder, const std::vector<SafetensorsSpec>& tensors, const WeightSource& source,
                   int64_t max_file_bytes) {
  std::vector<size_t> ends;  // of the files, in tensors
  int64_t total = 0;
  int64_t in_file = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t bytes = byte_count(tensors[i]);
    total = checked_add(total, bytes, "size of the weights");
    if (in_file > 0 && in_file + bytes > max_file_bytes) {
      ends.push_back(i);
      in_file = 0;
    }
    in_file += bytes;
  }
  ends.push_back(tensors.size());

  const Folder out(folder);
  if (ends.size() == 1) {
    write_file(out, kModelFile, tensors, 0, tensors.size(), source);
    return;
  }
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total;
  std::map<std::string, std::string> map;
  size_t begin = 0;
  for (size_t f = 0; f < ends.size(); ++f) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", f + 1, ends.size());
    write_file(out, name, tensors, begin, ends[f], source);
    for (; begin < ends[f]; ++begin) map[tensors[begin].name] = name;
  }
  index["weight_map"] = map;
  out.write_text(kIndexFile, index.dump(2) + "\n");
}

}  // namespace tsugi
