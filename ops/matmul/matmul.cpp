#include "ops/matmul/matmul.h"

#include "ops/activation/activation.h"
#include "ops/matmul/matmul_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

struct Sizes {
  int64_t m, n, k;
};

Sizes check(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulOptions& options) {
  CHECK_EQ(a.shape().rank(), 2);
  CHECK_EQ(b.shape().rank(), 2);
  CHECK(a.dtype() == DType::kF32 || a.dtype() == DType::kBF16) << name_of(a.dtype());
  CHECK(b.dtype() == a.dtype()) << name_of(b.dtype()) << " with " << name_of(a.dtype());
  CHECK(out.dtype() == DType::kF32 || out.dtype() == a.dtype()) << name_of(out.dtype());
  const Sizes s{a.shape()[options.transpose_a ? 1 : 0], b.shape()[options.transpose_b ? 0 : 1],
                a.shape()[options.transpose_a ? 0 : 1]};
  CHECK_EQ(b.shape()[options.transpose_b ? 1 : 0], s.k) << a.shape().to_string() << " times " << b.shape().to_string();
  CHECK_GE(s.k, 1);
  CHECK(out.shape() == (Shape{s.m, s.n})) << out.shape().to_string();
  if (options.bias.defined()) {
    CHECK(options.bias.shape() == Shape{s.n}) << options.bias.shape().to_string();
    CHECK(options.bias.dtype() == a.dtype());
  }
  if (options.pre_activation.defined()) {
    CHECK(options.pre_activation.shape() == out.shape()) << options.pre_activation.shape().to_string();
    CHECK(options.pre_activation.dtype() == out.dtype());
  }
  if (options.gelu_backward.defined()) {
    CHECK(options.gelu_backward.shape() == out.shape()) << options.gelu_backward.shape().to_string();
    CHECK(options.gelu_backward.dtype() == out.dtype());
    CHECK(!options.bias.defined() && !options.pre_activation.defined() && !options.accumulate);
  }
  if (options.accumulate) {
    CHECK(out.dtype() == DType::kF32) << "sums accumulate in f32";
    CHECK(!options.bias.defined() && !options.pre_activation.defined()) << "accumulation excludes bias and GELU";
  }
  return s;
}

template <class T, class Out>
void on_cpu(const Context& context, const Sizes& s, const Tiling& tiling, const Tensor& partial, const Tensor& a,
            const Tensor& b, const Tensor& out, const MatmulOptions& options) {
  const cpu::Product<T> product{.m = s.m,
                                .n = s.n,
                                .k = s.k,
                                .a = a.data<T>(),
                                .b = b.data<T>(),
                                .transpose_a = options.transpose_a,
                                .transpose_b = options.transpose_b};
  const cpu::Epilogue<T, Out> epilogue{
      .n = s.n,
      .out = out.data<Out>(),
      .pre_activation = options.pre_activation.defined() ? options.pre_activation.data<Out>() : nullptr,
      .bias = options.bias.defined() ? options.bias.data<T>() : nullptr,
      .accumulate = options.accumulate};
  cpu::product(context.pool(), product, epilogue, tiling, partial.defined() ? partial.data<float>() : nullptr);
}

}  // namespace

void matmul(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out, const MatmulOptions& options) {
  const Sizes s = check(a, b, out, options);
  if (s.m == 0 || s.n == 0) return;
  const double flops = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  const ProfiledOperator work(context, options.accumulate ? "matmul, weight gradient" : "matmul", flops,
                              {&a, &b, &out});
  if (DeviceOperators* device = context.operators()) return device->matmul(context, a, b, out, options);
  const Tiling tiling = matmul_tiling(s.m, s.n, s.k);
  Tensor partial;
  const int64_t partials = cpu::partial_sums_of(s.m, s.k, options.transpose_a, options.transpose_b, tiling);
  if (partials > 0) partial = context.empty({partials, s.m, s.n}, DType::kF32);
  if (context.meta()) return;
  if (a.dtype() == DType::kF32) {
    on_cpu<float, float>(context, s, tiling, partial, a, b, out, options);
  } else if (out.dtype() == DType::kF32) {
    on_cpu<bf16, float>(context, s, tiling, partial, a, b, out, options);
  } else {
    on_cpu<bf16, bf16>(context, s, tiling, partial, a, b, out, options);
  }
  if (options.gelu_backward.defined()) {
    activation_backward(context, Activation::kGelu, options.gelu_backward, out, out);
  }
}

}  // namespace tsugi
