#include "ops/norm/norm.h"

#include <memory>
#include <tuple>

#include "ops/reduce/reduce.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::expect_close;
using testing::max_abs;
using testing::max_difference;
using testing::random_values;
using testing::same_bits;
using testing::to_doubles;
using testing::to_tensor;

struct NormSizes {
  int64_t batch, tokens, width;
  int64_t rows() const { return batch * tokens; }
  int64_t elements() const { return batch * tokens * width; }
};
const NormSizes kNormSizes[] = {{1, 1, 1}, {2, 3, 17}, {1, 33, 64}, {3, 43, 130}, {2, 35, 768}};

constexpr float kEpsilon = 1e-5f;
const Dropout kNormDropout{.p = 0.25f, .seed = 7, .first_sample = 5, .site = 3};

/// Everything that the two passes read and write.
struct NormExample {
  NormExample(const Context& context, const NormSizes& sizes, DType type)
      : s(sizes),
        x_values(random_values(s.elements(), 1, 3.0)),
        branch_values(random_values(s.elements(), 2)),
        gamma_values(random_values(s.width, 3)),
        beta_values(random_values(s.width, 4)),
        d_normed_values(random_values(s.elements(), 5)),
        d_residual_values(random_values(s.elements(), 6)) {
    const Shape shape{s.batch, s.tokens, s.width};
    x = to_tensor(context, x_values, shape, type);
    branch = to_tensor(context, branch_values, shape, type);
    gamma = to_tensor(context, gamma_values, {s.width}, type);
    beta = to_tensor(context, beta_values, {s.width}, type);
    d_normed = to_tensor(context, d_normed_values, shape, type);
    d_residual = to_tensor(context, d_residual_values, shape, type);
    residual = context.empty(shape, type);
    normed = context.empty(shape, type);
    d_branch = context.empty(shape, type);
    mean = context.empty({s.rows()}, DType::kF32);
    rstd = context.empty({s.rows()}, DType::kF32);
    d_gamma = context.empty({s.width}, DType::kF32);
    d_beta = context.empty({s.width}, DType::kF32);
    fill_zero(context, d_gamma);
    fill_zero(context, d_beta);
  }

  void forward(const Context& context, const Dropout& dropout) const {
    residual_layer_norm_forward(context, x, branch, dropout, gamma, beta, kEpsilon, residual, normed, mean, rstd);
  }
  void backward(const Context& context, const Dropout& dropout, bool has_d_residual) const {
    residual_layer_norm_backward(context, residual, gamma, mean, rstd, d_normed, dropout, has_d_residual, d_residual,
                                 dropout.active() ? d_branch : Tensor(), d_gamma, d_beta);
  }

  /// The branch's factors, from the definition of Dropout.
  std::vector<double> factors(const Dropout& dropout) const {
    std::vector<double> result;
    for (int64_t row = 0; row < s.batch; ++row) {
      for (int64_t i = 0; i < s.tokens * s.width; ++i) {
        const bool dropped = dropout.stream(row).word(static_cast<uint64_t>(i)) < dropout.threshold();
        result.push_back(!dropout.active() ? 1.0 : dropped ? 0.0 : 1.0 / (1.0 - static_cast<double>(dropout.p)));
      }
    }
    return result;
  }

  NormSizes s;
  std::vector<double> x_values, branch_values, gamma_values, beta_values, d_normed_values, d_residual_values;
  Tensor x, branch, gamma, beta, d_normed, d_residual, residual, normed, d_branch, mean, rstd, d_gamma, d_beta;
};

/// Relative to the largest result: f32 sums over a row, or two roundings to bf16 of numbers of that size.
double tolerance_of(DType type) { return type == DType::kBF16 ? 0x1p-7 : 3e-6; }

class Norm : public ::testing::TestWithParam<std::tuple<DType, bool>> {};
INSTANTIATE_TEST_SUITE_P(, Norm, ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()));

TEST_P(Norm, ForwardEqualsTheReference) {
  const auto [type, dropping] = GetParam();
  const Dropout dropout = dropping ? kNormDropout : Dropout{};
  const CpuContext context(2);
  for (const NormSizes& s : kNormSizes) {
    SCOPED_TRACE(std::to_string(s.batch) + "x" + std::to_string(s.tokens) + "x" + std::to_string(s.width));
    const NormExample example(context, s, type);
    example.forward(context, dropout);
    std::vector<double> sum = example.x_values;
    const std::vector<double> factors = example.factors(dropout);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += factors[i] * example.branch_values[i];
    expect_close(example.residual, sum, type == DType::kBF16 ? 0x1p-8 : 1e-6);

    const std::vector<double> stored = to_doubles(example.residual);
    std::vector<double> normed(sum.size());
    reference::layer_norm_forward(s.rows(), s.width, stored, example.gamma_values, example.beta_values,
                                  static_cast<double>(kEpsilon), normed);
    expect_close(example.normed, normed, type == DType::kBF16 ? 0x1p-8 : 3e-6);
  }
}

