// Sums with a fixed order, and element-wise helpers on whole buffers.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out[N] += Σ over rows of x[M, N]; x f32 or bf16, out f32. Rows are summed in fixed chunks, chunks in order.
void column_sum(const Context& context, const Tensor& x, const Tensor& out);

/// a += b, element by element. Same type and size (f32 or bf16; bf16 rounds each sum once).
void add_in_place(const Context& context, const Tensor& a, const Tensor& b);

/// Writes zeros.
void fill_zero(const Context& context, const Tensor& x);

/// Converts between f32 and bf16 (or copies).
void convert(const Context& context, const Tensor& from, const Tensor& to);

/// Its elements as f32 in host memory: x itself where it is both.
Tensor floats_on_host(const Context& context, const Tensor& x);

namespace reference {
void column_sum(int64_t rows, int64_t columns, std::span<const double> x, std::span<double> out);
}  // namespace reference

}  // namespace tsugi
