#include "ops/norm/norm.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::expect_close;
using testing::random_values;
using testing::same_bits;
using testing::to_doubles;
using testing::to_tensor;

struct RmsSizes {
  int64_t batch, tokens, width;
};
constexpr RmsSizes kRmsSizes[] = {{1, 1, 1}, {2, 3, 17}, {1, 33, 64}, {3, 43, 130}, {2, 35, 768}};
constexpr float kRmsEpsilon = 1e-5f;
const Dropout kRmsDropout{.p = 0.25f, .seed = 7, .first_sample = 5, .site = 3};

/// Both passes on random inputs.
struct RmsExample {
  RmsExample(const Context& context, const RmsSizes& s, DType type, const Dropout& dropout, bool has_branch,
             bool has_d_residual)
      : count(s.batch * s.tokens * s.width),
        x_values(random_values(count, 1, 3.0)),
        branch_values(random_values(count, 2)),
        gamma_values(random_values(s.width, 3)),
        d_normed_values(random_values(count, 5)),
        d_residual_values(random_values(count, 6)) {
    const Shape shape{s.batch, s.tokens, s.width};
    const Tensor x = to_tensor(context, x_values, shape, type);
    const Tensor branch = to_tensor(context, branch_values, shape, type);
    const Tensor gamma = to_tensor(context, gamma_values, {s.width}, type);
    const Tensor d_normed = to_tensor(context, d_normed_values, shape, type);
    d_residual = to_tensor(context, d_residual_values, shape, type);
    residual = has_branch ? context.empty(shape, type) : x;
    normed = context.empty(shape, type);
    d_branch = dropout.active() ? context.empty(shape, type) : Tensor();
    const Tensor rstd = context.empty({s.batch * s.tokens}, DType::kF32);
    d_gamma = context.empty({s.width}, DType::kF32);
    for (int64_t c = 0; c < s.width; ++c) d_gamma.data<float>()[c] = 0.5f;
    residual_rms_norm_forward(context, x, has_branch ? branch : Tensor(), dropout, gamma, kRmsEpsilon,
                              has_branch ? residual : Tensor(), normed, rstd);
    residual_rms_norm_backward(context, residual, gamma, rstd, d_normed, dropout, has_d_residual, d_residual, d_branch,
                               d_gamma);
  }

  int64_t count;
  std::vector<double> x_values, branch_values, gamma_values, d_normed_values, d_residual_values;
  Tensor residual, normed, d_residual, d_branch, d_gamma;
};

