#include "ops/reduce/reduce.h"

#include "ops/reduce/reduce_internal.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

bool is_compute_type(const Tensor& x) { return x.dtype() == DType::kF32 || x.dtype() == DType::kBF16; }

}  // namespace

void column_sum(const Context& context, const Tensor& x, const Tensor& out) {
  CHECK_EQ(x.shape().rank(), 2);
  CHECK(is_compute_type(x)) << name_of(x.dtype());
  const int64_t rows = x.shape()[0];
  const int64_t columns = x.shape()[1];
  CHECK(out.dtype() == DType::kF32);
  CHECK_EQ(out.elements(), columns);
  if (rows == 0 || columns == 0) return;
  const ProfiledOperator work(context, "bias gradient", 0, {&x});
  if (DeviceOperators* device = context.operators()) return device->column_sum(context, x, out);
  const int64_t chunks = (rows + cpu::kColumnSumRows - 1) / cpu::kColumnSumRows;
  const Tensor partial = context.empty({chunks, columns}, DType::kF32);
  if (context.meta()) return;
  cpu::column_sum(context, x, partial, out);
}

void add_in_place(const Context& context, const Tensor& a, const Tensor& b) {
  CHECK(is_compute_type(a)) << name_of(a.dtype());
  CHECK(a.dtype() == b.dtype());
  CHECK_EQ(a.elements(), b.elements());
  const ProfiledOperator work(context, "add", 0, {&a, &a, &b});
  if (DeviceOperators* device = context.operators()) return device->add_in_place(context, a, b);
  if (context.meta()) return;
  cpu::add_in_place(context, a, b);
}

void fill_zero(const Context& context, const Tensor& x) {
  const ProfiledOperator work(context, "zero", 0, {&x});
  if (DeviceOperators* device = context.operators()) return device->fill_zero(context, x);
  if (context.meta()) return;
  cpu::fill_zero(context, x);
}

void convert(const Context& context, const Tensor& from, const Tensor& to) {
  CHECK(is_compute_type(from) && is_compute_type(to)) << name_of(from.dtype()) << " to " << name_of(to.dtype());
  CHECK_EQ(from.elements(), to.elements());
  const ProfiledOperator work(context, "convert", 0, {&from, &to});
  if (DeviceOperators* device = context.operators()) return device->convert(context, from, to);
  if (context.meta()) return;
  cpu::convert(context, from, to);
}

Tensor floats_on_host(const Context& context, const Tensor& x) {
  if (x.dtype() == DType::kF32) return on_host(context, x);
  const Tensor floats = context.empty(x.shape(), DType::kF32);
  convert(context, x, floats);
  return on_host(context, floats);
}

}  // namespace tsugi