TEST_P(Norm, BackwardEqualsTheReferenceAndAddsToWhatIsThere) {
  const auto [type, dropping] = GetParam();
  const Dropout dropout = dropping ? kNormDropout : Dropout{};
  const CpuContext context(3);
  for (const bool has_d_residual : {false, true}) {
    for (const NormSizes& s : kNormSizes) {
      if (s.width == 1) continue;  // the gradient is exactly zero: nothing to compare relative to
      SCOPED_TRACE(std::to_string(s.batch) + "x" + std::to_string(s.tokens) + "x" + std::to_string(s.width));
      const NormExample example(context, s, type);
      example.forward(context, dropout);
      std::vector<double> d_gamma = random_values(s.width, 8);
      std::vector<double> d_beta = random_values(s.width, 9);
      for (size_t c = 0; c < d_gamma.size(); ++c) {
        d_gamma[c] = static_cast<double>(example.d_gamma.data<float>()[c] = static_cast<float>(d_gamma[c]));
        d_beta[c] = static_cast<double>(example.d_beta.data<float>()[c] = static_cast<float>(d_beta[c]));
      }
      example.backward(context, dropout, has_d_residual);

      std::vector<double> d_x(static_cast<size_t>(s.elements()));
      reference::layer_norm_backward(s.rows(), s.width, to_doubles(example.residual), example.gamma_values,
                                     static_cast<double>(kEpsilon), example.d_normed_values, d_x, d_gamma, d_beta);
      for (size_t i = 0; has_d_residual && i < d_x.size(); ++i) d_x[i] += example.d_residual_values[i];
      expect_close(example.d_residual, d_x, tolerance_of(type));
      expect_close(example.d_gamma, d_gamma, 1e-5);
      expect_close(example.d_beta, d_beta, 1e-5);
      if (dropping) {
        const std::vector<double> factors = example.factors(dropout);
        for (size_t i = 0; i < d_x.size(); ++i) d_x[i] *= factors[i];
        expect_close(example.d_branch, d_x, tolerance_of(type));
        const std::vector<double> d_branch = to_doubles(example.d_branch);
        for (size_t i = 0; i < d_x.size(); ++i) {
          ASSERT_TRUE(factors[i] != 0.0 || d_branch[i] == 0.0) << "forward and backward drop the same elements";
        }
      }
    }
  }
}

TEST(NormWithoutBranch, NormalisesXItselfAndTouchesNothingElse) {
  const CpuContext context(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const NormExample example(context, {2, 9, 130}, type);
    fill_zero(context, example.residual);
    residual_layer_norm_forward(context, example.x, Tensor(), Dropout{}, example.gamma, example.beta, kEpsilon,
                                Tensor(), example.normed, example.mean, example.rstd);
    std::vector<double> normed(example.x_values.size());
    reference::layer_norm_forward(18, 130, example.x_values, example.gamma_values, example.beta_values,
                                  static_cast<double>(kEpsilon), normed);
    expect_close(example.normed, normed, type == DType::kBF16 ? 0x1p-8 : 3e-6);
    EXPECT_EQ(to_doubles(example.x), example.x_values);
  }
}

TEST(NormDropout, IsKeyedBySample) {
  const CpuContext context(2);
  const NormSizes all{4, 5, 33};
  const NormExample whole(context, all, DType::kF32);
  whole.forward(context, kNormDropout);
  whole.backward(context, kNormDropout, true);
  for (int64_t k = 1; k < all.batch; ++k) {
    NormExample rest(context, {all.batch - k, all.tokens, all.width}, DType::kF32);
    const Shape shape{all.batch - k, all.tokens, all.width};
    const int64_t offset = k * all.tokens * all.width;
    rest.x = whole.x.slice(offset, shape);
    rest.branch = whole.branch.slice(offset, shape);
    Dropout dropout = kNormDropout;
    dropout.first_sample += static_cast<uint64_t>(k);
    rest.forward(context, dropout);
    EXPECT_TRUE(same_bits(rest.residual, whole.residual.slice(offset, shape))) << k;
    EXPECT_TRUE(same_bits(rest.normed, whole.normed.slice(offset, shape))) << k;
  }
  Dropout elsewhere = kNormDropout;
  ++elsewhere.site;
  const NormExample other(context, all, DType::kF32);
  other.forward(context, elsewhere);
  EXPECT_FALSE(same_bits(other.residual, whole.residual)) << "another site drops other elements";
}

