// Reductions, conversions, GELU and AdamW against the double reference.
#include <cmath>
#include <numeric>

#include "ops/activation/activation.h"
#include "ops/activation/activation_cuda.h"
#include "ops/dropout/dropout.h"
#include "ops/dropout/dropout_cuda.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"
#include "ops/reduce/reduce.h"
#include "ops/reduce/reduce_cuda.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {
namespace {

using cuda::Stream;

const DType kPointwiseTypes[] = {DType::kF32, DType::kBF16};

TEST(CudaReduce, ColumnSumAddsInAFixedOrder) {
  const std::pair<int64_t, int64_t> shapes[] = {{1, 1}, {7, 33}, {128, 32}, {300, 65}, {129, 5}};
  for (const DType type : kPointwiseTypes) {
    for (const auto& [rows, columns] : shapes) {
      std::vector<double> x = random_values(rows * columns, 1), out = random_values(columns, 2);
      const DeviceArray dx(x, type), dout(out, DType::kF32);
      const cuda::Buffer scratch(cuda::column_sum_scratch_bytes(rows, columns));
      Stream stream;
      cuda::column_sum(stream, type, dx.data(), rows, columns, scratch.as<float>(), dout.floats());
      reference::column_sum(rows, columns, x, out);
      EXPECT_LE(max_difference(dout.read(stream), out), 1e-5 * std::max(1.0, max_abs(out))) << rows << "x" << columns;
    }
  }
}

TEST(CudaReduce, BitsDoNotDependOnTheOrderOfExecution) {
  std::vector<double> x = random_values(1000 * 40, 3), zeros(40, 0.0);
  const DeviceArray dx(x, DType::kF32);
  std::vector<std::vector<double>> results;
  for_seeds([&] {
    const DeviceArray out(zeros, DType::kF32);
    const cuda::Buffer scratch(cuda::column_sum_scratch_bytes(1000, 40));
    Stream stream;
    cuda::column_sum(stream, DType::kF32, dx.data(), 1000, 40, scratch.as<float>(), out.floats());
    results.push_back(out.read(stream));
  });
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

TEST(CudaReduce, AddsAndConverts) {
  for (const int64_t count : {1, 7, 8, 9, 1023, 4099}) {
    for (const DType type : kPointwiseTypes) {
      std::vector<double> a = random_values(count, 1), b = random_values(count, 2);
      const DeviceArray da(a, type), db(b, type);
      Stream stream;
      cuda::add_in_place(stream, type, da.data(), db.data(), count);
      for (size_t i = 0; i < a.size(); ++i) a[i] = rounded(a[i] + b[i], type);
      EXPECT_EQ(da.read(stream), a);
      for (const DType to : kPointwiseTypes) {
        const DeviceArray converted(count, to);
        cuda::convert(stream, type, db.data(), to, converted.data(), count);
        EXPECT_EQ(converted.read(stream), rounded(b, to));
      }
    }
  }
}

TEST(CudaGelu, EqualsTheReference) {
  for (const DType type : kPointwiseTypes) {
    for (const int64_t count : {1, 9, 2051}) {
      std::vector<double> x = random_values(count, 1, 3.0), d = random_values(count, 2);
      if (count > 1) x[0] = -300.0;  // the exponential overflows: the derivative is 0, not NaN
      const DeviceArray dx(x, type), dd(d, type), out(count, type);
      Stream stream;
      cuda::activation_forward(stream, Activation::kGelu, type, dx.data(), out.data(), count);
      cuda::activation_backward(stream, Activation::kGelu, type, dx.data(), dd.data(), dd.data(), count);
      std::vector<double> exact, exact_d;
      for (size_t i = 0; i < x.size(); ++i) {
        exact.push_back(reference::activation(Activation::kGelu, x[i]));
        exact_d.push_back(d[i] * reference::activation_derivative(Activation::kGelu, x[i]));
      }
      expect_within_twice(out.read(stream), rounded(exact, type), exact, type);
      expect_within_twice(dd.read(stream), rounded(exact_d, type), exact_d, type);
    }
  }
}

TEST(CudaTanh, EqualsTheReference) {
  for (const DType type : kPointwiseTypes) {
    std::vector<double> x = random_values(1003, 1, 3.0), d = random_values(1003, 2);
    x[0] = 80.0;
    const DeviceArray dx(x, type), dd(d, type), out(1003, type);
    Stream stream;
    cuda::activation_forward(stream, Activation::kTanh, type, dx.data(), out.data(), 1003);
    cuda::activation_backward(stream, Activation::kTanh, type, dx.data(), dd.data(), dd.data(), 1003);
    const std::vector<double> forward = out.read(stream), backward = dd.read(stream);
    for (size_t i = 0; i < x.size(); ++i) {
      const double y = reference::activation(Activation::kTanh, x[i]);
      const double d_x = d[i] * reference::activation_derivative(Activation::kTanh, x[i]);
      const double rounding = type == DType::kBF16 ? 0x1p-8 : 1e-6;
      EXPECT_NEAR(forward[i], y, rounding * std::fabs(y) + 1e-6);
      EXPECT_NEAR(backward[i], d_x, rounding * std::fabs(d_x) + 2e-6);
    }
  }
}

TEST(CudaDropout, DropsWhatTheCpuDrops) {
  const Dropout dropout{.p = 0.25f, .seed = 3, .first_sample = 2, .site = 1};
  for (const DType type : kPointwiseTypes) {
    for (const int64_t width : {1, 8, 37, 520}) {
      std::vector<double> x = random_values(3 * width, 1);
      const DeviceArray dx(x, type), out(3 * width, type);
      Stream stream;
      cuda::apply_dropout(stream, type, cuda::dropout_key(dropout), dx.data(), out.data(), 3, width);
      const std::vector<double> factors = factors_of(dropout, 3, width);
      const std::vector<double> actual = out.read(stream);
      for (size_t i = 0; i < x.size(); ++i) {
        const auto exact = static_cast<double>(static_cast<float>(factors[i]) * static_cast<float>(x[i]));
        EXPECT_EQ(actual[i], rounded(exact, type)) << i;
      }
    }
  }
}

/// Three chunks: a whole one, a frozen one, one that ends in padding.
struct Optimizer {
  static constexpr int64_t kElements = 3 * cuda::kAdamWChunk;
  std::vector<cuda::DeviceChunkRule> rules{{.valid = cuda::kAdamWChunk, .weight_decay = 0.1f},
                                           {.valid = cuda::kAdamWChunk, .frozen = 1},
                                           {.valid = 1003, .learning_rate_scale = 0.5f}};
  DeviceVector<cuda::DeviceChunkRule> table{rules};
  bool changes(size_t i) const {
    const auto& rule = rules[i / cuda::kAdamWChunk];
    return rule.frozen == 0 && static_cast<int32_t>(i % cuda::kAdamWChunk) < rule.valid;
  }
};

TEST(CudaAdamW, EqualsTheReferenceAndTouchesNothingElse) {
  const Optimizer o;
  const AdamWStep step{.learning_rate = 0.01f, .step = 3, .gradient_scale = 0.5f};
  for (const DType type : kPointwiseTypes) {
    std::vector<double> w = random_values(o.kElements, 1), m = random_values(o.kElements, 2, 0.1);
    std::vector<double> v = random_values(o.kElements, 3, 0.1), g = random_values(o.kElements, 4);
    for (double& value : v) value = std::fabs(value);
    const DeviceArray dw(w, DType::kF32), dm(m, DType::kF32), dv(v, DType::kF32), dg(g, DType::kF32);
    const DeviceArray working(o.kElements, type);
    const std::vector<double> w_before = w;
    cuda::DeviceAdamWStep scalars{
        .learning_rate = static_cast<double>(step.learning_rate),
        .correction1 = 1.0 - std::pow(static_cast<double>(step.beta1), 3.0),
        .beta1 = step.beta1,
        .beta2 = step.beta2,
        .epsilon = step.epsilon,
        .correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(step.beta2), 3.0))),
        .gradient_scale = step.gradient_scale};
    const DeviceVector<cuda::DeviceAdamWStep> dstep(std::vector{scalars});
    Stream stream;
    cuda::adamw_step(stream, dstep.data(), o.table.data(), 3, dw.floats(), dm.floats(), dv.floats(), dg.floats(), type,
                     working.data());
    for (size_t i = 0; i < w.size(); ++i) {
      if (!o.changes(i)) continue;
      const auto& rule = o.rules[i / cuda::kAdamWChunk];
      reference::adamw_element(step, static_cast<double>(rule.learning_rate_scale),
                               static_cast<double>(rule.weight_decay), g[i], w[i], m[i], v[i]);
    }
    EXPECT_LE(max_difference(dw.read(stream), w), 1e-6 * max_abs(w));
    EXPECT_LE(max_difference(dm.read(stream), m), 1e-6 * max_abs(m));
    EXPECT_LE(max_difference(dv.read(stream), v), 1e-6 * max_abs(v));
    const std::vector<double> master = dw.read(stream), copy = working.read(stream);
    for (size_t i = 0; i < w.size(); ++i) {
      if (o.changes(i)) {
        ASSERT_EQ(copy[i], rounded(master[i], type));
      } else {
        ASSERT_TRUE(std::isnan(copy[i]) && master[i] == w_before[i]) << "padding and frozen chunks stay as they are";
      }
    }
  }
}

