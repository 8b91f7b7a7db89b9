// Ranges of a matrix's columns: where one product's output holds several things side by side.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out[r, c] = scale · x[r, first + c]: x [R, C], out [R, N] of one type (f32 or bf16), 0 <= first <= C - N (checked).
void take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out);

/// x[r, first + c] += scale · addend[r, c], rounded once. Shapes and types as above.
void add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale, const Tensor& x);

namespace reference {
/// x [rows, columns], out and addend [rows, width], in double.
void take_columns(int64_t rows, int64_t columns, int64_t first, int64_t width, double scale, std::span<const double> x,
                  std::span<double> out);
void add_to_columns(int64_t rows, int64_t columns, int64_t first, int64_t width, double scale,
                    std::span<const double> addend, std::span<double> x);
}  // namespace reference

}  // namespace tsugi
