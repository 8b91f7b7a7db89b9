#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/checkpoint/safetensors.h"
#include "ops/base/checked.h"

namespace tsugi {

SafetensorsLayout lay_out_safetensors(const std::vector<SafetensorsSpec>& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int bits_a = safetensors_bits(tensors[a].dtype);
    const int bits_b = safetensors_bits(tensors[b].dtype);
    return bits_a != bits_b ? bits_a > bits_b : tensors[a].name < tensors[b].name;
  });

  SafetensorsLayout layout;
  layout.offsets.resize(tensors.size());
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t position = 0;
  for (const size_t i : order) {
    const SafetensorsSpec& tensor = tensors[i];
    int64_t bits = safetensors_bits(tensor.dtype);
    CHECK_GT(bits, 0) << tensor.name << ": " << tensor.dtype;
    for (const int64_t dimension : tensor.shape) {
      CHECK_GE(dimension, 0) << tensor.name;
      bits = checked_multiply(bits, dimension, "size of tensor " + tensor.name);
    }
    CHECK_EQ(bits % 8, 0) << tensor.name;
    const int64_t end = checked_add(position, bits / 8, "size of the file");
    CHECK(!header.contains(tensor.name)) << "two tensors named " << tensor.name;
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {position, end}}};
    layout.offsets[i] = position;
    position = end;
  }

  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  layout.header.resize(sizeof(length));
  std::memcpy(layout.header.data(), &length, sizeof(length));
  layout.header += text;
  const auto data_start = static_cast<int64_t>(layout.header.size());
  for (int64_t& offset : layout.offsets) offset += data_start;
  layout.file_bytes = checked_add(data_start, position, "size of the file");
  return layout;
}

}  // namespace tsugi