TEST(CudaAdamW, NormsOfChunksAndClipping) {
  const Optimizer o;
  std::vector<double> g = random_values(o.kElements, 4);
  for (size_t i = 0; i < g.size(); ++i) g[i] = o.changes(i) ? g[i] : 1e30;
  const DeviceArray dg(g, DType::kF32);
  const DeviceVector<double> sums(3), norm(1);
  Stream stream;
  cuda::chunk_square_sums(stream, o.table.data(), 3, dg.floats(), sums.data());
  std::vector<double> expected(3, 0.0);
  for (size_t i = 0; i < g.size(); ++i) {
    if (o.changes(i)) expected[i / cuda::kAdamWChunk] += g[i] * g[i];
  }
  EXPECT_LE(max_difference(sums.read(stream), expected), 1e-12 * max_abs(expected));

  const double length = std::sqrt(std::accumulate(expected.begin(), expected.end(), 0.0));
  const auto scale_with = [&](double multiplier, double limit) {
    const DeviceVector<cuda::DeviceAdamWStep> step(std::vector<cuda::DeviceAdamWStep>(1));
    cuda::scale_gradients(stream, sums.data(), 3, multiplier, limit, step.data(), norm.data());
    EXPECT_NEAR(norm.read(stream)[0], multiplier * length, 1e-9 * length);
    return static_cast<double>(step.read(stream)[0].gradient_scale);
  };
  EXPECT_NEAR(scale_with(0.25, 0.0), 0.25, 1e-7);
  EXPECT_NEAR(scale_with(0.25, 1e9), 0.25, 1e-7);
  EXPECT_NEAR(scale_with(0.25, 1.0), 1.0 / length, 1e-7);
}

TEST(CudaAdamW, ANormThatIsNotFiniteReachesTheScale) {
  const DeviceVector<double> sums(std::vector<double>{1.0, std::nan("")}), norm(1);
  const DeviceVector<cuda::DeviceAdamWStep> step(std::vector<cuda::DeviceAdamWStep>(1));
  Stream stream;
  cuda::scale_gradients(stream, sums.data(), 2, 1.0, 1.0, step.data(), norm.data());
  EXPECT_TRUE(std::isnan(step.read(stream)[0].gradient_scale));
}

}  // namespace
}  // namespace tsugi::testing