TEST(NormThreads, BitsDoNotDependOnTheNumberOfThreads) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::unique_ptr<NormExample> first;
    for (const int threads : {1, 2, 3, 4, 8, 16}) {
      const CpuContext context(threads);
      auto example = std::make_unique<NormExample>(context, NormSizes{3, 111, 192}, type);
      example->forward(context, kNormDropout);
      example->backward(context, kNormDropout, true);
      if (first == nullptr) {
        first = std::move(example);
        continue;
      }
      const NormExample& one = *first;
      const NormExample& many = *example;
      EXPECT_TRUE(same_bits(one.residual, many.residual)) << threads;
      EXPECT_TRUE(same_bits(one.normed, many.normed)) << threads;
      EXPECT_TRUE(same_bits(one.d_residual, many.d_residual)) << threads;
      EXPECT_TRUE(same_bits(one.d_branch, many.d_branch)) << threads;
      EXPECT_TRUE(same_bits(one.d_gamma, many.d_gamma)) << threads;
      EXPECT_TRUE(same_bits(one.d_beta, many.d_beta)) << threads;
    }
  }
}

TEST(NormReference, GradientsAreCentralDifferences) {
  constexpr int64_t kRows = 3, kWidth = 7;
  constexpr double kStep = 1e-5, kEps = 1e-3;
  std::vector<double> x = random_values(kRows * kWidth, 1);
  std::vector<double> gamma = random_values(kWidth, 2);
  std::vector<double> beta = random_values(kWidth, 3);
  const std::vector<double> d_normed = random_values(kRows * kWidth, 4);
  const auto loss = [&] {
    std::vector<double> normed(x.size());
    reference::layer_norm_forward(kRows, kWidth, x, gamma, beta, kEps, normed);
    double sum = 0.0;
    for (size_t i = 0; i < normed.size(); ++i) sum += normed[i] * d_normed[i];
    return sum;
  };
  std::vector<double> d_x(x.size()), d_gamma(gamma.size()), d_beta(beta.size());
  reference::layer_norm_backward(kRows, kWidth, x, gamma, kEps, d_normed, d_x, d_gamma, d_beta);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double value = values[i];
      values[i] = value + kStep;
      const double above = loss();
      values[i] = value - kStep;
      const double below = loss();
      values[i] = value;
      EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), 1e-7);
    }
  };
  check(x, d_x);
  check(gamma, d_gamma);
  check(beta, d_beta);
}

TEST(NormGolden, EqualsPyTorch) {
  const CpuContext context;
  const testing::Golden golden = testing::read_golden("ops_basic.txt");
  const auto load = [&](const std::string& name, Shape shape) {
    std::vector<double> values = golden.at(name);
    return to_tensor(context, values, shape, DType::kF32);
  };
  const Shape shape{2, 2, 7};
  const Tensor x = load("norm.x", shape);
  const Tensor gamma = load("norm.gamma", {7});
  const Tensor normed = context.context.empty(shape, DType::kF32);
  const Tensor d_x = context.context.empty(shape, DType::kF32);
  const Tensor mean = context.context.empty({4}, DType::kF32);
  const Tensor rstd = context.context.empty({4}, DType::kF32);
  const Tensor d_gamma = context.context.empty({7}, DType::kF32);
  const Tensor d_beta = context.context.empty({7}, DType::kF32);
  fill_zero(context, d_gamma);
  fill_zero(context, d_beta);
  residual_layer_norm_forward(context, x, Tensor(), Dropout{}, gamma, load("norm.beta", {7}), 0x1p-17f, Tensor(),
                              normed, mean, rstd);
  residual_layer_norm_backward(context, x, gamma, mean, rstd, load("norm.d_normed", shape), Dropout{}, false, d_x,
                               Tensor(), d_gamma, d_beta);
  expect_close(normed, golden.at("norm.normed"), 1e-6);
  expect_close(d_x, golden.at("norm.d_x"), 2e-6);
  expect_close(d_gamma, golden.at("norm.d_gamma"), 1e-6);
  expect_close(d_beta, golden.at("norm.d_beta"), 1e-6);
}

}  // namespace
}  // namespace tsugi