class RmsNorm : public ::testing::TestWithParam<std::tuple<RmsSizes, DType, bool, bool>> {
 protected:
  RmsSizes sizes() const { return std::get<0>(GetParam()); }
  DType type() const { return std::get<1>(GetParam()); }
  Dropout dropout() const { return std::get<2>(GetParam()) ? kRmsDropout : Dropout{}; }
  bool has_d_residual() const { return std::get<3>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, RmsNorm,
                         ::testing::Combine(::testing::ValuesIn(kRmsSizes),
                                            ::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool(),
                                            ::testing::Bool()));

TEST_P(RmsNorm, EqualsTheReference) {
  const CpuContext context(2);
  const RmsSizes s = sizes();
  const RmsExample e(context, s, type(), dropout(), true, has_d_residual());
  std::vector<double> sum = e.x_values;
  std::vector<double> factors(sum.size(), 1.0);
  for (int64_t i = 0; dropout().active() && i < e.count; ++i) {
    const int64_t sample = i / (s.tokens * s.width);
    const uint32_t word = dropout().stream(sample).word(static_cast<uint64_t>(i % (s.tokens * s.width)));
    factors[static_cast<size_t>(i)] =
        word < dropout().threshold() ? 0.0 : 1.0 / (1.0 - static_cast<double>(dropout().p));
  }
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += factors[i] * e.branch_values[i];
  expect_close(e.residual, sum, type() == DType::kBF16 ? 0x1p-8 : 1e-6);

  const std::vector<double> stored = to_doubles(e.residual);
  std::vector<double> normed(sum.size()), d_x(sum.size());
  std::vector<double> d_gamma(e.gamma_values.size(), 0.5);
  const int64_t rows = s.batch * s.tokens;
  reference::rms_norm_forward(rows, s.width, stored, e.gamma_values, static_cast<double>(kRmsEpsilon), normed);
  expect_close(e.normed, normed, type() == DType::kBF16 ? 0x1p-8 : 1e-6);
  reference::rms_norm_backward(rows, s.width, stored, e.gamma_values, static_cast<double>(kRmsEpsilon),
                               e.d_normed_values, d_x, d_gamma);
  for (size_t i = 0; has_d_residual() && i < d_x.size(); ++i) d_x[i] += e.d_residual_values[i];
  // Of one column the gradient is what epsilon leaves of a difference of equal numbers.
  if (s.width > 1) expect_close(e.d_residual, d_x, type() == DType::kBF16 ? 0x1p-7 : 3e-6);
  expect_close(e.d_gamma, d_gamma, 1e-5);
  if (!dropout().active() || s.width == 1) return;
  for (size_t i = 0; i < d_x.size(); ++i) d_x[i] *= factors[i];
  expect_close(e.d_branch, d_x, type() == DType::kBF16 ? 0x1p-7 : 3e-6);
}

TEST_P(RmsNorm, BitsDoNotDependOnTheThreads) {
  const CpuContext one(1);
  const RmsExample expected(one, sizes(), type(), dropout(), true, has_d_residual());
  for (const int threads : {2, 3, 8}) {
    const CpuContext context(threads);
    const RmsExample e(context, sizes(), type(), dropout(), true, has_d_residual());
    EXPECT_TRUE(same_bits(e.residual, expected.residual)) << threads;
    EXPECT_TRUE(same_bits(e.normed, expected.normed)) << threads;
    EXPECT_TRUE(same_bits(e.d_residual, expected.d_residual)) << threads;
    EXPECT_TRUE(same_bits(e.d_gamma, expected.d_gamma)) << threads;
    EXPECT_TRUE(!dropout().active() || same_bits(e.d_branch, expected.d_branch)) << threads;
  }
}

TEST(RmsNormAlone, NormalisesXItself) {
  const CpuContext context(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const RmsExample e(context, {2, 9, 130}, type, {}, false, false);
    std::vector<double> normed(e.x_values.size());
    reference::rms_norm_forward(18, 130, e.x_values, e.gamma_values, static_cast<double>(kRmsEpsilon), normed);
    expect_close(e.normed, normed, type == DType::kBF16 ? 0x1p-8 : 1e-6);
    EXPECT_EQ(to_doubles(e.residual), e.x_values);
  }
}

TEST(RmsNormReference, GradientsAreCentralDifferences) {
  constexpr int64_t kRows = 3, kWidth = 7;
  std::vector<double> x = random_values(kRows * kWidth, 1);
  std::vector<double> gamma = random_values(kWidth, 2);
  const std::vector<double> d_normed = random_values(kRows * kWidth, 4);
  const auto loss = [&] {
    std::vector<double> normed(x.size());
    reference::rms_norm_forward(kRows, kWidth, x, gamma, 1e-3, normed);
    double sum = 0.0;
    for (size_t i = 0; i < normed.size(); ++i) sum += normed[i] * d_normed[i];
    return sum;
  };
  std::vector<double> d_x(x.size()), d_gamma(gamma.size());
  reference::rms_norm_backward(kRows, kWidth, x, gamma, 1e-3, d_normed, d_x, d_gamma);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double at = values[i];
      values[i] = at + 1e-5;
      const double above = loss();
      values[i] = at - 1e-5;
      const double below = loss();
      values[i] = at;
      EXPECT_NEAR(gradient[i], (above - below) / 2e-5, 1e-7);
    }
  };
  check(x, d_x);
  check(gamma, d_gamma);
}

TEST(RmsNormGolden, EqualsPyTorch) {
  const CpuContext context;
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  const auto load = [&](const std::string& name, Shape shape) {
    std::vector<double> values = golden.at(name);
    return to_tensor(context, values, shape, DType::kF32);
  };
  const Shape shape{2, 2, 7};
  const Tensor x = load("rms.x", shape);
  const Tensor gamma = load("rms.gamma", {7});
  const Tensor normed = context.context.empty(shape, DType::kF32);
  const Tensor d_x = context.context.empty(shape, DType::kF32);
  const Tensor rstd = context.context.empty({4}, DType::kF32);
  const Tensor d_gamma = context.context.empty({7}, DType::kF32);
  fill_zero(context, d_gamma);
  residual_rms_norm_forward(context, x, Tensor(), Dropout{}, gamma, 0x1p-17f, Tensor(), normed, rstd);
  residual_rms_norm_backward(context, x, gamma, rstd, load("rms.d_normed", shape), Dropout{}, false, d_x, Tensor(),
                             d_gamma);
  expect_close(normed, golden.at("rms.normed"), 1e-6);
  expect_close(d_x, golden.at("rms.d_x"), 2e-6);
  expect_close(d_gamma, golden.at("rms.d_gamma"), 1e-6);
}

}  // namespace
}  // namespace tsugi
