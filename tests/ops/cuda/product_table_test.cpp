// Which algorithm forms a product: choices by a clock that the test sets, and what is kept of them.
#include "ops/cuda/product_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/activation/activation.h"
#include "ops/base/error.h"
#include "ops/matmul/matmul.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi {
namespace {

using cuda::ProductAlgorithm;
using cuda::ProductShape;
using cuda::ProductTable;
using testing::random_values;

constexpr ProductShape kPlain{.m = 24, .n = 16, .k = 40};
constexpr ProductShape kWithBias{.m = 24, .n = 16, .k = 40, .transpose_b = true, .bias = true};

/// A clock by which algorithm `fastest` of every product wins (the last one, if there are fewer); counts the products.
struct FakeClock {
  size_t fastest = 0;
  int timed = 0;

  cuda::ProductTimes times() {
    return [this](const ProductShape&, std::span<const ProductAlgorithm> algorithms) {
      ++timed;
      std::vector<double> seconds(algorithms.size(), 2.0);
      seconds[std::min(fastest, seconds.size() - 1)] = 1.0;
      return seconds;
    };
  }
};

std::string choose(ProductTable& table, FakeClock& clock, const std::string& kept, const std::string& device = "A") {
  table.meet(kPlain);
  table.meet(kWithBias);
  return table.choose(device, kept, "kept", clock.times());
}

class CudaProducts : public testing::OnCuda {};

TEST_F(CudaProducts, TheFirstOfTheFastestIsChosen) {
  const auto chosen = [](std::vector<double> seconds) { return cuda::choose_algorithm(seconds); };
  EXPECT_EQ(chosen({3.0, 2.0, 1.0, 1.0}), 2u);
  EXPECT_EQ(chosen({1.0, 1.0, 1.0}), 0u);
  EXPECT_EQ(chosen({1.015, 1.0}), 0u) << "1.5 % are not worth other bits";
  EXPECT_EQ(chosen({1.03, 1.0}), 1u);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  EXPECT_EQ(chosen({kNever, 1.0}), 1u);
  EXPECT_EQ(chosen({kNever, kNever}), 0u);
}

TEST_F(CudaProducts, EachShapeIsTimedOnceAndKeptByDevice) {
  ProductTable table;
  EXPECT_EQ(table.find(kPlain), nullptr);
  FakeClock clock{.fastest = 1};
  const std::string kept = choose(table, clock, "");
  EXPECT_EQ(clock.timed, 2);
  const std::vector<ProductAlgorithm> algorithms = cuda::product_algorithms(kPlain, 16);
  ASSERT_NE(table.find(kPlain), nullptr);
  EXPECT_EQ(*table.find(kPlain), algorithms[std::min<size_t>(1, algorithms.size() - 1)]);

  // Another process with another clock takes what is kept.
  ProductTable other;
  FakeClock later{.fastest = 0};
  EXPECT_EQ(choose(other, later, kept), kept);
  EXPECT_EQ(later.timed, 0);
  EXPECT_EQ(*other.find(kPlain), *table.find(kPlain));
  EXPECT_EQ(*other.find(kWithBias), *table.find(kWithBias));

  // A device that the table does not know times again; the other's choices stay.
  const std::string both = choose(other, later, kept, "B");
  EXPECT_EQ(later.timed, 2);
  EXPECT_THAT(both, ::testing::HasSubstr("device A\n"));
  EXPECT_THAT(both, ::testing::HasSubstr("device B\n"));
  EXPECT_EQ(*other.find(kPlain), algorithms[0]);
  EXPECT_EQ(choose(other, later, both), both);
  EXPECT_EQ(*other.find(kPlain), *table.find(kPlain));

  // A product that the table does not know.
  other.meet({.m = 8, .n = 8, .k = 8});
  choose(other, later, both);
  EXPECT_EQ(later.timed, 3);
}

TEST_F(CudaProducts, WhatTheLibraryDoesNotTakeIsTimedAgain) {
  ProductTable table;
  FakeClock clock;
  std::string kept = choose(table, clock, "");
  const size_t line = kept.find("24 16 40 bf16 bf16 nn ");
  ASSERT_NE(line, std::string::npos);
  const size_t digits = line + std::string("24 16 40 bf16 bf16 nn ").size();
  kept.replace(digits, 128, std::string(128, 'f'));
  choose(table, clock, kept);
  EXPECT_EQ(clock.timed, 3);
}

TEST_F(CudaProducts, TextsThatAreNoTablesAreNamed) {
  const auto message = [](const std::string& text) -> std::string {
    ProductTable table;
    FakeClock clock;
    try {
      choose(table, clock, text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "no error";
  };
  const std::string head = "tsugi products 1\ndevice A\n";
  const std::string digits(128, '0');
  EXPECT_EQ(message(head), "no error");
  EXPECT_THAT(message("tsugi products 2\n"), ::testing::HasSubstr("kept:1"));
  EXPECT_THAT(message("tsugi products 1\n1 2 3 bf16 bf16 nn " + digits + "\n"),
              ::testing::HasSubstr("before the first"));
  for (const std::string line :
       {"1 2 3 bf16 bf16 nn", "1 2 3 bf16 bf16 nn 00", "0 2 3 bf16 bf16 nn D", "x 2 3 bf16 bf16 nn D",
        "1 2 99999999999999999999 bf16 bf16 nn D", "1 2 3 i32 bf16 nn D", "1 2 3 bf16 bf16 n D", "1 2 3 bf16 bf16 nx D",
        "1 2 3 bf16 bf16 nn+bias+bias D", "1 2 3 bf16 bf16 nn+relu D", "1 2 3 bf16 bf16 nn+gelu+gelu_backward D",
        "1 2 3 bf16 bf16 nn D D", ""}) {
    std::string full = line;
    for (size_t at = full.find(" D"); at != std::string::npos; at = full.find(" D")) full.replace(at + 1, 1, digits);
    EXPECT_THAT(message(head + full + "\n"), ::testing::HasSubstr("kept:3")) << line;
  }
  const std::string good = "1 2 3 bf16 bf16 nn " + digits + "\n";
  EXPECT_THAT(message(head + good + good), ::testing::HasSubstr("kept:4"));
  EXPECT_EQ(message(head + good), "no error");
}

TEST_F(CudaProducts, TheDevicesOwnClockTimesAll) {
  cuda::Stream stream;
  for (const ProductShape& shape :
       {kPlain, kWithBias, ProductShape{.m = 24, .n = 16, .k = 40, .transpose_b = true, .bias = true, .gelu = true},
        ProductShape{.m = 24, .n = 16, .k = 40, .transpose_b = true, .gelu_backward = true},
        ProductShape{.m = 24, .n = 16, .k = 40, .out_type = DType::kF32, .transpose_b = true, .bias = true},
        ProductShape{.m = 24, .n = 16, .k = 40, .out_type = DType::kF32, .transpose_a = true, .accumulate = true}}) {
    std::vector<ProductAlgorithm> algorithms = cuda::product_algorithms(shape, 16);
    algorithms.push_back({1, 2, 3});  // of no library
    const std::vector<double> seconds = cuda::time_algorithms(stream, shape, algorithms);
    ASSERT_EQ(seconds.size(), algorithms.size());
    EXPECT_GT(seconds.front(), 0.0);
    EXPECT_LT(seconds.front(), 10.0);
    EXPECT_EQ(seconds.back(), std::numeric_limits<double>::infinity());
  }
}

TEST_F(CudaProducts, EveryAlgorithmFormsTheProduct) {
  for (const ProductShape& shape :
       {ProductShape{.m = 24, .n = 16, .k = 56, .transpose_b = true, .bias = true, .gelu = true},
        ProductShape{.m = 24, .n = 16, .k = 56, .out_type = DType::kF32, .transpose_b = true, .bias = true},
        ProductShape{.m = 40, .n = 8, .k = 24, .transpose_a = true},
        ProductShape{.m = 24, .n = 16, .k = 56, .out_type = DType::kF32, .transpose_a = true, .accumulate = true}}) {
    std::vector<double> a = random_values(shape.m * shape.k, 1), b = random_values(shape.k * shape.n, 2);
    std::vector<double> bias = random_values(shape.n, 3), out = random_values(shape.m * shape.n, 4);
    const testing::DeviceArray on_a(a, shape.type), on_b(b, shape.type), on_bias(bias, shape.out_type);
    std::vector<double> exact = out;
    reference::matmul(shape.m, shape.n, shape.k, a, shape.transpose_a, b, shape.transpose_b, exact, shape.accumulate);
    for (size_t i = 0; shape.bias && i < exact.size(); ++i) exact[i] += bias[i % bias.size()];
    for (const ProductAlgorithm& algorithm : cuda::product_algorithms(shape, 16)) {
      std::vector<double> start = out;
      const testing::DeviceArray result(start, shape.out_type), pre(shape.m * shape.n, shape.out_type);
      cuda::Stream stream;
      cuda::gemm(stream,
                 {.m = shape.m,
                  .n = shape.n,
                  .k = shape.k,
                  .type = shape.type,
                  .out_type = shape.out_type,
                  .transpose_a = shape.transpose_a,
                  .transpose_b = shape.transpose_b,
                  .accumulate = shape.accumulate,
                  .a = on_a.data(),
                  .b = on_b.data(),
                  .bias = shape.bias ? on_bias.data() : nullptr,
                  .pre_activation = shape.gelu ? pre.data() : nullptr,
                  .out = result.data()},
                 &algorithm);
      const std::vector<double> actual = (shape.gelu ? pre : result).read(stream);
      const double step = shape.out_type == DType::kBF16 ? 1.0 / 256 : 1e-6;
      for (size_t i = 0; i < exact.size(); ++i) {
        ASSERT_NEAR(actual[i], exact[i], step * (1.0 + std::abs(exact[i]))) << i;
      }
    }
  }
}

// Scores of vocabularies and classes: the library takes a bias of the result's type alone, parameters are of another.
TEST_F(CudaProducts, ABiasOfTheOperandsTypeIsAddedToAResultInF32) {
  constexpr int64_t m = 24, n = 16, k = 56;
  std::vector<double> a = random_values(m * k, 1), b = random_values(n * k, 2), bias = random_values(n, 3);
  const Tensor on_a = cuda().upload(a, {m, k}, DType::kBF16), on_b = cuda().upload(b, {n, k}, DType::kBF16);
  MatmulOptions options{.transpose_b = true};
  options.bias = cuda().upload(bias, {n}, DType::kBF16);
  std::vector<double> exact(static_cast<size_t>(m * n));
  reference::matmul(m, n, k, a, false, b, true, exact, false);
  for (size_t i = 0; i < exact.size(); ++i) exact[i] += bias[i % bias.size()];
  const auto expect = [&] {
    const Tensor out = cuda().context.empty({m, n}, DType::kF32);
    matmul(cuda().context, on_a, on_b, out, options);
    const std::vector<double> actual = cuda().read(out);
    for (size_t i = 0; i < exact.size(); ++i) {
      ASSERT_NEAR(actual[i], exact[i], 1e-5 * (1.0 + std::abs(exact[i]))) << i;
    }
  };
  expect();
  // The same product as a plan meets it, timed.
  PlanningMemory planned;
  const Context plan(Device{.meta = true, .operators = device()}, cuda().context.pool(), planned);
  MatmulOptions of_plan{.transpose_b = true};
  of_plan.bias = plan.empty({n}, DType::kBF16);
  matmul(plan, plan.empty({m, k}, DType::kBF16), plan.empty({n, k}, DType::kBF16), plan.empty({m, n}, DType::kF32),
         of_plan);
  const std::string table = device()->choose_algorithms("", "");
  EXPECT_THAT(table, ::testing::HasSubstr("24 16 56 bf16 f32 nt+bias "));
  expect();
  device()->forget_algorithms();
}

TEST_F(CudaProducts, TheBackwardPassOfGeluIsPartOfAProduct) {
  for (const int64_t n : {int64_t{48}, int64_t{20}}) {  // of a multiple of 8 by the epilogue, else apart
    constexpr int64_t m = 37, k = 24;
    std::vector<double> a = random_values(m * k, 1), b = random_values(n * k, 2), pre = random_values(m * n, 3);
    for (double& value : pre) value *= 3.0;
    for (const DType type : {DType::kBF16, DType::kF32}) {
      Tensor on_a = cuda().upload(a, {m, k}, type), on_b = cuda().upload(b, {n, k}, type);
      const Tensor on_pre = cuda().upload(pre, {m, n}, type), out = cuda().context.empty({m, n}, type);
      MatmulOptions options{.transpose_b = true};
      options.gelu_backward = on_pre;
      matmul(cuda().context, on_a, on_b, out, options);
      std::vector<double> exact(static_cast<size_t>(m * n)), plain;
      reference::matmul(m, n, k, a, false, b, true, exact, false);
      for (size_t i = 0; i < exact.size(); ++i) {
        const double slope = reference::activation_derivative(Activation::kGelu, pre[i]);
        plain.push_back(testing::rounded(testing::rounded(exact[i], type) * slope, type));
        exact[i] *= slope;
      }
      testing::expect_within_twice(cuda().read(out), plain, exact, type);
    }
  }
}

}  // namespace
}  // namespace tsugi
