#include "ops/matmul/matmul.h"

#include <memory>
#include <tuple>

#include "ops/activation/activation.h"
#include "ops/base/error.h"
#include "ops/matmul/onednn_gemm.h"
#include "ops/matmul/tiling.h"
#include "ops/tensor/philox.h"
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

struct ProductSizes {
  int64_t m, n, k;
};

std::string name_of(const ProductSizes& s, bool transpose_a, bool transpose_b) {
  return std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) + (transpose_a ? "T" : "N") +
         (transpose_b ? "T" : "N");
}

/// Random operands of a product, rounded to their type, and the product in double.
struct Example {
  Example(const Context& context, const ProductSizes& s, DType type, bool transpose_a, bool transpose_b)
      : a_values(random_values(s.m * s.k, 1)), b_values(random_values(s.k * s.n, 2)) {
    a = to_tensor(context, a_values, transpose_a ? Shape{s.k, s.m} : Shape{s.m, s.k}, type);
    b = to_tensor(context, b_values, transpose_b ? Shape{s.n, s.k} : Shape{s.k, s.n}, type);
    expected.resize(static_cast<size_t>(s.m * s.n));
    reference::matmul(s.m, s.n, s.k, a_values, transpose_a, b_values, transpose_b, expected, false);
  }
  std::vector<double> a_values, b_values, expected;
  Tensor a, b;
};

// Odd sizes; strides for which operands are packed (512, 1024, 300); sums in one and in several chunks.
const ProductSizes kOddSizes[] = {{1, 1, 1},      {1, 3, 17},      {2, 130, 33},   {3, 64, 768},  {4, 200, 65},
                                  {5, 7, 1},      {17, 33, 3},     {33, 77, 4097}, {64, 64, 64},  {130, 1, 64},
                                  {64, 64, 2048}, {300, 400, 130}, {257, 49, 769}, {33, 512, 97}, {64, 1024, 130}};

class MatmulLayouts : public ::testing::TestWithParam<std::tuple<bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(, MatmulLayouts, ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST_P(MatmulLayouts, F32EqualsTheReference) {
  const auto [transpose_a, transpose_b] = GetParam();
  const CpuContext context(3);
  for (const ProductSizes& s : kOddSizes) {
    SCOPED_TRACE(name_of(s, transpose_a, transpose_b));
    const Example example(context, s, DType::kF32, transpose_a, transpose_b);
    const Tensor out = context.context.empty({s.m, s.n}, DType::kF32);
    matmul(context, example.a, example.b, out, {.transpose_a = transpose_a, .transpose_b = transpose_b});
    // Entries of the product have size √K, and so has the rounding error of their sums (in units of the last place).
    EXPECT_LE(max_difference(to_doubles(out), example.expected), 3e-6 * std::sqrt(static_cast<double>(s.k)));
  }
}

TEST_P(MatmulLayouts, Bf16ErrsNoMoreThanTwiceAsMuchAsPlainSums) {
  const auto [transpose_a, transpose_b] = GetParam();
  const CpuContext context(2);
  for (const ProductSizes& s : kOddSizes) {
    SCOPED_TRACE(name_of(s, transpose_a, transpose_b));
    const Example example(context, s, DType::kBF16, transpose_a, transpose_b);
    std::vector<float> plain(static_cast<size_t>(s.m * s.n));
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        float sum = 0.0f;
        for (int64_t l = 0; l < s.k; ++l) {
          sum += static_cast<float>(example.a_values[static_cast<size_t>(transpose_a ? l * s.m + i : i * s.k + l)]) *
                 static_cast<float>(example.b_values[static_cast<size_t>(transpose_b ? j * s.k + l : l * s.n + j)]);
        }
        plain[static_cast<size_t>(i * s.n + j)] = sum;
      }
    }
    const MatmulOptions options{.transpose_a = transpose_a, .transpose_b = transpose_b};
    const double scale = max_abs(example.expected);
    const double plain_error = max_difference(std::vector<double>(plain.begin(), plain.end()), example.expected);
    const Tensor wide = context.context.empty({s.m, s.n}, DType::kF32);
    matmul(context, example.a, example.b, wide, options);
    EXPECT_LE(max_difference(to_doubles(wide), example.expected), 2 * plain_error + scale * 0x1p-22);

    const Tensor narrow = context.context.empty({s.m, s.n}, DType::kBF16);
    matmul(context, example.a, example.b, narrow, options);
    for (int64_t i = 0; i < wide.elements(); ++i) {
      ASSERT_EQ(narrow.data<bf16>()[i].bits, bf16(wide.data<float>()[i]).bits) << "one rounding of the f32 sum";
    }
  }
}

