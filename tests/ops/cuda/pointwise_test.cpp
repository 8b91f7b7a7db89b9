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
    cuda::adamw_step(stream, dstep.data(), nullptr, o.table.data(), 3, dw.floats(), dm.floats(), dv.floats(),
                     dg.floats(), type, working.data());
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
}

/// Numbers at random places of a larger buffer.
struct StepNumbers {
  StepNumbers(int64_t ranks, int64_t leaves, int64_t chunks)
      : rank_places(static_cast<size_t>(ranks)), leaf_places(static_cast<size_t>(leaves)) {
    const int64_t total = 2 * ranks + 2 * leaves + chunks;
    values.resize(static_cast<size_t>(total));
    int32_t at = 0;
    for (int32_t& place : rank_places) {
      place = at;
      values[static_cast<size_t>(at) + 1] = 1.0;
      at += 2;
    }
    // Every leaf is followed by some chunks.
    for (int64_t leaf = 0; leaf < leaves; ++leaf) {
      leaf_places[static_cast<size_t>(leaf)] = at;
      values[static_cast<size_t>(at)] = 1.5 + static_cast<double>(leaf % 7);
      values[static_cast<size_t>(at) + 1] = static_cast<double>(leaf % 3);
      at += 2;
      const int64_t end = chunks * (leaf + 1) / leaves;
      while (std::ssize(chunk_places) < end) {
        values[static_cast<size_t>(at)] = 1.0 / static_cast<double>(3 + at);
        chunk_places.push_back(at++);
      }
    }
    std::reverse(chunk_places.begin(), chunk_places.end());
  }
  StepDecision expected(float clip_norm) const {
    return reference::decide_step(values, rank_places, leaf_places, chunk_places, clip_norm);
  }
  StepDecision actual(float clip_norm) const {
    std::vector<int32_t> places = rank_places;
    places.insert(places.end(), leaf_places.begin(), leaf_places.end());
    places.insert(places.end(), chunk_places.begin(), chunk_places.end());
    const DeviceVector<double> numbers(values);
    const DeviceVector<int32_t> at(places);
    const DeviceVector<StepDecision> decision(1);
    Stream stream;
    cuda::decide_step(stream, numbers.data(), at.data(), std::ssize(rank_places), std::ssize(leaf_places),
                      std::ssize(chunk_places), static_cast<double>(clip_norm), decision.data());
    return decision.read(stream)[0];
  }
  std::vector<double> values;
  std::vector<int32_t> rank_places, leaf_places, chunk_places;
};

void expect_near(const StepDecision& actual, const StepDecision& expected) {
  EXPECT_NEAR(actual.loss, expected.loss, 1e-12);
  EXPECT_EQ(actual.targets, expected.targets);
  EXPECT_NEAR(actual.gradient_norm, expected.gradient_norm, 1e-12);
  EXPECT_NEAR(actual.gradient_scale, expected.gradient_scale, 1e-12);
  EXPECT_EQ(actual.finite, expected.finite);
  EXPECT_EQ(actual.stop, expected.stop);
  EXPECT_EQ(actual.ready, expected.ready);
}

TEST(CudaStepDecision, IsTheReferences) {
  for (const auto& [ranks, leaves, chunks] : {std::array<int64_t, 3>{1, 1, 1}, {2, 5, 37}, {3, 1030, 2500}}) {
    const StepNumbers numbers(ranks, leaves, chunks);
    for (const float clip_norm : {0.0f, 1e-3f, 1e6f})
      expect_near(numbers.actual(clip_norm), numbers.expected(clip_norm));
  }
}

TEST(CudaStepDecision, KnowsSignalsAndWhatIsNotFinite) {
  StepNumbers numbers(3, 4, 5);
  numbers.values[2] = 1.0;  // rank 1 is asked to stop
  numbers.values[5] = 0.0;  // rank 2 is not ready
  expect_near(numbers.actual(1.0f), numbers.expected(1.0f));
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const int32_t at : {numbers.leaf_places[1], numbers.chunk_places[3]}) {
      StepNumbers broken(3, 4, 5);
      broken.values[static_cast<size_t>(at)] = bad;
      EXPECT_EQ(broken.actual(1.0f).finite, 0.0);
      EXPECT_EQ(broken.expected(1.0f).finite, 0.0);
    }
  }
}

TEST(CudaAdamW, DoesAsTheDecisionSays) {
  const Optimizer o;
  std::vector<double> g = random_values(o.kElements, 4), w = random_values(o.kElements, 5);
  std::vector<double> zeros(g.size(), 0.0);
  const auto after = [&](float scale, const StepDecision* decision) {
    const DeviceArray dg(g, DType::kF32), dw(w, DType::kF32), m(zeros, DType::kF32), v(zeros, DType::kF32);
    const DeviceVector<cuda::DeviceAdamWStep> step(
        std::vector{cuda::DeviceAdamWStep{.learning_rate = 0.1, .gradient_scale = scale}});
    const DeviceVector<StepDecision> decided(std::vector{decision == nullptr ? StepDecision() : *decision});
    Stream stream;
    cuda::adamw_step(stream, step.data(), decision == nullptr ? nullptr : decided.data(), o.table.data(), 3,
                     dw.floats(), m.floats(), v.floats(), dg.floats(), DType::kF32, nullptr);
    return dw.read(stream);
  };
  StepDecision decision{.gradient_scale = 0.25};
  EXPECT_EQ(after(7.0f, &decision), after(0.25f, nullptr));
  decision.finite = 0.0;
  EXPECT_EQ(after(7.0f, &decision), w);
}

}  // namespace
}  // namespace tsugi::testing
