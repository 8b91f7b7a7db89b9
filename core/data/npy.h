// NumPy's .npy files (numpy.lib.format, version 1.0), which numpy.load, R, Julia and many others read.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tsugi {

/// The content of a file of a [rows, values / rows] array in row-major order. `rows` divides the number of values.
std::string npy_text(std::span<const float> values, int64_t rows);
/// Of a vector.
std::string npy_text(std::span<const int32_t> values);

}  // namespace tsugi