TEST_P(MatmulLayouts, AccumulatesOntoTheOutput) {
  const auto [transpose_a, transpose_b] = GetParam();
  const CpuContext context(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const ProductSizes& s : kOddSizes) {
      SCOPED_TRACE(name_of(s, transpose_a, transpose_b) + tsugi::name_of(type));
      const Example example(context, s, type, transpose_a, transpose_b);
      std::vector<double> expected = random_values(s.m * s.n, 3, std::sqrt(static_cast<double>(s.k)));
      const Tensor out = to_tensor(context, expected, {s.m, s.n}, DType::kF32);
      matmul(context, example.a, example.b, out,
             {.transpose_a = transpose_a, .transpose_b = transpose_b, .accumulate = true});
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += example.expected[i];
      EXPECT_LE(max_difference(to_doubles(out), expected), 3e-6 * std::sqrt(static_cast<double>(s.k)));
    }
  }
}

TEST_P(MatmulLayouts, AddsTheBiasAndAppliesGelu) {
  const auto [transpose_a, transpose_b] = GetParam();
  const CpuContext context(2);
  for (const ProductSizes& s :
       {ProductSizes{1, 130, 64}, ProductSizes{17, 33, 3}, ProductSizes{64, 64, 2048}, ProductSizes{130, 400, 65}}) {
    SCOPED_TRACE(name_of(s, transpose_a, transpose_b));
    const Example example(context, s, DType::kF32, transpose_a, transpose_b);
    std::vector<double> bias_values = random_values(s.n, 4);
    const Tensor bias = to_tensor(context, bias_values, {s.n}, DType::kF32);
    std::vector<double> expected_pre = example.expected;
    for (size_t i = 0; i < expected_pre.size(); ++i) expected_pre[i] += bias_values[i % bias_values.size()];
    std::vector<double> expected = expected_pre;
    for (double& value : expected) value = reference::activation(Activation::kGelu, value);
    const double tolerance = 3e-6 * std::sqrt(static_cast<double>(s.k));

    MatmulOptions options{.transpose_a = transpose_a, .transpose_b = transpose_b, .bias = bias};
    const Tensor out = context.context.empty({s.m, s.n}, DType::kF32);
    matmul(context, example.a, example.b, out, options);
    EXPECT_LE(max_difference(to_doubles(out), expected_pre), tolerance);

    options.pre_activation = context.context.empty({s.m, s.n}, DType::kF32);
    matmul(context, example.a, example.b, out, options);
    EXPECT_LE(max_difference(to_doubles(options.pre_activation), expected_pre), tolerance);
    EXPECT_LE(max_difference(to_doubles(out), expected), tolerance);

    options.bias = {};
    matmul(context, example.a, example.b, out, options);
    EXPECT_LE(max_difference(to_doubles(options.pre_activation), example.expected), tolerance);
  }
}

TEST(Matmul, GeluInBf16IsThatOfTheStoredPreActivation) {
  const CpuContext context;
  for (const ProductSizes& s : {ProductSizes{2, 130, 64}, ProductSizes{33, 130, 64}}) {
    const Example example(context, s, DType::kBF16, false, false);
    std::vector<double> bias_values = random_values(s.n, 4);
    MatmulOptions options;
    options.bias = to_tensor(context, bias_values, {s.n}, DType::kBF16);
    options.pre_activation = context.context.empty({s.m, s.n}, DType::kBF16);
    const Tensor out = context.context.empty({s.m, s.n}, DType::kBF16);
    matmul(context, example.a, example.b, out, options);
    std::vector<double> expected = example.expected;
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += bias_values[i % bias_values.size()];
    const std::vector<double> pre = to_doubles(options.pre_activation);
    const std::vector<double> values = to_doubles(out);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(pre[i], expected[i], 0x1p-8 * std::fabs(expected[i]) + 1e-4);
      ASSERT_NEAR(values[i], reference::activation(Activation::kGelu, pre[i]),
                  0x1p-8 * std::fabs(reference::activation(Activation::kGelu, pre[i])) + 1e-6);
    }
  }
}

