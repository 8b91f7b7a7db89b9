// Writing the weights of a Hugging Face folder: model.safetensors, or several files with an index.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint/safetensors.h"

namespace tsugi {

/// Fills `out` with elements [offset, offset + out.size()) of tensor `index`.
using WeightSource = std::function<void(size_t index, int64_t offset, std::span<float> out)>;

/// Writes `tensors` (of type F32, BF16 or F16, rounded to nearest even) into `folder`, fsynced. If they are more than
/// `max_file_bytes` they go, in this order, into model-00001-of-0000N.safetensors … of at most so many bytes each (but
/// at least one tensor), with model.safetensors.index.json. Throws Error(kData) naming a tensor with a value that F16
/// cannot hold, and Error(kInputOutput).
void write_weights(const std::string& folder, const std::vector<SafetensorsSpec>& tensors, const WeightSource& source,
                   int64_t max_file_bytes);

/// binary32 to binary16, to nearest even; beyond 65504: infinity.
uint16_t half_of_float(float value);

}  // namespace tsugi
