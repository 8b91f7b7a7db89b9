// LayerNorm kernels against the double reference.
#include "ops/norm/norm.h"

#include "ops/norm/norm_cuda.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {
namespace {

using cuda::NormShape;
using cuda::Stream;

constexpr double kEpsilon = 1e-5;
const Dropout kNormDropout{.p = 0.25f, .seed = 7, .first_sample = 5, .site = 3};
// A row in a warp, in four warps, element by element; more rows than groups of the backward pass; in sixteen warps.
const NormShape kShapes[] = {{.batch = 2, .tokens = 3, .width = 64},     {.batch = 1, .tokens = 5, .width = 768},
                             {.batch = 2, .tokens = 2, .width = 1600},   {.batch = 3, .tokens = 3, .width = 37},
                             {.batch = 1, .tokens = 1, .width = 1001},   {.batch = 3, .tokens = 801, .width = 8},
                             {.batch = 1, .tokens = 540, .width = 1032}, {.batch = 1, .tokens = 3, .width = 1030},
                             {.batch = 1, .tokens = 2, .width = 5000},   {.batch = 1, .tokens = 2, .width = 6143},
                             {.batch = 1, .tokens = 1, .width = 8192}};

class CudaNorm : public ::testing::TestWithParam<std::tuple<DType, bool>> {};
INSTANTIATE_TEST_SUITE_P(, CudaNorm,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()));

TEST_P(CudaNorm, EqualsTheReference) {
  const auto [type, dropping] = GetParam();
  const Dropout dropout = dropping ? kNormDropout : Dropout{};
  for (NormShape shape : kShapes) {
    shape.type = type;
    SCOPED_TRACE(std::to_string(shape.rows()) + " rows of " + std::to_string(shape.width));
    const int64_t count = shape.rows() * shape.width;
    std::vector<double> x = random_values(count, 1, 3.0), branch = random_values(count, 2);
    std::vector<double> gamma = random_values(shape.width, 3), beta = random_values(shape.width, 4);
    std::vector<double> d_normed = random_values(count, 5), later = random_values(count, 6);
    std::vector<double> d_gamma = random_values(shape.width, 7), d_beta = random_values(shape.width, 8);
    const DeviceArray dx(x, type), dbranch(branch, type), dgamma(gamma, type), dbeta(beta, type);
    const DeviceArray dd_normed(d_normed, type), dlater(later, type);
    const DeviceArray dd_gamma(d_gamma, DType::kF32), dd_beta(d_beta, DType::kF32);
    const DeviceArray residual(count, type), normed(count, type), d_branch(count, type);
    const DeviceArray mean(shape.rows(), DType::kF32), rstd(shape.rows(), DType::kF32);
    const cuda::Buffer scratch(cuda::norm_scratch_bytes(shape));
    Stream stream;
    cuda::residual_norm_forward(stream, shape, dx.data(), dbranch.data(), cuda::dropout_key(dropout), dgamma.data(),
                                dbeta.data(), static_cast<float>(kEpsilon), residual.data(), normed.data(),
                                mean.floats(), rstd.floats());
    cuda::residual_norm_backward(stream, shape, residual.data(), dgamma.data(), mean.floats(), rstd.floats(),
                                 dd_normed.data(), cuda::dropout_key(dropout), true, dlater.data(),
                                 dropping ? d_branch.data() : nullptr, scratch.as<float>(), dd_gamma.floats(),
                                 dd_beta.floats());

    const std::vector<double> factors = factors_of(dropout, shape.batch, shape.tokens * shape.width);
    std::vector<double> sum = x;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += factors[i] * branch[i];
    expect_within_twice(residual.read(stream), rounded(sum, type), sum, type);

    const std::vector<double> stored = residual.read(stream);
    std::vector<double> exact(sum.size()), d_x(sum.size());
    reference::layer_norm_forward(shape.rows(), shape.width, stored, gamma, beta, kEpsilon, exact);
    expect_within_twice(normed.read(stream), rounded(exact, type), exact, type);

    reference::layer_norm_backward(shape.rows(), shape.width, stored, gamma, kEpsilon, d_normed, d_x, d_gamma, d_beta);
    for (size_t i = 0; i < d_x.size(); ++i) d_x[i] += later[i];
    expect_within_twice(dlater.read(stream), rounded(d_x, type), d_x, type);
    EXPECT_LE(max_difference(dd_gamma.read(stream), d_gamma), 2e-5 * max_abs(d_gamma));
    EXPECT_LE(max_difference(dd_beta.read(stream), d_beta), 2e-5 * max_abs(d_beta));
    if (dropping) {
      for (size_t i = 0; i < d_x.size(); ++i) d_x[i] *= factors[i];
      expect_within_twice(d_branch.read(stream), rounded(d_x, type), d_x, type);
    }
  }
}

TEST(CudaNormAlone, NormalisesXAndIgnoresWhatTheGradientHeld) {
  const NormShape shape{.batch = 1, .tokens = 7, .width = 136};
  const int64_t count = shape.rows() * shape.width;
  std::vector<double> x = random_values(count, 1), gamma(136, 1.0), beta(136, 0.0), d = random_values(count, 2);
  std::vector<double> zeros(136, 0.0);
  const DeviceArray dx(x, DType::kBF16), dgamma(gamma, DType::kBF16), dbeta(beta, DType::kBF16), dd(d, DType::kBF16);
  const DeviceArray normed(count, DType::kBF16), d_x(count, DType::kBF16);  // d_x holds NaN
  const DeviceArray mean(7, DType::kF32), rstd(7, DType::kF32), d_gamma(zeros, DType::kF32), d_beta(zeros, DType::kF32);
  const cuda::Buffer scratch(cuda::norm_scratch_bytes(shape));
  Stream stream;
  cuda::residual_norm_forward(stream, shape, dx.data(), nullptr, {}, dgamma.data(), dbeta.data(), 1e-5f, nullptr,
                              normed.data(), mean.floats(), rstd.floats());
  cuda::residual_norm_backward(stream, shape, dx.data(), dgamma.data(), mean.floats(), rstd.floats(), dd.data(), {},
                               false, d_x.data(), nullptr, scratch.as<float>(), d_gamma.floats(), d_beta.floats());
  std::vector<double> exact(x.size()), exact_d_x(x.size()), g(136), b(136);
  reference::layer_norm_forward(7, 136, x, gamma, beta, 1e-5, exact);
  reference::layer_norm_backward(7, 136, x, gamma, 1e-5, d, exact_d_x, g, b);
  expect_within_twice(normed.read(stream), rounded(exact, DType::kBF16), exact, DType::kBF16);
  expect_within_twice(d_x.read(stream), rounded(exact_d_x, DType::kBF16), exact_d_x, DType::kBF16);
}

TEST(CudaNormAlone, SaysWhatItCannotDo) {
  const DeviceArray x(8, DType::kF32);
  Stream stream;
  EXPECT_THROW(
      cuda::residual_norm_forward(stream, {.type = DType::kF32, .batch = 1, .tokens = 1, .width = 8193}, x.data(),
                                  nullptr, {}, x.data(), x.data(), 1e-5f, nullptr, x.data(), x.floats(), x.floats()),
      std::exception);
}

}  // namespace
}  // namespace tsugi::testing