TEST(Matmul, TheBackwardPassOfGeluIsThatOfTheStoredProduct) {
  CpuContext cpu;
  constexpr int64_t kRows = 37, kColumns = 48, kDepth = 24;
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<double> a = random_values(kRows * kDepth, 1), b = random_values(kColumns * kDepth, 2);
    std::vector<double> pre = random_values(kRows * kColumns, 3);
    const Tensor x = to_tensor(cpu, a, {kRows, kDepth}, type), w = to_tensor(cpu, b, {kColumns, kDepth}, type);
    const Tensor before = to_tensor(cpu, pre, {kRows, kColumns}, type);
    const Tensor together = cpu.context.empty({kRows, kColumns}, type),
                 apart = cpu.context.empty({kRows, kColumns}, type);
    MatmulOptions options{.transpose_b = true};
    matmul(cpu, x, w, apart, options);
    activation_backward(cpu, Activation::kGelu, before, apart, apart);
    options.gelu_backward = before;
    matmul(cpu, x, w, together, options);
    EXPECT_EQ(to_doubles(together), to_doubles(apart));
  }
}

TEST(Matmul, TilesThatOneDnnPacksItselfAreRightForAnyNumberOfThreads) {
  const ProductSizes s{2049, 3073, 5};
  ASSERT_TRUE(matmul_tiling(s.m, s.n, s.k).is_large());
  Tensor first;
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    const Example example(context, s, DType::kF32, true, false);
    const Tensor out = context.context.empty({s.m, s.n}, DType::kF32);
    matmul(context, example.a, example.b, out, {.transpose_a = true});
    EXPECT_LE(max_difference(to_doubles(out), example.expected), 3e-6 * std::sqrt(static_cast<double>(s.k)));
    if (threads == 1) first = out;
    EXPECT_TRUE(same_bits(out, first));
  }
}

// The shapes in which oneDNN's own threads would change the order of summation: outputs as wide as a model, K as long
// as a batch has tokens.
class MatmulThreads : public ::testing::TestWithParam<std::tuple<int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(, MatmulThreads,
                         ::testing::Combine(::testing::Values(32, 64, 96, 192, 768),
                                            ::testing::Values(512, 2048, 16384)));

TEST_P(MatmulThreads, BitsDoNotDependOnTheNumberOfThreads) {
  const auto [width, k] = GetParam();
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const int64_t depth = type == DType::kBF16 ? std::min<int64_t>(k, 2048) : k;
    const int64_t rows = std::min<int64_t>(depth, 512);
    Tensor first_weight_gradient, first_forward, first_backward;
    std::vector<double> x_values = random_values(depth * width, 1);
    std::vector<double> w_values = random_values(width * width, 2);
    for (const int threads : {1, 2, 3, 4, 8, 16}) {
      SCOPED_TRACE(std::to_string(threads) + " threads, " + tsugi::name_of(type));
      const CpuContext context(threads);
      const Tensor x = to_tensor(context, x_values, {depth, width}, type);
      const Tensor w = to_tensor(context, w_values, {width, width}, type);
      const Tensor weight_gradient = context.context.empty({width, width}, DType::kF32);
      const Tensor forward = context.context.empty({rows, width}, type);
      const Tensor backward = context.context.empty({rows, width}, type);
      matmul(context, x, x, weight_gradient, {.transpose_a = true});
      matmul(context, x.slice(0, {rows, width}), w, forward);
      matmul(context, x.slice(0, {rows, width}), w, backward, {.transpose_b = true});
      if (threads == 1) {
        first_weight_gradient = weight_gradient;
        first_forward = forward;
        first_backward = backward;
      } else {
        EXPECT_TRUE(same_bits(weight_gradient, first_weight_gradient));
        EXPECT_TRUE(same_bits(forward, first_forward));
        EXPECT_TRUE(same_bits(backward, first_backward));
      }
    }
  }
}

TEST(Matmul, EqualsAddmmOfPyTorchAndItsGradients) {
  const CpuContext context;
  const testing::Golden golden = testing::read_golden("ops_basic.txt");
  const auto load = [&](const std::string& name, Shape shape) {
    std::vector<double> values = golden.at(name);
    return to_tensor(context, values, shape, DType::kF32);
  };
  const Tensor a = load("addmm.a", {5, 6});
  const Tensor b = load("addmm.b", {6, 3});
  const Tensor d_y = load("addmm.d_y", {5, 3});
  const Tensor y = context.context.empty({5, 3}, DType::kF32);
  const Tensor d_a = context.context.empty({5, 6}, DType::kF32);
  const Tensor d_b = context.context.empty({6, 3}, DType::kF32);
  matmul(context, a, b, y, {.bias = load("addmm.bias", {3})});
  matmul(context, d_y, b, d_a, {.transpose_b = true});
  matmul(context, a, d_y, d_b, {.transpose_a = true});
  expect_close(y, golden.at("addmm.y"), 1e-6);
  expect_close(d_a, golden.at("addmm.d_a"), 1e-6);
  expect_close(d_b, golden.at("addmm.d_b"), 1e-6);
}

TEST(Matmul, AMetaDeviceAllocatesTheSameAndComputesNothing) {
  const ProductSizes s{64, 64, 8192};
  ASSERT_GT(matmul_tiling(s.m, s.n, s.k).chunks, 1);
  ThreadPool pool(1);
  PlanningMemory memory;
  const Context context({.meta = true}, pool, memory);
  {
    const Tensor a = context.empty({s.k, s.m}, DType::kF32);
    const Tensor b = context.empty({s.k, s.n}, DType::kF32);
    const Tensor out = context.empty({s.m, s.n}, DType::kF32);
    matmul(context, a, b, out, {.transpose_a = true});
  }
  const std::vector<Lifetime> lifetimes = memory.lifetimes();
  ASSERT_EQ(lifetimes.size(), 4u);
  EXPECT_EQ(lifetimes[3].bytes, static_cast<size_t>(matmul_tiling(s.m, s.n, s.k).chunks * s.m * s.n) * sizeof(float));
}

TEST(MatmulTiling, CoversEverythingOnceWithinItsLimits) {
  for (const int64_t m : {1, 5, 16, 33, 64, 255, 256, 257, 768, 1024, 50304}) {
    for (const int64_t n : {1, 5, 48, 64, 130, 383, 385, 768, 2304, 50304}) {
      for (const int64_t k : {1, 64, 130, 768, 4097, 16384}) {
        const Tiling t = matmul_tiling(m, n, k);
        SCOPED_TRACE(std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k));
        EXPECT_GE(t.tile_m * t.tiles_m, m);
        EXPECT_LT(t.tile_m * (t.tiles_m - 1), m);
        EXPECT_GE(t.tile_n * t.tiles_n, n);
        EXPECT_LT(t.tile_n * (t.tiles_n - 1), n);
        EXPECT_GE(t.chunk_k * t.chunks, k);
        EXPECT_LT(t.chunk_k * (t.chunks - 1), k);
        EXPECT_LE(t.tile_n, kMostTileColumns);
      }
    }
  }
  EXPECT_EQ(matmul_tiling(64, 64, 64).tiles(), 1) << "too small to be worth a second thread";
  EXPECT_GE(matmul_tiling(64, 64, 16384).chunks, 16);
  EXPECT_EQ(matmul_tiling(1024, 3072, 768).chunks, 1);
  EXPECT_GE(matmul_tiling(1024, 768, 768).tiles(), 16);
}

TEST(OneDnnGemm, ThePrimitiveThatBf16UsesIsRightInEveryLayoutWithStridesAndAccumulation) {
  const CpuContext context;
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const bool accumulate : {false, true}) {
        for (const ProductSizes& s : {ProductSizes{1, 1, 1}, ProductSizes{17, 33, 65}, ProductSizes{64, 96, 128}}) {
          SCOPED_TRACE(name_of(s, transpose_a, transpose_b) + (accumulate ? " accumulated" : ""));
          constexpr int64_t kPadding = 5;
          const GemmShape shape{.m = s.m,
                                .n = s.n,
                                .k = s.k,
                                .lda = (transpose_a ? s.m : s.k) + kPadding,
                                .ldb = (transpose_b ? s.k : s.n) + kPadding,
                                .ldc = s.n + kPadding,
                                .transpose_a = transpose_a,
                                .transpose_b = transpose_b,
                                .accumulate = accumulate};
          const auto floats = [](int64_t count, uint64_t seed) {
            const std::vector<double> values = random_values(count, seed);
            return std::vector<float>(values.begin(), values.end());
          };
          const std::vector<float> a = floats(shape.lda * (transpose_a ? s.k : s.m), 1);
          const std::vector<float> b = floats(shape.ldb * (transpose_b ? s.n : s.k), 2);
          const std::vector<float> before = floats(shape.ldc * s.m, 3);
          std::vector<float> c = before;
          std::vector<float> c_again = before;
          gemm_primitive(shape, a.data(), b.data(), c.data());
          gemm_primitive(shape, a.data(), b.data(), c_again.data());
          EXPECT_EQ(c, c_again);
          std::vector<float> by_sgemm = before;
          gemm_f32(shape, a.data(), b.data(), by_sgemm.data());
          for (int64_t i = 0; i < s.m; ++i) {
            for (int64_t j = 0; j < shape.ldc; ++j) {
              const auto at = static_cast<size_t>(i * shape.ldc + j);
              double expected = j < s.n && !accumulate ? 0.0 : static_cast<double>(before[at]);
              for (int64_t l = 0; j < s.n && l < s.k; ++l) {
                const float left = a[static_cast<size_t>(transpose_a ? l * shape.lda + i : i * shape.lda + l)];
                const float right = b[static_cast<size_t>(transpose_b ? j * shape.ldb + l : l * shape.ldb + j)];
                expected += static_cast<double>(left) * static_cast<double>(right);
              }
              ASSERT_NEAR(static_cast<double>(c[at]), expected, 1e-5 * std::sqrt(static_cast<double>(s.k)));
              ASSERT_NEAR(static_cast<double>(by_sgemm[at]), expected, 1e-5 * std::sqrt(static_cast<double>(s.k)));
            }
          }
        }
      }
    }
  }
}

TEST(OneDnnGemm, KeepsABoundedNumberOfPrimitives) {
  std::vector<float> a(64, 1.0f), b(64, 1.0f);
  for (int64_t n = 1; n <= static_cast<int64_t>(kMostPrimitives); ++n) {
    std::vector<float> c(static_cast<size_t>(n) * 2);
    const GemmShape shape{.m = 1, .n = 1, .k = 2, .lda = 2, .ldb = 1 + n % 8, .ldc = n};
    gemm_primitive(shape, a.data(), b.data(), c.data());
    ASSERT_EQ(c[0], 2.0f);
    ASSERT_LE(kept_primitives(), kMostPrimitives);
  }
}

TEST(OneDnnGemm, NativeBf16IsRightWhereTheCpuHasIt) {
  if (!bf16_gemm_is_native()) {
    EXPECT_STREQ(matmul_bf16_path(), "f32");
    GTEST_SKIP() << "this CPU has no bf16 dot products";
  }
  EXPECT_STREQ(matmul_bf16_path(), "native");
}

TEST(MatmulDeathTest, ShapesThatDoNotFitAreABug) {
  const CpuContext context;
  const Tensor a = context.context.empty({4, 8}, DType::kF32);
  const Tensor b = context.context.empty({9, 5}, DType::kF32);
  const Tensor out = context.context.empty({4, 5}, DType::kF32);
  EXPECT_DEATH(matmul(context, a, b, out), "4, 8");
  const Tensor fits = context.context.empty({8, 5}, DType::kBF16);
  EXPECT_DEATH(matmul(context, a, fits, out), "bf16");
}

}  // namespace
}  // namespace tsugi
